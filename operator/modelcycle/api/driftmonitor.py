"""DriftMonitor as frozen data, its condition types and reasons. No I/O, no defaults beyond the schema's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from modelcycle.api.edition import Edition, edition_of
from modelcycle.api.fields import SpecError, choice

STATE_VERSION: Final = 2
"""Version of `status` and of the ledger that this code writes; a newer one is left alone."""


class MonitorCondition(StrEnum):
    """Types of the conditions of a DriftMonitor."""

    READY = "Ready"
    """True while counts arrive, or while suspended."""
    RECONCILING = "Reconciling"
    """True while it waits for the target or for counts that can be used."""
    STALLED = "Stalled"
    """True when a person has to do something first."""
    COUNTS_INCONSISTENT = "CountsInconsistent"
    """True while the open or the last window holds counts that contradict each other."""
    ALARM = "Alarm"
    """True while something stands that is worth an alert."""
    RETRAIN = "Retrain"
    """True while a retrain is on its way or done, False while something holds it; absent when none was asked for."""


class MonitorReason(StrEnum):
    """Reasons of the conditions of a DriftMonitor."""

    OBSERVING = "Observing"
    """Counts of the target's pods arrive; nothing has moved."""
    DRIFT_DETECTED = "DriftDetected"
    """Inputs or answers have moved from the reference."""
    DATA_QUALITY = "DataQuality"
    """Values are missing or out of range more often than in the reference."""
    INSUFFICIENT_DATA = "InsufficientData"
    """Too few rows yet to tell drift from noise."""
    PROFILE_UNKNOWN = "ProfileUnknown"
    """No pod gives the reference profile that its counts belong to; nothing is judged."""
    NO_DATA = "NoData"
    """No pod answers, or the last reading is too old; windows are held open."""
    WAITING_FOR_TARGET = "WaitingForTarget"
    """There is no ModelDeployment of the name in `spec.targetRef`."""
    COUNTS_INCONSISTENT = "CountsInconsistent"
    """A counter ran backwards within its epoch, or bins do not add up to rows; the pod is left out."""
    SUSPENDED = "Suspended"
    """`spec.suspend` is true: nothing is read."""
    NEWER_STATE = "NewerState"
    """A newer operator wrote the status; this one changes nothing."""
    WRITE_REFUSED = "WriteRefused"
    """The API server refuses a change that the operator has to make: quota, policy, rights or schema."""
    INVALID_SPEC = "InvalidSpec"
    """The spec has a value that this operator does not know; the message names the field."""
    NAME_TAKEN = "NameTaken"
    """The ConfigMap for the counts exists and is not ours."""
    LEDGER_UNREADABLE = "LedgerUnreadable"
    """The ConfigMap with the counts was changed by someone else and does not parse."""
    LEDGER_TOO_LARGE = "LedgerTooLarge"
    """Pods times features are more than a ConfigMap holds."""


class Mode(StrEnum):
    """What a DriftMonitor may do beyond telling."""

    OBSERVE = "observe"
    """Judge, explain and alert; write down what would have been done."""
    ACT = "act"
    """Also do it."""


class Priority(StrEnum):
    """How much an alarm matters, most first."""

    P1 = "P1"
    """Harm to the users' answers."""
    P2 = "P2"
    """The answers, or an input that was called important, have moved."""
    P3 = "P3"
    """The data look wrong: missing or out of range."""
    P4 = "P4"
    """Worth knowing."""

    def at_least(self, other: "Priority") -> bool:
        """Whether this one matters as much as `other` or more."""
        return self.value <= other.value


class Reference(StrEnum):
    """What counts are compared with; drift/reference.py has the lookup of each."""

    TRAINING = "training"
    """The profile that was sealed into the model."""


class Importance(StrEnum):
    """How much a feature matters to the user."""

    HIGH = "high"
    """A critical shift of it is P2."""
    MEDIUM = "medium"
    """The default."""
    LOW = "low"
    """Named last."""


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """What the user says about one feature."""

    name: str
    importance: Importance = Importance.MEDIUM
    owner: str = ""
    """Who to ask about it; for people."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Debiased PSI from which a shift counts."""

    warn: float = 0.1
    critical: float = 0.25


@dataclass(frozen=True, slots=True)
class Persistence:
    """A shift counts when it is there in `k` of the last `of` judged windows."""

    k: int = 2
    of: int = 3


@dataclass(frozen=True, slots=True)
class RetrainSpec:
    """How to retrain. Cooldown in seconds."""

    template: str
    """Experiment in the same namespace whose spec is used again."""
    data_uri: str
    secret: str | None = None
    """Secret with the credentials of the data's store; None: as the template says."""
    min_priority: Priority = Priority.P2
    cooldown: float = 86400.0
    min_new_rows: int = 2000


