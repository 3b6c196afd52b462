"""Status conditions after kstatus: Ready, Reconciling, Stalled, plus domain conditions. One function builds them all.

Owns the rules that fluxcd/pkg's checker tests: Reconciling and Stalled are abnormal-true and absent otherwise, never both;
Ready is False while either is True; lastTransitionTime moves only when status does; each condition has observedGeneration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

MESSAGE_LIMIT: Final = 1024


class Outcome(StrEnum):
    """The three answers to "is it done?" that kstatus can tell apart."""

    READY = "Ready"
    """Reached what the spec asks for: Ready is True."""
    RECONCILING = "Reconciling"
    """On the way, nothing is wrong: Ready is False, Reconciling is True."""
    STALLED = "Stalled"
    """Will not get there without a person or a change in Git: Ready is False, Stalled is True."""


SUMMARY_TYPES: Final = frozenset(outcome.value for outcome in Outcome)


@dataclass(frozen=True, slots=True)
class Condition:
    """One domain condition beside the three of kstatus."""

    type: str
    status: bool
    reason: str
    message: str


def build(
    previous: Sequence[Mapping[str, Any]],
    *,
    outcome: Outcome,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
    domain: Sequence[Condition] = (),
) -> list[dict[str, Any]]:
    """The whole `status.conditions` list from one outcome. `previous` keeps transition times and the stored order.

    Server-side apply keeps the order of items it knows: a list sorted anew would differ from the stored one for ever.
    """
    wanted = [Condition("Ready", outcome is Outcome.READY, reason, message), *domain]
    if outcome is not Outcome.READY:
        wanted.append(Condition(outcome.value, True, reason, message))
    before = {c.get("type"): c for c in previous}
    order = {str(c.get("type")): at for at, c in enumerate(previous)}
    ordered = sorted(wanted, key=lambda c: (order.get(c.type, len(order)), c.type))
    return [_render(c, before.get(c.type), generation, now) for c in ordered]


def answered(
    status: Mapping[str, Any], outcome: Outcome, reason: str, message: str, *, generation: int, now: datetime
) -> dict[str, Any]:
    """`status` with another answer to "is it done?"; domain conditions stay."""
    before = status.get("conditions", ())
    domain = [
        Condition(c["type"], c["status"] == "True", c["reason"], c["message"])
        for c in before
        if c["type"] not in SUMMARY_TYPES
    ]
    built = build(
        before, outcome=outcome, reason=reason, message=message, generation=generation, now=now, domain=domain
    )
    return {**status, "conditions": built}


def _render(condition: Condition, before: Mapping[str, Any] | None, generation: int, now: datetime) -> dict[str, Any]:
    status = "True" if condition.status else "False"
    since = before["lastTransitionTime"] if before and before.get("status") == status else timestamp(now)
    return {
        "type": condition.type,
        "status": status,
        "reason": condition.reason,
        "message": condition.message[:MESSAGE_LIMIT],
        "observedGeneration": generation,
        "lastTransitionTime": since,
    }


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
