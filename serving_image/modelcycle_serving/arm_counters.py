"""What became of the requests of a rollout, by arm, how the arms were found, and which traffic annotation is applied.

Owns these numbers and their text on the metrics port. Not thread-safe, like Counters. The series of a rollout exist from the moment it is
first applied, at 0, so that the first failure is a rise and no new series; those of the last few stay, so that a rollout whose
annotation somebody overwrote for a moment goes on where it was.
"""

from typing import Final

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.traffic import SHARE_DENOMINATOR, Traffic
from modelcycle_serving.exposition import described, labelled
from modelcycle_serving.histogram import Histogram
from modelcycle_serving.shadow_counters import ShadowCounters


class ArmCounters:
    """The counters of one process; those of a rollout begin when it is first applied."""

    def __init__(self) -> None:
        self.forwards: Final = Histogram(names.FORWARD_DURATION)
        self.shadow: Final = ShadowCounters()
        self._applied = Traffic()
        self._counts: dict[str, dict[tuple[str, str], int]] = {}
        self._rescued: dict[str, int] = {}
        self._exempt: dict[str, int] = {}
        self._drawn: dict[str, dict[tuple[str, str], int]] = {}
        self._since_change = [0, 0]
        """Requests drawn for the stable arm and for the canary since the share last changed."""

    def apply(self, traffic: Traffic) -> None:
        """Begin the series of a new rollout; the oldest of names.KEPT_ROLLOUTS make room."""
        if (traffic.rollout, traffic.share) != (self._applied.rollout, self._applied.share):
            self._since_change = [0, 0]
        self._applied = traffic
        rollout = traffic.rollout
        if not rollout:
            return
        fresh = {(arm, outcome): 0 for arm, all_of in names.ARM_OUTCOMES.items() for outcome in all_of}
        self._counts[rollout] = self._counts.pop(rollout, fresh)
        self._rescued.setdefault(rollout, 0)
        self._exempt.setdefault(rollout, 0)
        arms = names.ARM_OUTCOMES
        self._drawn.setdefault(rollout, dict.fromkeys(((by, arm) for by in names.DRAWN_BY for arm in arms), 0))
        for oldest in list(self._counts)[: -names.KEPT_ROLLOUTS]:
            del self._counts[oldest], self._rescued[oldest], self._exempt[oldest], self._drawn[oldest]

    def count(self, rollout: str, arm: str, outcome: str) -> None:
        """One request that arrived while `rollout` was applied."""
        if rollout in self._counts:
            self._counts[rollout][arm, outcome] += 1

    def rescued(self, rollout: str) -> None:
        """A bad answer of the canary that this pod made good."""
        if rollout in self._rescued:
            self._rescued[rollout] += 1

    def drawn(self, rollout: str, by: str, arm: str) -> None:
        """The arm of one request was found, before anything is known of its outcome."""
        self._drawn[rollout][by, arm] += 1
        self._since_change[arm == names.ARM_CANARY] += 1

    def exempt(self, rollout: str) -> None:
        """One request was kept out of the split."""
        self._exempt[rollout] += 1

    def _realised(self, applied: str) -> list[str]:
        """No sample before the first request."""
        stable, canary = self._since_change
        return [f"{names.TRAFFIC_REALISED}{applied} {canary / (stable + canary):.6g}"] if stable + canary else []

    def exposition(self) -> bytes:
        """Prometheus text format 0.0.4."""
        applied = labelled({"rollout": self._applied.rollout})
        lines = [
            *described(names.ARM_REQUESTS),
            *(
                f"{names.ARM_REQUESTS}{labelled({'rollout': rollout, 'arm': arm, 'outcome': outcome})} {count}"
                for rollout, counts in self._counts.items()
                for (arm, outcome), count in counts.items()
            ),
            *described(names.ARM_RESCUED),
            *(f"{names.ARM_RESCUED}{labelled({'rollout': r})} {count}" for r, count in self._rescued.items()),
            *described(names.ARM_DRAWN),
            *(
                f"{names.ARM_DRAWN}{labelled({'rollout': rollout, 'by': by, 'arm': arm})} {count}"
                for rollout, counts in self._drawn.items()
                for (by, arm), count in counts.items()
            ),
            *described(names.ARM_EXEMPT),
            *(f"{names.ARM_EXEMPT}{labelled({'rollout': r})} {count}" for r, count in self._exempt.items()),
            *described(names.TRAFFIC_SEQ),
            f"{names.TRAFFIC_SEQ}{applied} {self._applied.seq}",
            *described(names.TRAFFIC_SHARE),
            f"{names.TRAFFIC_SHARE}{applied} {self._applied.share / SHARE_DENOMINATOR:g}",
            *described(names.TRAFFIC_REALISED),
            *self._realised(applied),
            *described(names.FORWARD_DURATION),
            *self.forwards.samples(),
            *self.shadow.exposition(),
        ]
        return ("\n".join(lines) + "\n").encode()
