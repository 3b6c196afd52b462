"""Reads everything that a decision about an Experiment needs, live. Decides nothing."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from modelcycle.api import acceptance
from modelcycle.engine.beside import Beside
from modelcycle.engine.plan import Create, Key
from modelcycle.experiment import ledger
from modelcycle.experiment.decide import creations, decide
from modelcycle.experiment.world import Occupied, World
from modelcycle.jobs.views import controller_of, is_controlled_by, job_views
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT, JOB, MODEL_DEPLOYMENT, POD
from modelcycle.kube.names import LABEL_EXPERIMENT
from modelcycle.kube.port import Kube, Object
from modelcycle.settings import Settings


async def observe(kube: Kube, settings: Settings, beside: Beside, key: Key, now: datetime) -> World | None:
    """The world of one Experiment; None when it is gone or being deleted. What reads thousands of ledger lines runs `beside` the loop."""
    obj = await kube.get(EXPERIMENT, key.namespace, key.name)
    if obj is None or "deletionTimestamp" in obj["metadata"]:
        return None
    labels = {LABEL_EXPERIMENT: key.name}
    # Jobs before pods and pages: a Job that is listed as ended has a final pod, and one that is recorded is found in the ledger.
    jobs = await kube.list(JOB, key.namespace, labels)
    pods, maps, deployment = await asyncio.gather(
        kube.list(POD, key.namespace, labels), kube.list(CONFIG_MAP, key.namespace, labels), _compared(kube, obj)
    )
    uid = obj["metadata"]["uid"]

    def assembled() -> tuple[World, Sequence[Create]]:
        world = World(
            now=now,
            obj=obj,
            jobs=job_views(uid, jobs, pods),
            pages=_pages(uid, maps),
            training_image=settings.training_image,
            pod_user=settings.pod_user,
            extra_estimators=settings.extra_estimators,
            deployment=deployment,
        )
        return world, creations(decide(world))

    world, wanted = await beside.run(key, assembled)
    occupied = await _occupied(kube, uid, key.namespace, wanted)
    return replace(world, occupied=occupied) if occupied else world


async def _compared(kube: Kube, obj: Object) -> Object | None:
    """The ModelDeployment that the Experiment's acceptance names."""
    named = acceptance.parse(obj["spec"].get("acceptance", ())).not_worse_than
    return await kube.get(MODEL_DEPLOYMENT, obj["metadata"]["namespace"], named.deployment) if named else None


def _pages(uid: str, maps: Sequence[Object]) -> tuple[ledger.Page, ...]:
    ours = sorted((m for m in maps if is_controlled_by(m, uid)), key=lambda m: str(m["metadata"]["name"]))
    return tuple(ledger.page(number, config_map) for number, config_map in enumerate(ours))


async def _occupied(kube: Kube, uid: str, namespace: str, wanted: Sequence[Create]) -> tuple[Occupied, ...]:
    """The wanted names that are in use already: a name is looked up once, just before it is made."""
    names = [(create.kind, str(create.body["metadata"]["name"])) for create in wanted]
    found = await asyncio.gather(*(kube.get(kind, namespace, name) for kind, name in names))
    return tuple(
        Occupied(kind, name, is_controlled_by(there, uid), _owner(there))
        for (kind, name), there in zip(names, found, strict=True)
        if there is not None
    )


def _owner(obj: Object) -> str:
    controller = controller_of(obj)
    return f"{controller['kind']} {controller['name']}" if controller else "nobody"
