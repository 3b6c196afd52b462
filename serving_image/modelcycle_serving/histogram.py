"""A Prometheus histogram of durations.

Owns its counts and their text. Not thread-safe.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from modelcycle_bundle.metric_names import LATENCY_BOUNDS


class Histogram:
    """Counts by bound (rising, seconds), and their sum. Without labels."""

    def __init__(self, name: str, bounds: Sequence[float] = LATENCY_BOUNDS) -> None:
        self._name: Final = name
        self._bounds: Final = tuple(float(bound) for bound in bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def samples(self) -> list[str]:
        """The lines of Prometheus' text format."""
        lines = []
        total = 0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f'{self._name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{self._name}_sum {self._sum:.9f}", f"{self._name}_count {total}"]
