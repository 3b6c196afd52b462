"""What became of the copies of a rollout, and by how much answers differed.

Owns these numbers and their text on the metrics port. Bounded: the series of the last few rollouts that were copied, all at 0 from
the first.
"""

from bisect import bisect_left
from typing import Final

from modelcycle_bundle import metric_names as names
from modelcycle_serving.exposition import described, labelled

KEPT_ROLLOUTS: Final = 3


class ShadowCounters:
    """The counters of one process."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}
        self._differences: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def begin(self, rollout: str) -> None:
        """Begin the series of a rollout, or go on with them; the oldest of KEPT_ROLLOUTS make room."""
        self._counts[rollout] = self._counts.pop(rollout, dict.fromkeys(names.SHADOW_OUTCOMES, 0))
        self._differences.setdefault(rollout, [0] * (len(names.SHADOW_BOUNDS) + 1))
        self._sums.setdefault(rollout, 0.0)
        for oldest in list(self._counts)[:-KEPT_ROLLOUTS]:
            del self._counts[oldest], self._differences[oldest], self._sums[oldest]

    def count(self, rollout: str, outcome: str) -> None:
        """One copy, sent or dropped."""
        if rollout in self._counts:
            self._counts[rollout][outcome] += 1

    def observe(self, rollout: str, difference: float) -> None:
        """The largest difference between two answers."""
        if rollout in self._differences:
            self._differences[rollout][bisect_left(names.SHADOW_BOUNDS, difference)] += 1
            self._sums[rollout] += difference

    def exposition(self) -> list[str]:
        """The lines of Prometheus' text format; none before the first copy was asked for."""
        if not self._counts:
            return []
        return [
            *described(names.SHADOW_REQUESTS),
            *(
                f"{names.SHADOW_REQUESTS}{labelled({'rollout': rollout, 'outcome': outcome})} {count}"
                for rollout, counts in self._counts.items()
                for outcome, count in counts.items()
            ),
            *described(names.SHADOW_DIFFERENCE),
            *(line for rollout in self._counts for line in self._histogram(rollout)),
        ]

    def _histogram(self, rollout: str) -> list[str]:
        lines, total = [], 0
        for bound, count in zip((*names.SHADOW_BOUNDS, "+Inf"), self._differences[rollout], strict=True):
            total += count
            lines.append(f"{names.SHADOW_DIFFERENCE}_bucket{labelled({'rollout': rollout, 'le': str(bound)})} {total}")
        named = labelled({"rollout": rollout})
        name = names.SHADOW_DIFFERENCE
        return [*lines, f"{name}_sum{named} {self._sums[rollout]:.9f}", f"{name}_count{named} {total}"]
