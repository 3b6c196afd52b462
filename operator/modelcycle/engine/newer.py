"""A status that a newer operator wrote: held, and said so. Pure; knows no kind.

What is in such a status may mean something else than here. It is kept field by field, but for the conditions and the generation that they
are about: an old Ready text would say that all is well while nobody acts.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from modelcycle.api import conditions
from modelcycle.api.conditions import Outcome
from modelcycle.engine.plan import Action, Emit, EventType, WriteStatus
from modelcycle.kube.kinds import Kind

REASON: Final = "NewerState"


def held(
    kind: Kind,
    metadata: Mapping[str, Any],
    before: Mapping[str, Any],
    known: int,
    now: datetime,
    remains: str = "",
) -> tuple[Action, ...]:
    """The condition, and an Event when it is new.

    `metadata` and the status `before` as stored; `known`: the stateVersion of this operator; `remains`: what still works.
    """
    text = (
        f"status.stateVersion is {before.get('stateVersion')} and this operator knows up to {known}: "
        f"nothing is changed until an operator of the newer release runs again{remains}"
    )
    generation = metadata.get("generation", 0)
    said = conditions.answered(before, Outcome.STALLED, REASON, text, generation=generation, now=now)
    status = {**said, "observedGeneration": generation}
    if status == before:
        return ()
    namespace, name = metadata["namespace"], metadata["name"]
    write = WriteStatus(kind, namespace, name, metadata.get("resourceVersion", ""), status, before)
    told = any(c["type"] == Outcome.STALLED.value and c["reason"] == REASON for c in before.get("conditions", ()))
    if told:
        return (write,)
    return write, Emit(kind, namespace, name, metadata["uid"], EventType.WARNING, REASON, "Hold", text)
