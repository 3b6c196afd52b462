"""The port for counts: what one round of reading gives, what is kept between rounds, and who can be asked.

Owns the vocabulary of counter runs. A *run* is one life of a pod's counters, named (pod uid, start): inside it a counter never falls,
and a restarted container begins another run at zero. Does no I/O and knows no window.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from modelcycle_bundle import metric_names


class Series(NamedTuple):
    """One counter of one pod: the metric's name and the values of the labels that matter, in the order of its SeriesSet."""

    metric: str
    labels: tuple[str, ...] = ()


SeriesSet = Mapping[str, tuple[str, ...]]
"""Which metrics are kept, each with the labels that matter. All else on a page is left alone."""

DRIFT_SERIES: Final[SeriesSet] = {
    metric_names.REQUESTS: ("code",),
    metric_names.ROWS: (),
    metric_names.FEATURE: ("profile", "feature", "bin"),
    metric_names.PREDICTION: ("profile", "output", "confidence"),
}
"""What a DriftMonitor counts."""
ROLLOUT_SERIES: Final[SeriesSet] = {
    metric_names.ARM_REQUESTS: ("rollout", "arm", "outcome"),
    metric_names.ARM_RESCUED: ("rollout",),
    metric_names.TRAFFIC_SEQ: ("rollout",),
}
"""What a rollout is judged by, and the traffic annotation that a pod applies (a gauge that only rises within a rollout)."""

Counts = Mapping[Series, int]


class RunId(NamedTuple):
    """Names one run of a pod's counters."""

    pod_uid: str
    epoch: float
    """Start of the counters, Unix seconds by the pod's clock."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a pod says of the model it serves."""

    revision: str = ""
    inputs: str = ""
    """Hash of the names of the inputs in their order."""
    accepts_missing: bool = False
    outputs: str = ""
    """Hash of the form of its answers; "" for a server that does not say."""
    takes: tuple[str, ...] = ()
    """Names that clients send, in order; () for a server that does not say, and takes its own order alone."""
    needs: tuple[str, ...] = ()
    """Those of them that the model reads, in its order."""


@dataclass(frozen=True, slots=True)
class PodCounters:
    """One pod's counters as read once."""

    run: RunId
    counts: Counts
    model: ServedModel | None = None
    """None: the page does not say."""


@dataclass(frozen=True, slots=True)
class PodFailure:
    """A listed pod that gave no counts in a round. `cause` is fit for people and stays the same while the cause does."""

    pod: str
    pod_uid: str
    cause: str


@dataclass(frozen=True, slots=True)
class Round:
    """One reading of all pods of a target. `taken_at` is the moment the reading began."""

    deployment: str
    taken_at: datetime
    listed: frozenset[str]
    """Uids of the pods that exist and have not ended, whether they answered or not."""
    pods: tuple[PodCounters, ...] = ()
    failures: tuple[PodFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class RunSample:
    """The latest that is known of one run."""

    run: RunId
    counts: Counts
    seen_at: datetime
    """Round that read `counts`."""
    gone_at: datetime | None = None
    """Round that found the pod gone or its counters begun anew; None while it lives."""
    backwards_at: datetime | None = None
    """Latest round in which a counter was lower than before."""
    model: ServedModel | None = None


@dataclass(frozen=True, slots=True)
class FailingPod:
    """A pod that has not answered since a moment."""

    pod: str
    pod_uid: str
    cause: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Samples:
    """The latest finished reading of a target, with what was last seen of every run since `since`."""

    deployment: str
    """ModelDeployment whose pods were read."""
    since: datetime
    """First finished round of this watch: what began after it was seen from its beginning."""
    taken_at: datetime
    listed: frozenset[str]
    runs: Mapping[RunId, RunSample] = field(default_factory=dict)
    failing: tuple[FailingPod, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """Whose pods to read, how often, and which gone runs still matter."""

    namespace: str
    deployment: str
    interval: float
    """Seconds between the starts of two rounds."""
    keep_gone_after: datetime | None = None
    """Runs that were gone at or before this moment are forgotten; None keeps all."""
    ready: frozenset[str] = frozenset()
    """Uids of pods that answer now: a new one among them is read at once, not when the interval is over."""


class SourceUnavailable(Exception):
    """No round could be taken at all; the text says of what and why."""


class CountSource(Protocol):
    """Someone who can read all pods of a target."""

    async def read(self, target: Target, now: datetime) -> Round:
        """One round, each pod within its own time limit. Raises SourceUnavailable."""
