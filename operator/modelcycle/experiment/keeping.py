"""Keeps the facts that Jobs told in their logs, and says which could not be had. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from modelcycle.engine.plan import Action, Create, Delete
from modelcycle.experiment.world import World
from modelcycle.jobs import facts
from modelcycle.jobs.facts import FactsReason
from modelcycle.jobs.manifests import Owner
from modelcycle.kube.kinds import CONFIG_MAP

REMEDIES: Final[Mapping[str, str]] = {
    FactsReason.LOGS_FORBIDDEN: "bind the role modelcycle-operator-logs, so that later ones are read",
    FactsReason.FACTS_LOST: "the log was gone, cut or damaged, or its node did not answer",
}
NAMED: Final = 10
"""Trials in a message."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """What an Event says of a log that could not be had."""

    reason: FactsReason
    note: str


def kept(world: World, owner: Owner, there: Collection[str]) -> tuple[Action, ...]:
    """Before the status: a Job goes once its result is in the status, and its log with it. `there`: names that are made already."""
    made = [body for body in facts.config_maps(owner, world.kept, world.told) if body["metadata"]["name"] not in there]
    old = [Delete(CONFIG_MAP, world.namespace, one.name, one.uid) for one in facts.surplus(world.kept)]
    return (*(Create(CONFIG_MAP, body) for body in made), *old)


def lacking(world: World) -> tuple[Lacking, ...]:
    """Of the logs of this look."""
    words = "its result is what its termination message has room for"
    return tuple(
        Lacking(one.problem, f"Job {one.job}: {words}: {one.detail}") for one in world.told if one.problem is not None
    )


def incomplete(lacks: Mapping[str, str]) -> tuple[FactsReason, str] | None:
    """Reason and message of a condition: `lacks` has the reason for each Job that counts and whose facts are not whole."""
    if not lacks:
        return None
    # What somebody can mend comes first.
    reason = min((FactsReason(told) for told in lacks.values()), key=list(FactsReason).index)
    names = [name for name, told in lacks.items() if told == reason]
    named = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    where = "the store has the whole, below spec.output.uri"
    return reason, f"of {named} is known what the termination message had room for; {where}; {REMEDIES[reason]}"
