"""Keeps the facts that Jobs told in their logs, and says which could not be had. Pure."""

from collections.abc import Collection
from dataclasses import dataclass

from modelcycle.engine.plan import Action, Create, Delete
from modelcycle.experiment.world import World
from modelcycle.jobs import facts
from modelcycle.jobs.facts import FactsReason
from modelcycle.jobs.manifests import Owner
from modelcycle.kube.kinds import CONFIG_MAP


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
