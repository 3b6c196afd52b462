"""What became of the requests of a rollout, by arm, and which traffic annotation is applied.

Owns these numbers and their text on the metrics port. Not thread-safe, like Counters. The series of a rollout exist from the moment it is
first applied, at 0, so that the first failure is a rise and no new series; those of the last few stay, so that a rollout whose
annotation somebody overwrote for a moment goes on where it was.
"""

from typing import Final

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.traffic import SHARE_DENOMINATOR, Traffic
from modelcycle_serving.exposition import header, labelled
from modelcycle_serving.histogram import Histogram

KEPT_ROLLOUTS: Final = 3


class ArmCounters:
    """The counters of one process; those of a rollout begin when it is first applied."""

    def __init__(self) -> None:
        self.forwards: Final = Histogram(names.FORWARD_DURATION)
        self._applied = Traffic()
        self._counts: dict[str, dict[tuple[str, str], int]] = {}
        self._rescued: dict[str, int] = {}

    def apply(self, traffic: Traffic) -> None:
        """Begin the series of a new rollout; the oldest of KEPT_ROLLOUTS make room."""
        self._applied = traffic
        rollout = traffic.rollout
        if not rollout:
            return
        fresh = {(arm, outcome): 0 for arm, all_of in names.ARM_OUTCOMES.items() for outcome in all_of}
        self._counts[rollout] = self._counts.pop(rollout, fresh)
        self._rescued.setdefault(rollout, 0)
        for oldest in list(self._counts)[:-KEPT_ROLLOUTS]:
            del self._counts[oldest], self._rescued[oldest]

    def count(self, rollout: str, arm: str, outcome: str) -> None:
        """One request that arrived while `rollout` was applied."""
        if rollout in self._counts:
            self._counts[rollout][arm, outcome] += 1

    def rescued(self, rollout: str) -> None:
        """A bad answer of the canary that this pod made good."""
        if rollout in self._rescued:
            self._rescued[rollout] += 1

    def exposition(self) -> bytes:
        """Prometheus text format 0.0.4."""
        applied = labelled({"rollout": self._applied.rollout})
        lines = [
            *header(names.ARM_REQUESTS, "counter", "Inference requests by the arm that was to answer them."),
            *(
                f"{names.ARM_REQUESTS}{labelled({'rollout': rollout, 'arm': arm, 'outcome': outcome})} {count}"
                for rollout, counts in self._counts.items()
                for (arm, outcome), count in counts.items()
            ),
            *header(names.ARM_RESCUED, "counter", "Bad answers of the canary that this pod's model made good."),
            *(f"{names.ARM_RESCUED}{labelled({'rollout': r})} {count}" for r, count in self._rescued.items()),
            *header(names.TRAFFIC_SEQ, "gauge", "Number of the traffic annotation that is applied."),
            f"{names.TRAFFIC_SEQ}{applied} {self._applied.seq}",
            *header(names.TRAFFIC_SHARE, "gauge", "Share of requests handed on."),
            f"{names.TRAFFIC_SHARE}{applied} {self._applied.share / SHARE_DENOMINATOR:g}",
            *header(names.FORWARD_DURATION, "histogram", "Seconds from handing a request on to what came of it."),
            *self.forwards.samples(),
        ]
        return ("\n".join(lines) + "\n").encode()
