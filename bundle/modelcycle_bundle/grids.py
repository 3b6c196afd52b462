"""Counts of many rows by bin, in one numpy pass a call.

Owns the vectorised counting by the bins of modelcycle_bundle.bins. Exact for every float32 value; keeps counts and no row. Not thread-safe.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelcycle_bundle.bins import ClassBins, Feature, ProfileError, thresholds
from modelcycle_bundle.outputs import ClassOutputs, Float32, Int64

_ROWS_AT_ONCE: Final = 255
"""Rows whose comparisons are summed in bytes: no sum can run over."""
_COMPARED_AT_ONCE: Final = 1 << 19
"""Bytes of comparisons held at once: what a processor's cache takes."""


class _Comparisons:
    """Sums over rows of yes-or-no comparisons: room for `kinds` of them for each of `columns`."""

    def __init__(self, kinds: int, columns: int) -> None:
        self.rows: Final = max(1, min(_ROWS_AT_ONCE, _COMPARED_AT_ONCE // max(1, kinds * columns)))
        self.answers: Final = np.empty((self.rows, kinds, columns), dtype=np.bool_)
        """[rows, kinds, columns]: the caller fills as many rows as it has."""
        self._bytes = self.answers.view(np.uint8).reshape(self.rows, kinds * columns)
        self.sums: Final = np.zeros((kinds, columns), dtype=np.int64)

    def add(self, rows: int) -> None:
        """Sum the first `rows` rows of `answers`."""
        # Bytes are summed 32 at a time by the processor, which nothing wider is.
        sums = np.add.reduce(self._bytes[:rows], axis=0, dtype=np.uint8)
        np.add(self.sums, sums.reshape(self.sums.shape), out=self.sums)


class NumericGrid:
    """Counts of F numeric columns."""

    def __init__(self, features: Sequence[Feature]) -> None:
        limits = [thresholds(feature) for feature in features]
        width = max((len(each) for each in limits), default=0)
        # Padding is +inf: no value is greater, so it never moves a value to a higher bin.
        padded = [each + [np.inf] * (width - len(each)) for each in limits]
        self._limits = np.array(padded, dtype=np.float32).reshape(len(features), width).T.copy()
        self._above = _Comparisons(width + 1, len(features))
        self._rows = 0
        bins = [(*range(len(each) + 1), width + 1) for each in limits]
        self._bin = np.array([at for each in bins for at in each], dtype=np.int64)
        self._column = np.repeat(np.arange(len(features)), [len(each) for each in bins])

    @property
    def counts(self) -> Int64:
        """Rows by bin: each feature's bins in counting order, one feature after the other."""
        above = self._above.sums
        reached = np.vstack((self._rows - above[-1:], above[:-1], np.zeros_like(above[:1])))
        table = np.vstack((reached[:-1] - reached[1:], above[-1:]))
        counts: Int64 = table[self._bin, self._column]
        return counts

    @property
    def missing(self) -> Int64:
        """Rows without a value, [F]."""
        missing: Int64 = self._above.sums[-1].copy()
        return missing

    def add(self, table: Float32) -> None:
        """Count rows [N, F]."""
        above = self._above
        for start in range(0, len(table), above.rows):
            block = table[start : start + above.rows]
            size = len(block)
            np.greater(block[:, None, :], self._limits, out=above.answers[:size, :-1])
            np.not_equal(block, block, out=above.answers[:size, -1])  # true of NaN alone
            above.add(size)
        self._rows += len(table)

    def merge(self, other: "NumericGrid") -> None:
        """Add the counts of a grid of the same features."""
        self._above.sums[...] += other._above.sums
        self._rows += other._rows


class UnseenGrid:
    """Rows of each column of codes whose number is none that the reference held."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._columns = np.array([at for at, feature in enumerate(features) if feature.values], dtype=np.int64)
        values = [feature.values for feature in features if feature.values]
        width = max((len(each) for each in values), default=0)
        # Padding is NaN: no value equals it.
        padded = [(*each, *[np.nan] * (width - len(each))) for each in values]
        self._values = np.array(padded, dtype=np.float32).reshape(len(values), width).T.copy()
        self._known = _Comparisons(width, len(values))
        self._rows = 0

    def counts(self, missing: Int64) -> Int64:
        """[columns of codes]; `missing` [F] counts the rows without a value."""
        unseen: Int64 = self._rows - missing[self._columns] - self._known.sums.sum(axis=0)
        return unseen

    def add(self, table: Float32) -> None:
        """Count rows [N, F]."""
        self._rows += len(table)
        if not len(self._columns):
            return
        known = self._known
        for start in range(0, len(table), known.rows):
            block = table[start : start + known.rows, self._columns]
            np.equal(block[:, None, :], self._values, out=known.answers[: len(block)])
            known.add(len(block))

    def merge(self, other: "UnseenGrid") -> None:
        """Add the counts of a grid of the same features."""
        self._known.sums[...] += other._known.sums
        self._rows += other._rows


class ClassGrid:
    """Counts of answers by class and confidence, class by class."""

    def __init__(self, bins: ClassBins) -> None:
        self._positions: dict[Any, int] = {}
        for at, name in enumerate(bins.classes):
            self._positions[name] = at
            # A model answers integers where its classes are some; finding them as they are spares a text for every row.
            if name.lstrip("-").isdecimal() and str(int(name)) == name:
                self._positions[int(name)] = at
        self._edges = np.array(bins.edges, dtype=np.float32)
        self._width = len(bins.bins)
        self.counts = np.zeros(len(bins.classes) * self._width, dtype=np.int64)

    def classes(self, labels: NDArray[Any]) -> list[int]:
        """The position of each label among the classes. Raises ProfileError for a label that is none of them."""
        positions = self._positions
        try:
            return [positions[label] for label in labels.tolist()]
        except KeyError:
            return self._by_text(labels)

    def _by_text(self, labels: NDArray[Any]) -> list[int]:
        texts = [str(label) for label in labels.tolist()]
        unknown = sum(text not in self._positions for text in texts)
        if unknown:
            known = self.counts.size // self._width
            raise ProfileError(f"{unknown} answers' class is not among the profile's {known} classes")
        return [self._positions[text] for text in texts]

    def add(self, outputs: ClassOutputs) -> None:
        """Count answers. Raises ProfileError, and counts none, when one names an unknown class."""
        rows = np.array(self.classes(outputs.labels), dtype=np.int64)
        # max() hands a NaN on, so one NaN probability makes the confidence missing.
        confidence = outputs.probabilities.max(axis=1)
        codes = np.searchsorted(self._edges, confidence, side="left")
        codes = np.where(np.isnan(confidence), self._width - 1, codes)
        self.counts += np.bincount(rows * self._width + codes, minlength=self.counts.size)

    def merge(self, other: "ClassGrid") -> None:
        """Add the counts of a grid of the same classes."""
        self.counts += other.counts
