"""World -> Plan for a ModelDeployment: pure, total, deterministic.

Owns the order: status (the intent) first, then the children that follow from it, then Events. What the cluster made of it is seen, and
written, by the next look. Holds when the status was written by a newer operator.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final

from modelcycle.api.conditions import Outcome
from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.api.modeldeployment import Spec
from modelcycle.api.rollout import Pause, SetWeight, Shadow
from modelcycle.deployment import evidence_map
from modelcycle.deployment.counting import FIT_BOUND, awaits_evidence
from modelcycle.deployment.effects import altered, effects, lingers, shares
from modelcycle.deployment.evidence_entries import entry_of
from modelcycle.deployment.hold import hold
from modelcycle.deployment.manifests import deployment_name, trust_name
from modelcycle.deployment.progress import APPLY_BOUND
from modelcycle.deployment.repairs import Altered, notes
from modelcycle.deployment.report import render
from modelcycle.deployment.revision import Target
from modelcycle.deployment.startup import IMAGE_BOUND
from modelcycle.deployment.status import Canary, Stage
from modelcycle.deployment.steps import step
from modelcycle.deployment.transition import Happening, Transition
from modelcycle.deployment.verdict import Verdict, verdict
from modelcycle.deployment.world import Unresolved, World
from modelcycle.engine.plan import Action, Emit, EventType, Plan, WriteStatus
from modelcycle.kube.kinds import CONFIG_MAP, DEPLOYMENT, MODEL_DEPLOYMENT, SERVICE

LOOK_AGAIN: Final = {
    Reason.NO_TRUSTED_KEY: 30.0,
    Reason.SIGNATURE_INVALID: 30.0,
    Reason.PROVENANCE_INVALID: 30.0,
    Reason.NAME_TAKEN: 30.0,
    Reason.WAITING_FOR_CLEANUP: 5.0,
    Reason.SELECTOR_MOVING: 2.0,
}
"""Seconds: conditions that end by objects of which no event is sure to reach us."""


def decide(world: World) -> Plan:
    """What to do now, and when to look again."""
    if world.newer_state:
        return hold(world)
    if world.spec is None:
        problem = world.target if isinstance(world.target, Unresolved) else None
        text = problem.message if problem else "the spec cannot be read"
        answer = Verdict(Outcome.STALLED, Reason.INVALID_SPEC, text)
        return Plan(tuple(_write(world, render(world, Transition(world.state), answer, {}, ()))))
    done = step(world, world.spec)
    answer = verdict(world, world.spec, done)
    caused = effects(world, world.spec, done.state)
    happened = (*_lost(world), *done.happened, *_repairs(world, caused))
    known = done.state.analysis
    entry = entry_of(known) if known and known.evidence.looks else None
    kept = evidence_map.write(world, entry) if entry else None
    found = altered(world, world.spec, done.state)
    wanted = render(world, done, answer, evidence_map.reference(world, entry) if entry else {}, found)
    # What is kept means nothing before status names it, so it is no effect.
    keeping: list[Action] = [*((kept,) if kept else ()), *_write(world, wanted)]
    follows = (*caused, *(_emit(world, happening) for happening in happened))
    actions: list[Action] = [*keeping, *follows]
    if entry and kept and evidence_map.is_inline(world):
        # It had no place a look ago: whatever keeps it out of there must not keep a Service or a share where it is.
        actions = [*_write(world, evidence_map.inline(wanted, entry)), *follows, *keeping]
    # Should the API server refuse the evidence's place, or the status: a share that was taken away is taken away all the same.
    safety: list[Action] = [*_write(world, evidence_map.inline(wanted, entry))] if entry and kept else []
    if world.state.traffic.share > done.state.traffic.share:
        safety += shares(world, world.spec, done.state)
    return Plan(tuple(actions), _next_look(world, world.spec, done, answer, found), tuple(safety))


def _lost(world: World) -> Iterable[Happening]:
    if world.evidence_problem:
        what = "the evidence of this rollout begins again" if world.state.canary else "the last rollout's is lost"
        note = f"evidence: {world.evidence_problem}: {what}"
        yield Happening("EvidenceLost", "Look", note, warning=True)


def _write(world: World, wanted: Mapping[str, Any]) -> Iterable[WriteStatus]:
    if _in_order(wanted) == _in_order(world.raw_status):
        return
    yield WriteStatus(
        kind=MODEL_DEPLOYMENT,
        namespace=world.namespace,
        name=world.name,
        resource_version=world.resource_version,
        status=wanted,
        previous=world.raw_status,
    )


def _in_order(found: Mapping[str, Any]) -> dict[str, Any]:
    """Server-side apply keeps the live order of list maps: order must not look like a change."""
    keys = {"conditions": "type", "rejected": "revision", "requests": "id"}
    lists = {name: sorted(found[name], key=itemgetter(key)) for name, key in keys.items() if name in found}
    return {**found, **lists}


def _repairs(world: World, caused: Iterable[Action]) -> Iterable[Happening]:
    """What others did to our children. Those of a revision that serves had been there."""
    state, expected = world.state, set[tuple[str, str]]()
    if state.stable:
        retiring = [state.retiring.ref] if state.retiring else []
        names = [deployment_name(world.name, world.uid, ref.revision) for ref in (state.stable, *retiring)]
        expected = {(SERVICE.kind, world.name), (CONFIG_MAP.kind, trust_name(world.name, world.uid))}
        expected |= {(DEPLOYMENT.kind, name) for name in names}
    return [Happening("ChildRepaired", "Repair", note, warning=True) for note in notes(caused, expected)]


def _emit(world: World, happening: Happening) -> Emit:
    return Emit(
        kind=MODEL_DEPLOYMENT,
        namespace=world.namespace,
        name=world.name,
        uid=world.uid,
        type=EventType.WARNING if happening.warning else EventType.NORMAL,
        reason=happening.reason,
        action=happening.action,
        note=happening.note,
    )


def _next_look(world: World, spec: Spec, done: Transition, answer: Verdict, found: Iterable[Altered]) -> float | None:
    """Seconds until the nearest recorded deadline; None when only an event can change anything."""
    waits = [LOOK_AGAIN[Reason(answer.reason)]] if answer.reason in LOOK_AGAIN else []
    moments = []
    retiring, canary = done.state.retiring, done.state.canary
    if retiring and retiring.moved_at:
        moments.append(retiring.moved_at + spec.guard_window)
    if canary and not spec.paused:
        moments += _moments(spec, canary)
    if canary and canary.image_failing_since:
        moments.append(canary.image_failing_since + IMAGE_BOUND)
    if canary and canary.stage is Stage.CAPACITY:
        moments += [pod.ready_since + FIT_BOUND for pod in world.answering(canary.ref.revision) if pod.ready_since]
    if world.doors and not canary and not retiring:
        moments.append(world.now + lingers(world, done.state))
    moments += [one.again_at for one in found]
    # What has passed was acted on in this very decision.
    waits += [(moment - world.now) / timedelta(seconds=1) for moment in moments if moment > world.now]
    if done.state != world.state and isinstance(world.target, Target):
        waits.append(LOOK_AGAIN[Reason.SELECTOR_MOVING])
    return min(waits, default=None)


def _moments(spec: Spec, canary: Canary) -> Iterable[datetime]:
    """Moments at which a rollout may go on, or end, without an event."""
    if canary.unready_since:
        yield canary.unready_since + spec.progress_deadline
    if canary.stage is Stage.FORWARDING:
        yield canary.since + APPLY_BOUND
    if canary.traffic_at and awaits_evidence(canary):
        yield canary.traffic_at + spec.canary.analysis.max_duration
    if canary.stage is not Stage.STEPS:
        return
    step = spec.canary.steps[canary.step] if canary.step < len(spec.canary.steps) else None
    if isinstance(step, Pause | Shadow) and step.duration is not None:
        yield canary.since + step.duration
    if isinstance(step, SetWeight):
        yield canary.since + APPLY_BOUND
