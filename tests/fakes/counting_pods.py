"""Pods whose counters can be read, in memory: what a round would give, and the truth to compare with. No sockets, no clocks."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from modelcycle.metrics.port import PodCounters, PodFailure, Round, RunId, Series
from modelcycle_bundle import metric_names

ROWS = Series(metric_names.ROWS)
OK = Series(metric_names.REQUESTS, ("200",))
PROFILE = "0123456789ab"
BASE = datetime(2026, 11, 23, 7, 0, tzinfo=UTC).timestamp()


def at(seconds: float) -> datetime:
    """A moment `seconds` after 07:00 UTC."""
    return datetime.fromtimestamp(BASE + seconds, UTC)


def bin_of(feature: str, name: str, profile: str = PROFILE) -> Series:
    """One bin of one feature."""
    return Series(metric_names.FEATURE, (profile, feature, name))


@dataclass
class CountingPod:
    """One pod: counters that grow with `serve`, a container that restarts, a network that can be cut."""

    uid: str
    epoch: float
    reachable: bool = True
    counts: dict[Series, int] = field(default_factory=lambda: {ROWS: 0, OK: 0, bin_of("t", "b00"): 0})

    def serve(self, requests: int) -> None:
        """Answer `requests` of one row each."""
        for series in self.counts:
            self.counts[series] += requests

    def restart(self, seconds: float) -> None:
        """The container begins again: a new epoch, all at zero."""
        self.epoch = BASE + seconds
        self.counts = dict.fromkeys(self.counts, 0)

    @property
    def run(self) -> RunId:
        """The run that counts now."""
        return RunId(self.uid, self.epoch)


def take(pods: list[CountingPod], seconds: float, deployment: str = "scrap") -> Round:
    """A round at `seconds`."""
    return Round(
        deployment=deployment,
        taken_at=at(seconds),
        listed=frozenset(pod.uid for pod in pods),
        pods=tuple(PodCounters(pod.run, dict(pod.counts)) for pod in pods if pod.reachable),
        failures=tuple(PodFailure(f"pod-{pod.uid}", pod.uid, "connection failed") for pod in pods if not pod.reachable),
    )
