"""A Prometheus histogram.

Owns its counts and their text. Not thread-safe.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

from modelcycle_bundle.metric_names import LATENCY_BOUNDS
from modelcycle_serving.exposition import labelled


class Histogram:
    """Counts by bound (rising), and their sum; `labels` are on every sample."""

    def __init__(
        self, name: str, bounds: Sequence[float] = LATENCY_BOUNDS, labels: Mapping[str, str] | None = None
    ) -> None:
        self._name: Final = name
        self._labels: Final = dict(labels or {})
        self._bounds: Final = tuple(float(bound) for bound in bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value, in the unit of the bounds."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self) -> list[str]:
        """The lines of Prometheus' text format."""
        name, labels = self._name, self._labels
        lines = []
        total = 0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f"{name}_bucket{labelled({**labels, 'le': str(bound)})} {total}")
        about = labelled(labels) if labels else ""
        return [*lines, f"{name}_sum{about} {self._sum:.9f}", f"{name}_count{about} {total}"]
