"""What became of the copies of a rollout, and by how much answers differed.

Owns these numbers and their text on the metrics port. Bounded: the series of the last few rollouts that were copied, all at 0 from
the first.
"""

from typing import Final

from modelcycle_bundle import metric_names as names
from modelcycle_serving.exposition import described, labelled
from modelcycle_serving.histogram import Histogram


class ShadowCounters:
    """The counters of one process."""

    def __init__(self) -> None:
        self._counts: Final[dict[str, dict[str, int]]] = {}
        self._differences: Final[dict[str, Histogram]] = {}

    def begin(self, rollout: str) -> None:
        """Begin the series of a rollout, or go on with them; the oldest of names.KEPT_ROLLOUTS make room."""
        self._counts[rollout] = self._counts.pop(rollout, dict.fromkeys(names.SHADOW_OUTCOMES, 0))
        differences = Histogram(names.SHADOW_DIFFERENCE, names.SHADOW_BOUNDS, {"rollout": rollout})
        self._differences.setdefault(rollout, differences)
        for oldest in list(self._counts)[: -names.KEPT_ROLLOUTS]:
            del self._counts[oldest], self._differences[oldest]

    def count(self, rollout: str, outcome: str) -> None:
        """One copy, sent or dropped."""
        if rollout in self._counts:
            self._counts[rollout][outcome] += 1

    def observe(self, rollout: str, difference: float) -> None:
        """The largest difference between two answers."""
        if rollout in self._differences:
            self._differences[rollout].observe(difference)

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
            *(line for rollout in self._counts for line in self._differences[rollout].samples()),
        ]
