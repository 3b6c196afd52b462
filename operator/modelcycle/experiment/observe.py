"""Reads everything that a decision about an Experiment needs, live. Decides nothing."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from modelcycle.api import acceptance
from modelcycle.engine.beside import Beside
from modelcycle.engine.plan import Create, Key
from modelcycle.experiment import ledger
from modelcycle.experiment.decide import creations, decide
from modelcycle.experiment.world import Occupied, World
from modelcycle.jobs import facts, logs
from modelcycle.jobs.records import TaskState, read_task
from modelcycle.jobs.views import JobView, controller_of, is_controlled_by, job_views
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT, JOB, MODEL_DEPLOYMENT, POD
from modelcycle.kube.names import LABEL_EXPERIMENT, component_of
from modelcycle.kube.port import Kube, Object
from modelcycle.settings import Settings
from modelcycle_bundle.contract import TaskKind

RECORDS: Final = {TaskKind.INSPECT: "inspection", TaskKind.COMPARE: "comparison", TaskKind.SEAL: "sealing"}
"""Where status keeps what a Job of a task came to."""


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

    views, kept, pages = job_views(uid, jobs, pods), _kept(uid, maps), await beside.run(key, lambda: _pages(uid, maps))
    known = {one.job for one in kept}
    told = await logs.read(kube, key.namespace, _unread(obj.get("status") or {}, views, pages, known))

    def assembled() -> tuple[World, Sequence[Create]]:
        world = World(
            now=now,
            obj=obj,
            jobs=facts.with_told(views, kept, told),
            kept=kept,
            told=told,
            pages=pages,
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


def _kept(uid: str, maps: Sequence[Object]) -> tuple[facts.Kept, ...]:
    ours = (m for m in maps if is_controlled_by(m, uid) and component_of(m) == facts.COMPONENT)
    return tuple(facts.kept(config_map) for config_map in ours)


def _unread(
    status: Mapping[str, Any],
    jobs: Sequence[JobView],
    pages: Sequence[ledger.Page],
    known: Collection[str],
) -> tuple[JobView, ...]:
    """Jobs whose log is read now: not those whose facts are kept or whose result is recorded."""
    recorded = {entry.trial for page in pages for entry in page.entries}

    def is_awaited(job: JobView) -> bool:
        if job.task in (TaskKind.TRIAL, TaskKind.COLLECT):
            return job.trial not in recorded
        record = read_task(status.get(RECORDS[job.task]))
        return record is not None and record.attempt == job.attempt and record.state is TaskState.RUNNING

    return tuple(job for job in jobs if facts.has_more(job) and job.name not in known and is_awaited(job))


def _pages(uid: str, maps: Sequence[Object]) -> tuple[ledger.Page, ...]:
    pages = (m for m in maps if is_controlled_by(m, uid) and component_of(m) != facts.COMPONENT)
    ours = sorted(pages, key=lambda m: str(m["metadata"]["name"]))
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
