"""Two samples as counts in the same bins: how far apart they are, and whether that can be chance.

Pure mathematics on integer counts; never sees a value. Bins come in their order. `reference` and `current` are aligned; formulas and
measurements: docs/driftmonitor.md.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from modelcycle.stats.corrections import cauchy_combined
from modelcycle.stats.tails import chi2_point, chi2_tail, weighted_chi2_tail

Counts = Sequence[int]
Pairs = list[tuple[int, int]]
"""Bins as (reference, current)."""

EXPECTED: Final = 5
"""Least expected count of a bin in either sample; smaller bins are merged (Cochran's rule)."""
NOISE_LEVEL: Final = 0.001
"""Chance that pure noise passes for the effect at the least number of rows."""


def debiased_psi(reference: Counts, current: Counts) -> float:
    """Population stability index without the part that sampling alone gives, never below 0.

    sum (c - r) ln(c / r) over shares with half a count added to each bin, less its mean without drift, (B - 1)(1/m + 1/n).
    """
    m, n, bins = sum(reference), sum(current), len(reference)
    if bins < 2 or not m or not n:
        return 0.0
    below_r, below_c = m + bins / 2, n + bins / 2
    psi = 0.0
    for r, c in zip(reference, current, strict=True):
        share_r, share_c = (r + 0.5) / below_r, (c + 0.5) / below_c
        psi += (share_c - share_r) * math.log(share_c / share_r)
    return max(0.0, psi - (bins - 1) * (1 / m + 1 / n))


@lru_cache(maxsize=1024)
def rows_needed(bins: int, effect: float) -> int:
    """Least n for which noise alone stays below the PSI `effect` in all but NOISE_LEVEL of the windows; 0 for a single bin.

    n PSI is about chi-squared with `bins` - 1 degrees of freedom when the reference is large.
    """
    return math.ceil(chi2_point(NOISE_LEVEL, bins - 1) / effect) if bins > 1 else 0


def ordered_p(reference: Counts, current: Counts) -> float:
    """p-value that bins with an order hold samples of one distribution: Pearson and Anderson-Darling, combined after Cauchy.

    Pearson sees spikes and spread, Anderson-Darling small shifts. 1.0 when fewer than two bins can be compared.
    """
    pairs = _adjacent_merged(list(zip(reference, current, strict=True)))
    if len(pairs) < 2:
        return 1.0
    return cauchy_combined((_pearson(pairs), _anderson_darling(pairs)))


def unordered_p(reference: Counts, current: Counts) -> float:
    """p-value that bins without an order hold samples of one distribution (Pearson). 1.0 when fewer than two can be compared."""
    pairs = _smallest_merged(list(zip(reference, current, strict=True)))
    return _pearson(pairs) if len(pairs) > 1 else 1.0


def _least(pairs: Pairs) -> float:
    """Least sum of a bin's two counts that makes both expected counts EXPECTED or more; infinite for an empty sample."""
    m, n = sum(r for r, _ in pairs), sum(c for _, c in pairs)
    return EXPECTED * (m + n) / min(m, n) if m and n else math.inf


def _adjacent_merged(pairs: Pairs) -> Pairs:
    least, merged, r, c = _least(pairs), [], 0, 0
    for add_r, add_c in pairs:
        r, c = r + add_r, c + add_c
        if r + c >= least:
            merged.append((r, c))
            r = c = 0
    if merged and (r or c):
        last_r, last_c = merged.pop()
        merged.append((last_r + r, last_c + c))
    return merged


def _smallest_merged(pairs: Pairs) -> Pairs:
    """The smallest bins become one until it is large enough; counts decide, so that both samples are treated alike."""
    return _adjacent_merged(sorted(pairs, key=lambda pair: (sum(pair), pair)))


def _pearson(pairs: Pairs) -> float:
    m, n = sum(r for r, _ in pairs), sum(c for _, c in pairs)
    # sum (r - mP)^2 / (mP) + (c - nP)^2 / (nP) with P = (r + c) / (m + n)
    statistic = sum((r * n - c * m) ** 2 / (r + c) for r, c in pairs) / (m * n)
    return chi2_tail(statistic, len(pairs) - 1)


def _anderson_darling(pairs: Pairs) -> float:
    """A^2 = mn/(m+n) mean_j (Fc_j - Fr_j)^2 / (F_j (1 - F_j)); its null is a weighted sum of chi-squareds (Scholz & Stephens 1987).

    The weights are the eigenvalues of the correlation matrix of the empirical process at the inner edges, by their mean.
    """
    m, n = sum(r for r, _ in pairs), sum(c for _, c in pairs)
    total = m + n
    statistic, roots, below_r, below_c = 0.0, [], 0, 0
    for r, c in pairs[:-1]:
        below_r, below_c = below_r + r, below_c + c
        below = below_r + below_c
        statistic += (below_c * m - below_r * n) ** 2 / (below * (total - below))
        roots.append(math.sqrt(below / (total - below)))
    statistic *= total / (m * n * len(roots))
    # Correlation of F_j and F_k, j < k: sqrt(F_j (1 - F_k) / (F_k (1 - F_j)))
    ratios = np.divide.outer(roots, roots)
    weights = np.linalg.eigvalsh(np.minimum(ratios, ratios.T)) / len(roots)
    return weighted_chi2_tail(statistic, weights.tolist())
