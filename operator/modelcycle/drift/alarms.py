"""Alarms as people see them: one per cause, with a priority, the features that moved and what is done about it. Pure.

Owns priorities, ranking and the wording of what was or would be done. Derived from the history and the spec alone.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from modelcycle.api import conditions
from modelcycle.api.driftmonitor import FeatureSpec, Importance, Monitor, MonitorReason, MonitorSpec, Priority
from modelcycle.drift import explain
from modelcycle.drift.history import Episode, History, Row
from modelcycle.drift.judge import Level
from modelcycle.drift.retrain_state import RetrainWish
from modelcycle.drift.rows import Cause

MAX_FEATURES: Final = 20
_NAMED: Final = 3
"""Features beside the first that a sentence names."""
_WEIGHT: Final = {Importance.HIGH: 4.0, Importance.MEDIUM: 2.0, Importance.LOW: 1.0}
_REASON: Final = {
    Cause.OUTPUT_DRIFT: MonitorReason.DRIFT_DETECTED,
    Cause.INPUT_DRIFT: MonitorReason.DRIFT_DETECTED,
    Cause.MISSING_ANSWERS: MonitorReason.DATA_QUALITY,
    Cause.MISSING_VALUES: MonitorReason.DATA_QUALITY,
    Cause.OUT_OF_RANGE: MonitorReason.DATA_QUALITY,
}


class Advice(StrEnum):
    """What `status.recommendation` recommends."""

    RETRAIN = "Retrain"
    """Train on newer data: the world, or what is asked of the model, has changed."""
    CHECK_DATA = "CheckData"
    """Look at where the data come from before anything else."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One cause that stands."""

    episode: Episode
    fingerprint: str
    """Stays the same from the beginning of the alarm to its end."""
    priority: Priority
    features: tuple[str, ...]
    """Ranked by importance times effect."""
    owner: str
    """Of the first feature."""
    message: str

    @property
    def cause(self) -> Cause:
        """What it is about."""
        return self.episode.cause

    @property
    def reason(self) -> MonitorReason:
        """The condition's reason while this is the first alarm."""
        return _REASON[self.cause]

    @property
    def said(self) -> str:
        """With its priority, for conditions and Events."""
        return f"{self.priority}: {self.message}"


def standing(monitor: Monitor, history: History) -> tuple[Alarm, ...]:
    """The alarms that stand, most important first."""
    found = [_alarm(monitor, episode, history) for episode in history.episodes]
    return tuple(sorted(found, key=lambda alarm: (alarm.priority, alarm.cause)))


def render(alarm: Alarm, did: str) -> dict[str, Any]:
    """One entry of `status.alarms`."""
    return {
        "fingerprint": alarm.fingerprint,
        "priority": alarm.priority.value,
        "cause": alarm.cause.value,
        "features": [feature[:253] for feature in alarm.features[:MAX_FEATURES]],
        "since": explain.moment(alarm.episode.end),
        "message": alarm.message[: conditions.MESSAGE_LIMIT],
        **({"owner": alarm.owner} if alarm.owner else {}),
        "did": did,
    }


def recommendation(alarm: Alarm, target_uid: str, digest: str) -> dict[str, Any] | None:
    """`status.recommendation`; None when there is nothing to recommend, or the model that was judged serves no more."""
    if alarm.priority is Priority.P4 or alarm.episode.digest != digest or not digest:
        return None
    advice = Advice.CHECK_DATA if alarm.reason is MonitorReason.DATA_QUALITY else Advice.RETRAIN
    return {
        "targetUid": target_uid,
        "digest": digest,
        "action": advice.value,
        "evidence": f"{alarm.fingerprint} {alarm.said}"[: conditions.MESSAGE_LIMIT],
        "at": explain.moment(alarm.episode.end),
    }


def retrains(alarm: Alarm, spec: MonitorSpec) -> bool:
    """Whether this alarm asks for a retrain."""
    return spec.retrain is not None and alarm.priority.at_least(spec.retrain.min_priority)


def did(alarm: Alarm, spec: MonitorSpec, retrain: str) -> str:
    """What was done about it, or would be in observe mode. `retrain`: how the retrain stands, if it asks for one."""
    alerted = "alerted" if alarm.priority.at_least(spec.alert_min_priority) else ""
    parts = [alerted, retrain if retrains(alarm, spec) else ""]
    return ", ".join(part for part in parts if part) or "nothing"


def wish(standing: Sequence[Alarm], spec: MonitorSpec, digest: str) -> RetrainWish | None:
    """The first alarm that asks for a retrain of the model that serves now."""
    for alarm in standing:
        if retrains(alarm, spec) and alarm.episode.digest == digest:
            start, end = (datetime.fromtimestamp(at, UTC) for at in (alarm.episode.start, alarm.episode.end))
            return RetrainWish(alarm.fingerprint, alarm.priority, start, end, alarm.said)
    return None


def _alarm(monitor: Monitor, episode: Episode, history: History) -> Alarm:
    features = {feature.name: feature for feature in monitor.spec.features}
    moved = [row for row in history.rows if row.cause is episode.cause and row.standing]
    ranked = sorted(moved, key=lambda row: (-_severity(row, features), row.name))
    first, others = ranked[0], ranked[1:]
    named = ", ".join(explain.name(row.name) for row in others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return Alarm(
        episode=episode,
        fingerprint=_fingerprint(monitor.uid, history.profile, episode),
        priority=_priority(episode.cause, moved, features),
        features=tuple(row.name for row in ranked),
        owner=features[first.name].owner if first.name in features else "",
        message=first.text + (f", with {named}{more}" if others else ""),
    )


def _priority(cause: Cause, moved: list[Row], features: Mapping[str, FeatureSpec]) -> Priority:
    if cause in (Cause.OUTPUT_DRIFT, Cause.MISSING_ANSWERS):
        return Priority.P2
    if cause is not Cause.INPUT_DRIFT:
        return Priority.P3
    important = any(
        row.standing is Level.CRITICAL and row.name in features and features[row.name].importance is Importance.HIGH
        for row in moved
    )
    return Priority.P2 if important else Priority.P4


def _severity(row: Row, features: Mapping[str, FeatureSpec]) -> float:
    importance = features[row.name].importance if row.name in features else Importance.MEDIUM
    return _WEIGHT[importance] * row.effect


def _fingerprint(uid: str, profile: str, episode: Episode) -> str:
    """Pinned by a golden test: another text would end every standing alarm and raise it again."""
    said = "\0".join((uid, profile, episode.cause.value, json.dumps(float(episode.end))))
    return hashlib.sha256(said.encode()).hexdigest()[:6]
