"""The state a replacement needs to resume, as frozen data, and its place in `.status`.

Owns the wire form of `status.{stable,canary,retiring,rejected,history}` and `stateVersion`. Decides nothing, knows no conditions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from modelcycle.api.conditions import timestamp
from modelcycle.api.edition import Edition, read_edition, write_edition
from modelcycle.deployment import commands
from modelcycle.deployment import intent as intents
from modelcycle.deployment.analysis import AnalysisState
from modelcycle.deployment.commands import Executed
from modelcycle.deployment.intent import TrafficIntent
from modelcycle.deployment.moments import optional_time, times

STATE_VERSION: Final = 2
REJECTED_LIMIT: Final = 20
HISTORY_LIMIT: Final = 20
REASON_TEXT_LIMIT: Final = 512


_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class Stage(StrEnum):
    """How far a canary is."""

    STARTING = "Starting"
    """Its pods come up; it gets no request."""
    STEPS = "Steps"
    """It gets the share of the current step."""
    CAPACITY = "Capacity"
    """It is to be promoted and grows to full size; the share stays."""
    FORWARDING = "Forwarding"
    """It has full size; stable's pods hand everything on to it before the Service moves."""


class Grounds(StrEnum):
    """What a promotion rests on; the reason of an entry in the history."""

    READY = "Ready"
    """Ready pods: no step gives a share, or nothing is there to compare with."""
    RETURNED = "Returned"
    """It served a moment ago and still has its pods: it needs neither evidence nor another approval."""
    EVIDENCE = "Evidence"
    """P has reached its bar."""
    TIME = "MaxDuration"
    """The time for evidence is over and `onInconclusive` is Promote."""
    PERSON = "PromoteFull"
    """A person asked for it; `status.requests` says who and why."""


@dataclass(frozen=True, slots=True)
class RevisionRef:
    """One revision as status names it."""

    revision: str
    """Hash, the value of the label `modelcycle.dev/revision`."""
    number: int
    digest: str
    uri: str


@dataclass(frozen=True, slots=True)
class Canary:
    """The revision being brought up, compared and promoted."""

    ref: RevisionRef
    started_at: datetime
    trust: str
    """Hash of the trust set its pods were started with."""
    held_since: datetime | None = None
    """Since when `paused` stops its clocks."""
    unseen_since: datetime | None = None
    """Since when counts are missing that its steps need: the clocks of steps and of the evidence stop."""
    image_failing_since: datetime | None = None
    rollout: str = ""
    """Names this attempt; counters of pods carry it as a label."""
    stage: Stage = Stage.STARTING
    step: int = 0
    since: datetime = _EPOCH
    """When the stage or the step began."""
    traffic_at: datetime | None = None
    """When its share was first above 0."""
    steps_hash: str = ""
    unready_since: datetime | None = None
    """Since when it has fewer Ready pods than it should; the progress deadline counts from here."""
    grounds: Grounds = Grounds.READY
    """From the stage Capacity on: what its promotion rests on."""


