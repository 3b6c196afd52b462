"""A Prometheus histogram of durations over the bounds of modelcycle_bundle.metric_names.

Owns its counts and their text. Not thread-safe.
"""

from bisect import bisect_left
from typing import Final

from modelcycle_bundle.metric_names import LATENCY_BOUNDS


class Histogram:
    """Counts by bound, and their sum. Without labels."""

    def __init__(self, name: str) -> None:
        self._name: Final = name
        self._counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self._sum += seconds

    def samples(self) -> list[str]:
        """The lines of Prometheus' text format."""
        lines = []
        total = 0
        for bound, count in zip((*LATENCY_BOUNDS, "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f'{self._name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{self._name}_sum {self._sum:.9f}", f"{self._name}_count {total}"]
