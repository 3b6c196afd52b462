"""Sums in log space that the evidence is made of. Pure mathematics; knows nothing of canaries and must not learn of them."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

WINDOW: Final = 8192
"""Terms of a hypergeometric sum on each side of the largest: bounds the cost of one sum to well under a millisecond."""


def log_sum_exp(logs: NDArray[np.float64]) -> float:
    """log of the sum of exp(logs), without overflow. -inf entries count as zeros; at least one must be finite."""
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).sum()))


def log_mean_exp(logs: NDArray[np.float64]) -> float:
    """log of the mean of exp(logs), otherwise like `log_sum_exp`."""
    return log_sum_exp(logs) - math.log(len(logs))


def log_choose(n: int, k: int) -> float:
    """log of the binomial coefficient, 0 <= k <= n. The error grows with n: about 1e-9 at n = 1e6, 1e-5 at 1e9."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def log_hypergeometric_pgf(odds: float, marked: int, others: int, drawn: int) -> float:
    """log M(odds) = log of the sum over j of C(marked, j) C(others, drawn-j) / C(marked+others, drawn) odds**j; odds > 0.

    Exact up to rounding while the support has at most WINDOW terms on each side of the largest one. Beyond (more than 8192 events in one
    look), terms outside that window are left out: all terms are positive, so the result is a lower bound, off by less than log 2 at 1e9
    counts. A lower bound of M lowers P, which is the safe side: no promotion comes of it.
    """
    least, most = max(0, drawn - others), min(marked, drawn)
    if least == most:
        return least * math.log(odds)
    mode = min(max(_tilted_mode(odds, marked, others, drawn), least), most)
    first, last = max(least, mode - WINDOW), min(most, mode + WINDOW)
    at = np.arange(first, last, dtype=np.float64)
    steps = np.log((marked - at) * (drawn - at) / ((at + 1.0) * (others - drawn + at + 1.0)))
    plain = np.concatenate(([0.0], np.cumsum(steps)))
    plain -= plain[mode - first]
    tilted = plain + np.arange(first - mode, last - mode + 1) * math.log(odds)
    whole = first == least and last == most
    log_at_mode = -log_sum_exp(plain) if whole else _log_hypergeometric(mode, marked, others, drawn)
    return log_sum_exp(tilted) + log_at_mode + mode * math.log(odds)


def _log_hypergeometric(j: int, marked: int, others: int, drawn: int) -> float:
    """log of the chance that `drawn` of `marked + others` hold j marked ones."""
    return log_choose(marked, j) + log_choose(others, drawn - j) - log_choose(marked + others, drawn)


def _tilted_mode(odds: float, marked: int, others: int, drawn: int) -> int:
    """The j with the largest term of the pgf (within one): where the ratio of neighbours, a root of a quadratic, passes 1."""
    a = odds - 1.0
    b = odds * (marked + drawn) + others - drawn + 2.0
    c = odds * marked * drawn - (others - drawn + 1.0)
    return int(2.0 * c / (b + math.sqrt(max(0.0, b * b - 4.0 * a * c))))
