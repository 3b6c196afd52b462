"""Putting p-values together: one out of several tests of the same counts, and which of many rows count. Pure mathematics."""

import math
from collections.abc import Sequence
from typing import Final

SMALLEST: Final = 1e-15
LARGEST: Final = 0.99
"""A p-value of 1 would cancel all others in the combination."""


def cauchy_combined(p_values: Sequence[float]) -> float:
    """One p-value from several, however they depend on each other: Liu & Xie, JASA 2020. Inputs are cut to SMALLEST..LARGEST."""
    cut = [min(LARGEST, max(SMALLEST, p)) for p in p_values]
    statistic = sum(_cotangent(p) for p in cut) / len(cut)
    if statistic > 1.0:
        # 1/2 - atan(t) / pi loses all digits for large t; this is the same number.
        return math.atan(1 / statistic) / math.pi
    return 0.5 - math.atan(statistic) / math.pi


def _cotangent(p: float) -> float:
    """tan((1/2 - p) pi), exact for small p."""
    return 1 / math.tan(p * math.pi)


def benjamini_hochberg(p_values: Sequence[float], q: float) -> list[bool]:
    """Which of the rows are significant at false discovery rate `q`: Benjamini & Hochberg, JRSS B 1995.

    When no row has drifted, P(any is significant) <= q (for independent or positively dependent rows).
    """
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    last = 0
    for rank, at in enumerate(order, start=1):
        if p_values[at] <= q * rank / len(p_values):
            last = rank
    significant = set(order[:last])
    return [at in significant for at in range(len(p_values))]
