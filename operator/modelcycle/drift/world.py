"""What a decision about a DriftMonitor is made from: one frozen picture of cluster, ledger and latest readings. Holds no logic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from modelcycle.api.driftmonitor import Monitor
from modelcycle.drift.ledger import Book
from modelcycle.drift.retrain import RetrainWorld
from modelcycle.metrics.port import Samples
from modelcycle_bundle.profile import Profile


@dataclass(frozen=True, slots=True)
class TargetModel:
    """The ModelDeployment and the model that it serves; `digest` is empty before the first."""

    uid: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class LedgerObject:
    """The ConfigMap with the counts as found."""

    uid: str
    resource_version: str
    owner: str | None
    """Who it belongs to when it is not ours, for people; None: ours."""
    book: Book
    problem: str | None = None
    """Why its text is no ledger."""


@dataclass(frozen=True, slots=True)
class MonitorWorld:
    """Everything the decision needs."""

    monitor: Monitor
    now: datetime
    target: TargetModel | None
    stored: LedgerObject | None
    samples: Samples | None
    problem: str | None = None
    """Why the last reading failed as a whole."""
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    """Reference profiles that are known, by hash."""
    lacking: Mapping[str, str] = field(default_factory=dict)
    """Why a profile that the counts name is not known, by hash."""
    retrain: RetrainWorld | None = None
    """What a retrain needs to know; None when none is asked for and none went on."""
