"""What the demo found out, as data: for its summary, for the pilot report and for the test that runs it. Owns no I/O and no prose.

Times are seconds since the demo began unless a field says otherwise.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from demo.evidence import Arm


class Outcome(StrEnum):
    """How a rollout ended."""

    PROMOTED = "promoted"
    """The evidence was there; the new model serves."""
    TAKEN_BACK = "taken back"
    """The new model was rejected; the old one serves."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that an Experiment published. `score` is the share of right answers on its held-out rows, as text."""

    experiment: str
    digest: str
    trials: str
    score: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Point:
    """The evidence after one look."""

    at: float
    harm: float
    no_harm: float


@dataclass(frozen=True, slots=True)
class Rollout:
    """One new model, from `kubectl apply` to its end."""

    title: str
    deployment: str
    digest: str
    outcome: Outcome
    reason: str
    began: float
    seconds: float
    """From the apply until it served everything, or until nobody was asked to wait for it any more."""
    canary: Arm
    stable: Arm
    harm_at: float
    no_harm_at: float
    points: tuple[Point, ...]
    requests: int
    """Of clients, while it lasted."""
    failed: int
    """Of these, answered badly because of the new model."""
    rescued: int = 0
    """Bad answers of the new model that the old one gave well instead."""
    known_failures: int = 0
    """Of `requests`, answered badly because the old model has no answer for the record either."""


@dataclass(frozen=True, slots=True)
class Rollback:
    """How fast a rollback was, in seconds from the first bad answer of the new model, as an eyewitness in the cluster saw it."""

    to_decision: float
    """From a time in status, which is in whole seconds: up to 1 s too low."""
    to_share_zero: float


@dataclass(frozen=True, slots=True)
class Moved:
    """One feature of a drift alarm: the share of rows by bin, in the training data and in the last window."""

    feature: str
    reference: tuple[float, ...]
    current: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """Share of right answers, 0 to 1, of the old and the new model on the same held-out rows: the operator's own figures."""

    rows: int
    old_right: float
    new_right: float


@dataclass(frozen=True, slots=True)
class Drift:
    """The alarm and what was done about it."""

    shifted_at: float
    alarm_seconds: float
    """From the first shifted request to the alarm."""
    alarms_before: int
    """Alarms before anything had been shifted."""
    priority: str
    features: tuple[str, ...]
    message: str
    moved: tuple[Moved, ...]


@dataclass(frozen=True, slots=True)
class Retrain:
    """The model that the alarm led to."""

    experiment: str
    data_uri: str
    old_digest: str
    new_digest: str
    compared: Compared
    lead_seconds: float
    """From the first shifted request until the new model served everything."""


@dataclass(frozen=True, slots=True)
class Clients:
    """Everything that clients of the first line asked, over all stages."""

    requests: int
    failed: int
    slowest_seconds: float
    by_model: dict[str, int]


@dataclass
class Findings:
    """All of it; a part is None until its stage has truly happened."""

    models: list[Model] = field(default_factory=list)
    better: Rollout | None = None
    failing: Rollout | None = None
    failing_rollback: Rollback | None = None
    worse: Rollout | None = None
    drift: Drift | None = None
    retrain: Retrain | None = None
    retrained: Rollout | None = None
    clients: Clients | None = None
    tampered: str = ""

    @property
    def rollouts(self) -> list[Rollout]:
        """Those that happened, in order."""
        return [each for each in (self.better, self.failing, self.worse, self.retrained) if each is not None]
