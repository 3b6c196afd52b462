"""What the API server refused, told in status: a key with a refused write is Stalled/WriteRefused until a whole plan lands.

Owns the memory of refusals and the status that tells of them. The memory is the process's own: a restarted operator is refused again and
says so again. Knows no kind; a reconciler need not know that its writes can be refused.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from modelcycle.api import conditions
from modelcycle.api.conditions import SUMMARY_TYPES, Outcome
from modelcycle.engine.plan import Action, Key, Plan, WriteStatus

REASON: Final = "WriteRefused"


class Refusals:
    """Messages of the API server by key."""

    def __init__(self) -> None:
        self._messages: dict[Key, str] = {}

    def remember(self, key: Key, message: str) -> None:
        """A write for this key was refused."""
        self._messages[key] = message

    def forget(self, key: Key) -> bool:
        """A whole plan landed, or the object is gone. True when a refusal was remembered."""
        return self._messages.pop(key, None) is not None

    def told(self, key: Key, plan: Plan, now: datetime) -> Plan:
        """The plan with a status that still tells of the refusal, so that each further try does not make it flap."""
        message = self._messages.get(key)
        if message is None:
            return plan
        return replace(plan, actions=tuple(_told(action, message, now) for action in plan.actions))


def stalled(status: Mapping[str, Any], message: str, generation: int, now: datetime) -> dict[str, Any]:
    """`status` with its summary conditions saying that the API server refuses a change; domain conditions stay."""
    said = f"the API server refuses a change: {message}"
    return conditions.answered(status, Outcome.STALLED, REASON, said, generation=generation, now=now)


def _told(action: Action, message: str, now: datetime) -> Action:
    if not isinstance(action, WriteStatus):
        return action
    # Transition times come from what is stored, not from what was about to be written.
    wanted = {**action.status, "conditions": _with_times(action)}
    generation = action.status.get("observedGeneration", 0)
    return replace(action, status=stalled(wanted, message, generation, now))


def _with_times(action: WriteStatus) -> list[Any]:
    summary = [c for c in action.previous.get("conditions", ()) if c["type"] in SUMMARY_TYPES]
    domain = [c for c in action.status.get("conditions", ()) if c["type"] not in SUMMARY_TYPES]
    order = [c["type"] for c in action.previous.get("conditions", ())]
    return sorted([*summary, *domain], key=lambda c: order.index(c["type"]) if c["type"] in order else len(order))
