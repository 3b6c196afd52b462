"""Bins: how a value finds its bin, to the bit.

Owns the edges' meaning and where edges come from; modelcycle_bundle.grids counts by them. Knows no profile file, no label of a metric and
no clock.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from modelcycle_bundle.outputs import Float32

BINS: Final = 10
CONFIDENCE_BINS: Final = 20
BELOW: Final = "below"
ABOVE: Final = "above"
MISSING: Final = "missing"
NO_CONFIDENCE: Final = "none"
"""Confidence label of a regression's answers."""
_SMALLEST: Final = float(np.finfo(np.float32).tiny)
KNOWN_VALUES: Final = 20
"""Most distinct values of a column whose values are codes."""
KNOWN_ROWS: Final = 5
"""Least rows of each of them: where a value is that rare, others that were there to be seen were missed."""


class ProfileError(ValueError):
    """The text is not a profile, or the arrays cannot make one. Names the feature, never a value."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One numeric column (or a regression's prediction) and its reference counts.

    A value is `below` when < `low`, `above` when > `high`, else in the bin whose upper edge is the first one >= the value.
    `low` and `high` are None when the reference held no finite number: then every finite number falls into `b00`.
    """

    name: str
    low: float | None
    high: float | None
    edges: tuple[float, ...]
    """Strictly rising float32 values, `low` <= edge < `high`: the bins' inclusive upper edges but the last bin's."""
    counts: tuple[int, ...]
    """Reference rows by bin, in the order of `bins`."""
    mean: float | None
    """Of the finite reference values; None without any."""
    sd: float | None
    values: tuple[float, ...] = ()
    """All values of a column of codes, rising; () for any other column. A number that is none of them is *unseen*."""

    @property
    def bins(self) -> tuple[str, ...]:
        """Names in counting order: below, b00.., above, missing."""
        return (BELOW, *(f"b{at:02d}" for at in range(len(self.edges) + 1)), ABOVE, MISSING)


@dataclass(frozen=True, slots=True)
class ClassBins:
    """Held-out answers of a classifier by predicted class and confidence (the largest probability)."""

    classes: tuple[str, ...]
    edges: tuple[float, ...]
    """Strictly rising float32 values: the confidence bins' inclusive upper edges but the last bin's."""
    counts: tuple[tuple[int, ...], ...]
    """Per class, in the order of `bins`."""

    @property
    def bins(self) -> tuple[str, ...]:
        """Names in counting order: c00.., missing (the confidence is NaN)."""
        return (*(f"c{at:02d}" for at in range(len(self.edges) + 1)), MISSING)


def thresholds(feature: Feature) -> list[float]:
    """Limits t so that the number of t below a value is the value's bin in counting order; one less than bins that are not `missing`."""
    if feature.low is None or feature.high is None:
        return [-math.inf, math.inf]
    return [_just_below(feature.low), *feature.edges, feature.high]


def ranked_value(ordered: Float32, numerator: int, denominator: int) -> float:
    """The smallest value with at least that share of the values at or below it."""
    return float(ordered[max(0, -(-numerator * len(ordered) // denominator) - 1)])


def quantile_edges(ordered: Float32, parts: int) -> list[float]:
    """Strictly rising values that cut a sorted column into about equal parts; at most `parts` - 1 of them."""
    ranked = [ranked_value(ordered, at, parts) for at in range(1, parts)]
    edges = set(ranked)
    for value in edges.copy():
        if ranked.count(value) > 1:  # a heavy tie becomes a bin of its own
            edges.add(_just_below(value))
    return sorted(edges)


def _just_below(value: float) -> float:
    """The next smaller float32 that is not subnormal: some libraries make the processor read subnormal limits as zero."""
    with np.errstate(over="ignore"):  # below the lowest number lies -inf, which is the limit wanted
        below = float(np.nextafter(np.float32(value), np.float32(-np.inf)))
    if 0 < abs(below) < _SMALLEST:
        return 0.0 if below > 0 else -_SMALLEST
    return below


def known_values(ordered: Float32) -> tuple[float, ...]:
    """The distinct values of a sorted column of codes: whole numbers, at most KNOWN_VALUES, none in fewer than KNOWN_ROWS rows; else ()."""
    values, counts = np.unique(ordered, return_counts=True)
    if not 0 < len(values) <= KNOWN_VALUES or counts.min() < KNOWN_ROWS or (values != np.rint(values)).any():
        return ()
    return tuple(float(value) for value in values)
