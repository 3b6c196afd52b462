"""The state a replacement needs to resume, as frozen data, and its place in `.status`.

Owns the wire form of `status.{stable,canary,retiring,rejected,history}` and `stateVersion`. Decides nothing, knows no conditions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from modelcycle.api.conditions import timestamp

STATE_VERSION: Final = 1
REJECTED_LIMIT: Final = 20
HISTORY_LIMIT: Final = 20
REASON_TEXT_LIMIT: Final = 512


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
    """The revision being brought up; not serving yet."""

    ref: RevisionRef
    started_at: datetime
    trust: str
    """Hash of the trust set its pods were started with."""
    held_since: datetime | None = None
    """Since when `paused` stops its progress clock."""
    image_failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Retiring:
    """The revision that served before, kept at full size. `moved_at` is when the Service was first seen on its successor."""

    ref: RevisionRef
    moved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A revision that was tried and refused. `trust` and `generation` say what it was refused under."""

    ref: RevisionRef
    reason: str
    message: str
    at: datetime
    trust: str
    generation: int


@dataclass(frozen=True, slots=True)
class Promotion:
    """One entry of the history: `to` took over from `from_` ("" for the first)."""

    from_: str
    to: str
    revision: int
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class State:
    """All of it. The zero value is a ModelDeployment that was never looked at."""

    stable: RevisionRef | None = None
    canary: Canary | None = None
    retiring: Retiring | None = None
    rejected: tuple[Rejection, ...] = ()
    history: tuple[Promotion, ...] = ()

    def referenced(self) -> tuple[RevisionRef, ...]:
        """Revisions that must keep their pods: stable, canary, retiring."""
        canary = self.canary.ref if self.canary else None
        retiring = self.retiring.ref if self.retiring else None
        return tuple(ref for ref in (self.stable, canary, retiring) if ref is not None)


def parse(status: Mapping[str, Any]) -> State:
    """Read the state back. Unknown fields are ignored, a missing one takes its zero value."""
    canary, retiring = status.get("canary"), status.get("retiring")
    return State(
        stable=_ref(status["stable"]) if status.get("stable") else None,
        canary=_canary(canary) if canary else None,
        retiring=Retiring(_ref(retiring), _time(retiring.get("movedAt"))) if retiring else None,
        rejected=tuple(sorted(map(_rejection, status.get("rejected", ())), key=lambda item: item.at)),
        history=tuple(_promotion(item) for item in status.get("history", ())),
    )


def render(state: State, ready: Mapping[str, int]) -> dict[str, Any]:
    """The state as status fields. `ready` gives Ready pods by revision hash."""
    fields: dict[str, Any] = {"stateVersion": STATE_VERSION}
    if state.stable:
        fields["stable"] = _render_ref(state.stable, ready)
    if state.canary:
        fields["canary"] = _render_canary(state.canary, ready)
    if state.retiring:
        fields["retiring"] = _render_ref(state.retiring.ref, ready) | _times(movedAt=state.retiring.moved_at)
    if state.rejected:
        fields["rejected"] = [_render_rejection(item) for item in state.rejected[-REJECTED_LIMIT:]]
    if state.history:
        fields["history"] = [_render_promotion(item) for item in state.history[-HISTORY_LIMIT:]]
    return fields


def parse_time(text: str) -> datetime:
    """RFC 3339 as Kubernetes writes it, with or without fractions."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None


def _times(**moments: datetime | None) -> dict[str, str]:
    return {name: timestamp(moment) for name, moment in moments.items() if moment is not None}


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
        started_at=_time(raw.get("startedAt")) or datetime.fromtimestamp(0, UTC),
        trust=raw.get("trust", ""),
        held_since=_time(raw.get("heldSince")),
        image_failing_since=_time(raw.get("imageFailingSince")),
    )


def _rejection(raw: Mapping[str, Any]) -> Rejection:
    return Rejection(
        ref=_ref(raw),
        reason=raw.get("reason", ""),
        message=raw.get("message", ""),
        at=_time(raw.get("at")) or datetime.fromtimestamp(0, UTC),
        trust=raw.get("trust", ""),
        generation=raw.get("generation", 0),
    )


def _promotion(raw: Mapping[str, Any]) -> Promotion:
    return Promotion(
        from_=raw.get("from", ""),
        to=raw.get("to", ""),
        revision=raw.get("number", 0),
        at=_time(raw.get("at")) or datetime.fromtimestamp(0, UTC),
        reason=raw.get("reason", ""),
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
    fields |= {"startedAt": timestamp(canary.started_at), "trust": canary.trust}
    return fields | _times(heldSince=canary.held_since, imageFailingSince=canary.image_failing_since)


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
        "generation": item.generation,
    }


def _render_promotion(item: Promotion) -> dict[str, Any]:
    return {
        "from": item.from_,
        "to": item.to,
        "number": item.revision,
        "at": timestamp(item.at),
        "reason": item.reason,
    }


def remember(rejected: Sequence[Rejection], item: Rejection) -> tuple[Rejection, ...]:
    """Add a rejection: one entry per revision, newest last, bounded."""
    kept = tuple(old for old in rejected if old.ref.revision != item.ref.revision)
    return (*kept, item)[-REJECTED_LIMIT:]
