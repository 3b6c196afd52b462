"""What became of the requests of a rollout, by arm, and which traffic annotation is applied.

Owns these numbers and their text on the metrics port. Not thread-safe, like Counters. The series of one rollout exist at a time: all of
them from the moment it is applied, at 0, so that the first failure is a rise and no new series.
"""

from typing import Final

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.traffic import SHARE_DENOMINATOR, Traffic
from modelcycle_serving.exposition import header, labelled
from modelcycle_serving.histogram import Histogram


class ArmCounters:
    """The counters of one process; those of a rollout begin when it is applied."""

    def __init__(self) -> None:
        self.forwards: Final = Histogram(names.FORWARD_DURATION)
        self._applied = Traffic()
        self._rollout = ""
        self._counts: dict[tuple[str, str], int] = {}

    def apply(self, traffic: Traffic) -> None:
        """Begin the series of a new rollout; without one, those of the last stay."""
        self._applied = traffic
        if traffic.rollout not in ("", self._rollout):
            self._rollout = traffic.rollout
            self._counts = {(arm, outcome): 0 for arm, all_of in names.ARM_OUTCOMES.items() for outcome in all_of}

    def count(self, rollout: str, arm: str, outcome: str) -> None:
        """One request that arrived while `rollout` was applied; nothing when another has begun since."""
        if rollout == self._rollout:
            self._counts[arm, outcome] += 1

    def exposition(self) -> bytes:
        """Prometheus text format 0.0.4."""
        applied = labelled({"rollout": self._applied.rollout})
        lines = [
            *header(names.ARM_REQUESTS, "counter", "Inference requests by the arm that was to answer them."),
            *(
                f"{names.ARM_REQUESTS}{labelled({'rollout': self._rollout, 'arm': arm, 'outcome': outcome})} {count}"
                for (arm, outcome), count in self._counts.items()
            ),
            *header(names.TRAFFIC_SEQ, "gauge", "Number of the traffic annotation that is applied."),
            f"{names.TRAFFIC_SEQ}{applied} {self._applied.seq}",
            *header(names.TRAFFIC_SHARE, "gauge", "Share of requests handed on."),
            f"{names.TRAFFIC_SHARE}{applied} {self._applied.share / SHARE_DENOMINATOR:g}",
            *header(names.FORWARD_DURATION, "histogram", "Seconds from handing a request on to what came of it."),
            *self.forwards.samples(),
        ]
        return ("\n".join(lines) + "\n").encode()
