"""Bins: how a value finds its bin, to the bit, and how counts of many rows are kept.

Owns the edges' meaning and the vectorised counting. Knows no profile file, no label of a metric and no clock.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from modelcycle_bundle.outputs import ClassOutputs, Float32

BINS: Final = 10
CONFIDENCE_BINS: Final = 20
BELOW: Final = "below"
ABOVE: Final = "above"
MISSING: Final = "missing"
NO_CONFIDENCE: Final = "none"
"""Confidence label of a regression's answers."""
_SMALLEST: Final = float(np.finfo(np.float32).tiny)
_BLOCK: Final = 1 << 22
"""Comparisons done at once: bounds the memory of one call to a few megabytes."""


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


class NumericGrid:
    """Counts of F numeric columns in one flat vector."""

    def __init__(self, features: Sequence[Feature]) -> None:
        sizes = [len(feature.bins) for feature in features]
        self._offsets = (
            np.concatenate(([0], np.cumsum(sizes[:-1]))).astype(np.int64) if sizes else np.zeros(0, np.int64)
        )
        self._missing = np.array(sizes, dtype=np.int64) - 1
        rows = [_thresholds(feature) for feature in features]
        width = max((len(row) for row in rows), default=0)
        # Padding is +inf: no value is greater, so it never moves a value to a higher bin.
        self._limits = np.array([row + [math.inf] * (width - len(row)) for row in rows], dtype=np.float32)
        self._above = np.array([len(row) for row in rows], dtype=np.int64)
        self.counts = np.zeros(sum(sizes), dtype=np.int64)

    def add(self, table: Float32) -> None:
        if not self.counts.size:
            return
        step = max(1, _BLOCK // self._limits.size)
        for start in range(0, len(table), step):
            self._add_block(table[start : start + step])

    def _add_block(self, block: Float32) -> None:
        codes = (block[:, :, None] > self._limits[None, :, :]).sum(axis=2, dtype=np.int64)
        codes = np.where(np.isnan(block), self._missing, codes) + self._offsets
        self.counts += np.bincount(codes.ravel(), minlength=self.counts.size)


class ClassGrid:
    """Counts of answers by class and confidence in one flat vector, class by class."""

    def __init__(self, bins: ClassBins) -> None:
        self._positions = {name: at for at, name in enumerate(bins.classes)}
        self._edges = np.array(bins.edges, dtype=np.float32)
        self._width = len(bins.bins)
        self.counts = np.zeros(len(bins.classes) * self._width, dtype=np.int64)

    def add(self, outputs: ClassOutputs) -> None:
        distinct, inverse = np.unique(outputs.labels, return_inverse=True)
        unknown = [label for label in distinct if str(label) not in self._positions]
        if unknown:
            raise ProfileError(
                f"{len(unknown)} answers' class is not among the profile's {len(self._positions)} classes"
            )
        rows = np.array([self._positions[str(label)] for label in distinct], dtype=np.int64)[inverse]
        # max() hands a NaN on, so one NaN probability makes the confidence missing.
        confidence = outputs.probabilities.max(axis=1)
        codes = np.searchsorted(self._edges, confidence, side="left")
        codes = np.where(np.isnan(confidence), self._width - 1, codes)
        self.counts += np.bincount(rows * self._width + codes, minlength=self.counts.size)


def _thresholds(feature: Feature) -> list[float]:
    """Limits t so that the number of t below a value is the value's bin in counting order."""
    if feature.low is None or feature.high is None:
        return [-math.inf]
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