@dataclass(frozen=True, slots=True)
class Retiring:
    """The revision that served before, kept at full size. `moved_at` is when the Service was first seen on its successor."""

    ref: RevisionRef
    moved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A revision that was tried and refused. `trust` and `edition` say what it was refused under."""

    ref: RevisionRef
    reason: str
    message: str
    at: datetime
    trust: str
    edition: Edition


@dataclass(frozen=True, slots=True)
class Promotion:
    """One entry of the history: `to` took over from `from_` ("" for the first)."""

    from_: str
    to: str
    revision: int
    at: datetime
    reason: str
    uri: str = ""
    """Where `to` is fetched from; "" in entries of an earlier operator."""
    approver: str = ""
    """Who approved the rollout, or ordered it over the evidence; "" where nobody had to."""


@dataclass(frozen=True, slots=True)
class State:
    """All of it. The zero value is a ModelDeployment that was never looked at."""

    stable: RevisionRef | None = None
    canary: Canary | None = None
    retiring: Retiring | None = None
    rejected: tuple[Rejection, ...] = ()
    history: tuple[Promotion, ...] = ()
    traffic: TrafficIntent = TrafficIntent()
    analysis: AnalysisState | None = None
    """Evidence of this rollout, or of the last one."""
    executed: tuple[Executed, ...] = ()
    """Requests of people that were executed or refused, oldest first."""

    def referenced(self) -> tuple[RevisionRef, ...]:
        """Revisions that must keep their pods: stable, canary, retiring."""
        canary = self.canary.ref if self.canary else None
        retiring = self.retiring.ref if self.retiring else None
        return tuple(ref for ref in (self.stable, canary, retiring) if ref is not None)


def parse(status: Mapping[str, Any]) -> State:
    """Read the state back, without the evidence, which is kept apart. Unknown fields are ignored, a missing one takes its zero value."""
    canary, retiring = status.get("canary"), status.get("retiring")
    return State(
        stable=_ref(status["stable"]) if status.get("stable") else None,
        canary=_canary(canary) if canary else None,
        retiring=Retiring(_ref(retiring), optional_time(retiring.get("movedAt"))) if retiring else None,
        rejected=tuple(sorted(map(_rejection, status.get("rejected", ())), key=lambda item: item.at)),
        history=tuple(_promotion(item) for item in status.get("history", ())),
        traffic=intents.from_plain(status.get("traffic") or {}),
        executed=tuple(sorted(map(commands.from_plain, status.get("requests", ())), key=lambda e: (e.at, e.id))),
    )


def render(state: State, ready: Mapping[str, int]) -> dict[str, Any]:
    """The state as status fields. `ready` gives Ready pods by revision hash."""
    fields: dict[str, Any] = {"stateVersion": STATE_VERSION}
    if state.stable:
        fields["stable"] = _render_ref(state.stable, ready)
    if state.canary:
        fields["canary"] = _render_canary(state.canary, ready)
    if state.retiring:
        fields["retiring"] = _render_ref(state.retiring.ref, ready) | times(movedAt=state.retiring.moved_at)
    if state.rejected:
        fields["rejected"] = [_render_rejection(item) for item in state.rejected[-REJECTED_LIMIT:]]
    if state.history:
        fields["history"] = [_render_promotion(item) for item in state.history[-HISTORY_LIMIT:]]
    if state.traffic.seq:
        fields["traffic"] = intents.to_plain(state.traffic)
    if state.executed:
        fields["requests"] = [commands.to_plain(item) for item in state.executed]
    return fields


def _ref(raw: Mapping[str, Any]) -> RevisionRef:
    return RevisionRef(
        revision=raw.get("revision", ""),
        number=raw.get("number", 0),
        digest=raw.get("digest", ""),
        uri=raw.get("uri", ""),
    )


def _canary(raw: Mapping[str, Any]) -> Canary:
    return Canary(
        ref=_ref(raw),
        started_at=optional_time(raw.get("startedAt")) or _EPOCH,
        trust=raw.get("trust", ""),
        held_since=optional_time(raw.get("heldSince")),
        unseen_since=optional_time(raw.get("unseenSince")),
        image_failing_since=optional_time(raw.get("imageFailingSince")),
        rollout=raw.get("rollout", ""),
        stage=Stage(raw.get("stage", Stage.STARTING)),
        step=raw.get("step", 0),
        since=optional_time(raw.get("stepStartedAt") or raw.get("startedAt")) or _EPOCH,
        traffic_at=optional_time(raw.get("trafficAt")),
        steps_hash=raw.get("stepsHash", ""),
        unready_since=optional_time(raw.get("unreadySince")),
        grounds=Grounds(raw.get("grounds", Grounds.READY)),
    )


def _rejection(raw: Mapping[str, Any]) -> Rejection:
    return Rejection(
        ref=_ref(raw),
        reason=raw.get("reason", ""),
        message=raw.get("message", ""),
        at=optional_time(raw.get("at")) or _EPOCH,
        trust=raw.get("trust", ""),
        edition=read_edition(raw),
    )


def _promotion(raw: Mapping[str, Any]) -> Promotion:
    return Promotion(
        from_=raw.get("from", ""),
        to=raw.get("to", ""),
        revision=raw.get("number", 0),
        at=optional_time(raw.get("at")) or _EPOCH,
        reason=raw.get("reason", ""),
        uri=raw.get("uri", ""),
        approver=raw.get("approver", ""),
    )


def _render_ref(ref: RevisionRef, ready: Mapping[str, int]) -> dict[str, Any]:
    return {
        "digest": ref.digest,
        "uri": ref.uri,
        "revision": ref.revision,
        "number": ref.number,
        "readyReplicas": ready.get(ref.revision, 0),
    }


def _render_canary(canary: Canary, ready: Mapping[str, int]) -> dict[str, Any]:
    fields = _render_ref(canary.ref, ready)
    fields |= {
        "startedAt": timestamp(canary.started_at),
        "trust": canary.trust,
        "rollout": canary.rollout,
        "stage": canary.stage.value,
        "step": canary.step,
        "stepStartedAt": timestamp(canary.since),
        "stepsHash": canary.steps_hash,
        "grounds": canary.grounds.value,
    }
    return fields | times(
        heldSince=canary.held_since,
        unseenSince=canary.unseen_since,
        imageFailingSince=canary.image_failing_since,
        trafficAt=canary.traffic_at,
        unreadySince=canary.unready_since,
    )


def _render_rejection(item: Rejection) -> dict[str, Any]:
    return {
        "digest": item.ref.digest,
        "uri": item.ref.uri,
        "revision": item.ref.revision,
        "number": item.ref.number,
        "reason": item.reason,
        "message": item.message[:REASON_TEXT_LIMIT],
        "at": timestamp(item.at),
        "trust": item.trust,
        **write_edition(item.edition),
    }


def _render_promotion(item: Promotion) -> dict[str, Any]:
    return {
        "from": item.from_,
        "to": item.to,
        "number": item.revision,
        "at": timestamp(item.at),
        "reason": item.reason,
        **{name: value for name, value in (("uri", item.uri), ("approver", item.approver)) if value},
    }


def remember(rejected: Sequence[Rejection], item: Rejection) -> tuple[Rejection, ...]:
    """Add a rejection: one entry per revision, newest last, bounded."""
    kept = tuple(old for old in rejected if old.ref.revision != item.ref.revision)
    return (*kept, item)[-REJECTED_LIMIT:]
