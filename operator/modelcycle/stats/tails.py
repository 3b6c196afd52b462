"""Upper tails of the null distributions that binned tests need. Pure mathematics, deterministic, accurate far out; no tables, no draws."""

import math
from collections.abc import Sequence
from typing import Final

_NEAR_MEAN: Final = 1e-3
_NEWTON_STEPS: Final = 60


def chi2_tail(x: float, df: int) -> float:
    """P(X >= x) for X chi-squared with `df` >= 1 degrees of freedom. Finite series (Abramowitz & Stegun 26.4.4, 26.4.5)."""
    if x <= 0.0:
        return 1.0
    half = x / 2
    if df % 2 == 0:
        term, total = math.exp(-half), 0.0
        for i in range(1, df // 2 + 1):
            total += term
            term *= half / i
    else:
        total = math.erfc(math.sqrt(half))
        term = math.exp(-half) * 2 * math.sqrt(half / math.pi)
        for i in range(1, (df - 1) // 2 + 1):
            total += term
            term *= half / (i + 0.5)
    return min(1.0, total)


def chi2_point(tail: float, df: int) -> float:
    """The x with P(X >= x) = `tail`, 0 < `tail` < 1, to 1e-9."""
    low, high = 0.0, float(df)
    while chi2_tail(high, df) > tail:
        low, high = high, high * 2
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if chi2_tail(middle, df) > tail else (low, middle)
    return high


def weighted_chi2_tail(x: float, weights: Sequence[float]) -> float:
    """P(sum of w_i Z_i^2 >= x) for independent standard normal Z_i and weights > 0: saddlepoint approximation.

    Barndorff-Nielsen's form (Kuonen, Biometrika 1999). Against numerical inversion it is off by less than a tenth for the weights of an
    Anderson-Darling test, and far out always to the side of a larger probability.
    """
    if x <= 0.0:
        return 1.0
    s = _saddlepoint(x, weights)
    gains = [1 - 2 * w * s for w in weights]
    curvature = 2 * sum((w / g) ** 2 for w, g in zip(weights, gains, strict=True))
    # x s - K(s) with K(s) = -1/2 sum log(1 - 2 w s)
    exponent = s * x + 0.5 * sum(math.log(g) for g in gains)
    r = math.copysign(math.sqrt(max(0.0, 2 * exponent)), s)
    if abs(r) < _NEAR_MEAN:
        # The limit of log(u / r) / r at the mean: a sixth of the skewness.
        skew = 8 * sum(w * w * w for w in weights) / math.pow(2 * sum(w * w for w in weights), 1.5)
        return 0.5 * math.erfc((r + skew / 6) / math.sqrt(2))
    u = s * math.sqrt(curvature)
    return 0.5 * math.erfc((r + math.log(u / r) / r) / math.sqrt(2))


def _saddlepoint(x: float, weights: Sequence[float]) -> float:
    """The s < 1 / (2 max w) with K'(s) = sum w / (1 - 2 w s) = x, which rises in s; kept in its bracket."""
    largest = max(weights)
    high = 0.5 / largest
    low = high - 0.5 * len(weights) / x
    # K'(s) >= largest / (1 - 2 largest s) bounds the root from above, K'(s) <= count * the same from below.
    high -= 0.5 / x
    s = 0.0 if low < 0.0 < high else (low + high) / 2
    for _ in range(_NEWTON_STEPS):
        slope = value = 0.0
        for w in weights:
            ratio = w / (1 - 2 * w * s)
            value += ratio
            slope += 2 * ratio * ratio
        if abs(value - x) <= 1e-10 * x:
            break
        low, high = (s, high) if value < x else (low, s)
        # Newton for 1 / K', which is nearly a straight line.
        step = s + value * (1 - value / x) / slope
        s = step if low < step < high else (low + high) / 2
    return s