@dataclass(frozen=True, slots=True)
class MonitorSpec:
    """What the user asks for. Durations in seconds."""

    target: str
    mode: Mode = Mode.OBSERVE
    reference: Reference = Reference.TRAINING
    window: float = 3600.0
    window_max: float = 86400.0
    """Longest stretch of windows that are added up until there are enough rows to judge."""
    interval: float = 15.0
    suspend: bool = False
    false_alarms_per_quarter: int = 1
    effect: Effect = Effect()
    persistence: Persistence = Persistence()
    features: tuple[FeatureSpec, ...] = ()
    alert_min_priority: Priority = Priority.P4
    retrain: RetrainSpec | None = None


@dataclass(frozen=True, slots=True)
class Monitor:
    """One DriftMonitor as read."""

    namespace: str
    name: str
    uid: str
    edition: Edition
    resource_version: str
    spec: MonitorSpec
    status: Mapping[str, Any]
    problem: str | None = None
    """Why the spec cannot be used, then nothing but `spec.target` is read of it."""

    @property
    def generation(self) -> int:
        """metadata.generation."""
        return self.edition.generation

    @property
    def state_version(self) -> int:
        """Version of the status as found; 0 when there is none."""
        return int(self.status.get("stateVersion", 0))


_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0}


def seconds(duration: str) -> float:
    """Seconds of a duration such as `1h30m`. Raises ValueError for anything the schema refuses."""
    if not re.fullmatch(r"([0-9]+h)?([0-9]+m)?([0-9]+s)?", duration) or not duration:
        raise ValueError(f"{duration!r} is not a duration such as 90s, 15m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([hms])", duration))


def parse(obj: Mapping[str, Any]) -> Monitor:
    """The typed view of an object that the API server has admitted, maybe by the CRD of another release."""
    meta, problem = obj["metadata"], None
    try:
        spec = _spec(obj["spec"])
    except SpecError as error:
        spec, problem = MonitorSpec(obj["spec"]["targetRef"]["name"]), str(error)
    return Monitor(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        edition=edition_of(obj),
        resource_version=meta["resourceVersion"],
        spec=spec,
        status=obj.get("status") or {},
        problem=problem,
    )


def _spec(spec: Mapping[str, Any]) -> MonitorSpec:
    window, effect, persistence = (spec.get(name, {}) for name in ("window", "effect", "persistence"))
    actions = spec.get("actions", {})
    length = _seconds(window, "spec.window", "length", "1h")
    return MonitorSpec(
        target=spec["targetRef"]["name"],
        mode=choice(spec, "spec", "mode", Mode, Mode.OBSERVE),
        reference=choice(spec, "spec", "reference", Reference, Reference.TRAINING),
        window=length,
        # An object stored before `max` existed may have a longer window than its default.
        window_max=max(length, _seconds(window, "spec.window", "max", "24h")),
        interval=_seconds(spec, "spec", "interval", "15s"),
        suspend=spec.get("suspend", False),
        false_alarms_per_quarter=spec.get("falseAlarmsPerQuarter", 1),
        effect=Effect(float(effect.get("warn", "0.1")), float(effect.get("critical", "0.25"))),
        persistence=Persistence(persistence.get("k", 2), persistence.get("of", 3)),
        features=tuple(_feature(item, f"spec.features[{at}]") for at, item in enumerate(spec.get("features", ()))),
        alert_min_priority=choice(actions.get("alert", {}), "spec.actions.alert", "minPriority", Priority, Priority.P4),
        retrain=_retrain(actions["retrain"], "spec.actions.retrain") if "retrain" in actions else None,
    )


def _seconds(parent: Mapping[str, Any], path: str, name: str, default: str) -> float:
    try:
        return seconds(parent.get(name, default))
    except ValueError as error:
        raise SpecError(f"{path}.{name}: {error}") from error


def _feature(raw: Mapping[str, Any], path: str) -> FeatureSpec:
    importance = choice(raw, path, "importance", Importance, Importance.MEDIUM)
    return FeatureSpec(raw["name"], importance, raw.get("owner", ""))


def _retrain(raw: Mapping[str, Any], path: str) -> RetrainSpec:
    data = raw["data"]
    return RetrainSpec(
        template=raw["experimentTemplateRef"]["name"],
        data_uri=data["uri"],
        secret=data["secretRef"]["name"] if "secretRef" in data else None,
        min_priority=choice(raw, path, "minPriority", Priority, Priority.P2),
        cooldown=_seconds(raw, path, "cooldown", "24h"),
        min_new_rows=raw.get("minNewRows", 2000),
    )
