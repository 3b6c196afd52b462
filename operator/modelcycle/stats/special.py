"""Sums in log space that the evidence is made of. Pure mathematics; knows nothing of canaries and must not learn of them."""

import math
from collections.abc import Sequence
from typing import Final

REACH: Final = (10.0, 40)
"""A sum goes so many standard deviations, and terms more, from its largest term: what lies beyond is below 1e-20 of it (Bernstein)."""
STRIDES: Final = 3.0
"""So many terms are computed for each standard deviation, where there are more."""


def log_sum_exp(logs: Sequence[float]) -> float:
    """log of the sum of exp(logs), without overflow. -inf entries count as zeros; at least one must be finite."""
    top = max(logs)
    return top + math.log(math.fsum(math.exp(value - top) for value in logs))


def log_mean_exp(logs: Sequence[float]) -> float:
    """log of the mean of exp(logs), otherwise like `log_sum_exp`."""
    return log_sum_exp(logs) - math.log(len(logs))


def log_choose(n: int, k: int) -> float:
    """log of the binomial coefficient, 0 <= k <= n. The error grows with n: about 1e-9 at n = 1e6, 1e-5 at 1e9."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def log_hypergeometric_pgf(odds: float, marked: int, others: int, drawn: int) -> float:
    """log M(odds) = log of the sum over j of C(marked, j) C(others, drawn-j) / C(marked+others, drawn) odds**j; odds > 0.

    As exact as `log_choose`, for any counts at the same cost. A wide sum takes each s-th term times s: the terms are those of a sum of
    independent yes-or-no variables (the pgf has real roots only), so what that changes is below s exp(-sd**2 (1 - cos(2 pi / s))), 1e-30.
    """
    least, most = max(0, drawn - others), min(marked, drawn)
    if least == most:
        return least * math.log(odds)
    mode = min(max(_tilted_mode(odds, marked, others, drawn), least), most)
    spread = _spread(mode, marked - mode, drawn - mode, others - drawn + mode)
    stride = max(1, int(spread / STRIDES))
    reach = int(REACH[0] * spread) + REACH[1]
    first = mode - min(reach, mode - least) // stride * stride
    last = min(mode + reach, most)
    log_odds, rest, lgamma = math.log(odds), others - drawn, math.lgamma
    terms = [
        j * log_odds - lgamma(j + 1) - lgamma(marked - j + 1) - lgamma(drawn - j + 1) - lgamma(rest + j + 1)
        for j in range(first, last + 1, stride)
    ]
    whole = lgamma(marked + 1) + lgamma(others + 1) - log_choose(marked + others, drawn)
    return log_sum_exp(terms) + whole + math.log(stride)


def _spread(*cells: int) -> float:
    """About the standard deviation of a count in a table of two by two with these counts where it is largest."""
    return 1.0 / math.sqrt(sum(1.0 / (cell + 1) for cell in cells))


def _tilted_mode(odds: float, marked: int, others: int, drawn: int) -> int:
    """The j with the largest term of the pgf (within one): where the ratio of neighbours, a root of a quadratic, passes 1."""
    a = odds - 1.0
    b = odds * (marked + drawn) + others - drawn + 2.0
    c = odds * marked * drawn - (others - drawn + 1.0)
    return int(2.0 * c / (b + math.sqrt(max(0.0, b * b - 4.0 * a * c))))
