"""What people asked for in `spec.requests`, and what became of it: executed once, remembered in status. Pure.

Owns the record. What a verb does to a rollout is `requests`' business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from modelcycle.api.conditions import timestamp
from modelcycle.api.rollout import UserRequest
from modelcycle.deployment.moments import optional_time

KEPT: Final = 64
TEXT_LIMIT: Final = 512


class RequestResult(StrEnum):
    """What became of a request."""

    EXECUTED = "Executed"
    """It did what its message says."""
    REFUSED = "Refused"
    """It did nothing; its message says why."""


@dataclass(frozen=True, slots=True)
class Executed:
    """One request that is done with."""

    id: str
    verb: str
    digest: str
    by: str
    reason: str
    at: datetime
    result: RequestResult
    message: str
    rollout: str = ""
    """Of an approval: the rollout that it is for; "" while there was none."""


def pending(requests: Sequence[UserRequest], executed: Sequence[Executed]) -> tuple[UserRequest, ...]:
    """Requests that nothing was done about yet, in the order of their ids."""
    done = {item.id for item in executed}
    return tuple(sorted((item for item in requests if item.id not in done), key=lambda item: item.id))


def record(request: UserRequest, digest: str, at: datetime, result: RequestResult, message: str) -> Executed:
    """The record of a request that is done with."""
    return Executed(request.id, request.verb.value, digest, request.by, request.reason, at, result, message)


def remember(
    executed: Sequence[Executed], item: Executed, requests: Sequence[UserRequest], rollout: str
) -> tuple[Executed, ...]:
    """Add a record. Of more than KEPT the oldest goes first, but none whose request is still in the spec: it would run again.

    Nor the approval that the present rollout rests on.
    """
    kept = [*executed, item]
    asked = {request.id for request in requests}
    while len(kept) > KEPT:
        unneeded = (old for old in kept if old.id not in asked and not (rollout and old.rollout == rollout))
        oldest = next(unneeded, kept[0])
        kept.remove(oldest)
    return tuple(kept)


def from_plain(raw: Mapping[str, Any]) -> Executed:
    """Read an item of `status.requests`."""
    return Executed(
        id=raw.get("id", ""),
        verb=raw.get("verb", ""),
        digest=raw.get("digest", ""),
        by=raw.get("by", ""),
        reason=raw.get("reason", ""),
        at=optional_time(raw.get("at")) or datetime.fromtimestamp(0, UTC),
        result=RequestResult(raw.get("result", RequestResult.EXECUTED)),
        message=raw.get("message", ""),
        rollout=raw.get("rollout", ""),
    )


def to_plain(item: Executed) -> dict[str, Any]:
    """An item of `status.requests`."""
    fields = {
        "id": item.id,
        "verb": item.verb,
        "by": item.by,
        "at": timestamp(item.at),
        "result": item.result.value,
        "message": item.message[:TEXT_LIMIT],
    }
    optional = {"digest": item.digest, "reason": item.reason[:TEXT_LIMIT], "rollout": item.rollout}
    return fields | {name: value for name, value in optional.items() if value}
