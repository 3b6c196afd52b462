"""The reads that a retrain needs beyond those of its monitor, live. Decides nothing."""

import asyncio
from datetime import datetime

from modelcycle.api.driftmonitor import Monitor
from modelcycle.drift import retrain_manifests as manifests
from modelcycle.drift.retrain import RetrainWorld
from modelcycle.drift.retrain_state import RetrainState
from modelcycle.jobs import facts, logs
from modelcycle.jobs.manifests import JobDefaults
from modelcycle.jobs.records import TaskRecord, TaskState
from modelcycle.jobs.views import JobView, controller_of, is_controlled_by, job_views
from modelcycle.kube.kinds import EXPERIMENT, JOB, POD
from modelcycle.kube.names import LABEL_LINEAGE, LABEL_MONITOR
from modelcycle.kube.port import Kube, Object


async def observe(
    kube: Kube, job_defaults: JobDefaults, monitor: Monitor, target: Object | None, state: RetrainState, now: datetime
) -> RetrainWorld:
    """`target` is the ModelDeployment as read, `state` what the ledger keeps. Reads nothing when no retrain is configured or went on."""
    world = RetrainWorld(monitor, now, state, job_defaults, live=_live(target))
    spec = monitor.spec.retrain
    if spec is None and state == RetrainState():
        return world
    name = spec.template if spec is not None else None
    template, asked, (jobs, taken) = await asyncio.gather(
        _experiment(kube, monitor, name),
        _experiment(kube, monitor, state.asked.experiment if state.asked else None),
        _jobs(kube, monitor, state),
    )
    lineage = await _lineage(kube, monitor, template) if template is not None else ()
    return RetrainWorld(monitor, now, state, job_defaults, template, world.live, lineage, asked, jobs, taken)


def _live(target: Object | None) -> str | None:
    stable = ((target or {}).get("status") or {}).get("stable") or {}
    return stable.get("digest") or None


async def _experiment(kube: Kube, monitor: Monitor, name: str | None) -> Object | None:
    found = await kube.get(EXPERIMENT, monitor.namespace, name) if name else None
    return None if found is None or "deletionTimestamp" in found["metadata"] else found


async def _lineage(kube: Kube, monitor: Monitor, template: Object) -> tuple[Object, ...]:
    root = manifests.lineage_of(template)
    listed = await kube.list(EXPERIMENT, monitor.namespace, {LABEL_LINEAGE: root})
    known = {one["metadata"]["name"]: one for one in (template, *listed)}
    if root not in known and (first := await _experiment(kube, monitor, root)) is not None:
        known[root] = first
    return tuple(known.values())


async def _with_facts(
    kube: Kube, monitor: Monitor, look: TaskRecord, views: tuple[JobView, ...]
) -> tuple[JobView, ...]:
    """The present look's Job with the whole of its result. Nothing of it is kept: the new Experiment inspects the same data."""
    if look.state is not TaskState.RUNNING:
        return views
    unread = [view for view in views if view.attempt == look.attempt and facts.has_more(view)]
    told = await logs.read(kube, monitor.namespace, unread)
    return facts.with_told(views, (), told)


async def _jobs(kube: Kube, monitor: Monitor, state: RetrainState) -> tuple[tuple[JobView, ...], str | None]:
    """The monitor's Jobs with their pods, and who has the name of the present look when it is not us."""
    just_ended = state.asked is not None and not state.asked.seen
    if state.look is None or (state.wish is None and not just_ended):
        return (), None
    labels = {LABEL_MONITOR: monitor.name}
    # Jobs before pods: a Job that is listed as ended has a final pod.
    jobs = await kube.list(JOB, monitor.namespace, labels)
    pods = await kube.list(POD, monitor.namespace, labels)
    views = await _with_facts(kube, monitor, state.look, job_views(monitor.uid, jobs, pods))
    name = manifests.look_name(monitor, state.look.attempt)
    if any(view.name == name for view in views):
        return views, None
    found = await kube.get(JOB, monitor.namespace, name)
    if found is None:
        return views, None
    if is_controlled_by(found, monitor.uid):  # its labels were changed
        views += job_views(monitor.uid, [found], pods)
        return views, None if any(
            view.name == name for view in views
        ) else "this monitor no more: its labels were changed"
    controller = controller_of(found)
    return views, f"{controller['kind']} {controller['name']}" if controller else "nobody"
