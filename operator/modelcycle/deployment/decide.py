"""World -> Plan for a ModelDeployment: pure, total, deterministic.

Owns the order: status (the intent) first, then the children that follow from it, then Events. What the cluster made of it is seen, and
written, by the next look. Holds when the status was written by a newer operator.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from operator import itemgetter
from typing import Any, Final

from modelcycle.api import conditions
from modelcycle.api.conditions import Outcome
from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.api.modeldeployment import Spec
from modelcycle.deployment import status
from modelcycle.deployment.effects import effects
from modelcycle.deployment.manifests import service_url
from modelcycle.deployment.revision import Target
from modelcycle.deployment.status import State
from modelcycle.deployment.steps import IMAGE_BOUND, Happening, Step, short, step
from modelcycle.deployment.verdict import Verdict, domain_conditions, verdict
from modelcycle.deployment.world import Unresolved, World
from modelcycle.engine.plan import Action, Emit, EventType, Plan, WriteStatus
from modelcycle.kube.kinds import MODEL_DEPLOYMENT

LOOK_AGAIN: Final = {
    Reason.NO_TRUSTED_KEY: 30.0,
    Reason.SIGNATURE_INVALID: 30.0,
    Reason.PROVENANCE_INVALID: 30.0,
    Reason.NAME_TAKEN: 30.0,
    Reason.WAITING_FOR_CLEANUP: 5.0,
    Reason.SELECTOR_MOVING: 2.0,
}
"""Seconds: conditions that end by objects of which no event is sure to reach us."""
NONE: Final = "-"


def decide(world: World) -> Plan:
    """What to do now, and when to look again."""
    if world.newer_state:
        return Plan()
    if world.spec is None:
        problem = world.target if isinstance(world.target, Unresolved) else None
        text = problem.message if problem else "the spec cannot be read"
        answer = Verdict(Outcome.STALLED, Reason.INVALID_SPEC, text)
        return Plan(tuple(_write(world, world.state, answer)))
    done = step(world, world.spec)
    answer = verdict(world, world.spec, done.state)
    actions: list[Action] = [
        *_write(world, done.state, answer),
        *effects(world, world.spec, done.state),
        *(_emit(world, happening) for happening in done.happened),
    ]
    return Plan(tuple(actions), _next_look(world, world.spec, done, answer))


def _write(world: World, state: State, answer: Verdict) -> Iterable[WriteStatus]:
    wanted = _render(world, state, answer)
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
    keys = {"conditions": "type", "rejected": "revision"}
    lists = {name: sorted(found[name], key=itemgetter(key)) for name, key in keys.items() if name in found}
    return {**found, **lists}


def _render(world: World, state: State, answer: Verdict) -> dict[str, Any]:
    canary = state.canary.ref if state.canary else None
    return {
        **status.render(state, world.ready),
        "observedGeneration": world.generation,
        "endpoint": service_url(world.namespace, world.name),
        "summary": {
            "stable": short(state.stable.digest) if state.stable else NONE,
            "canary": short(canary.digest) if canary else NONE,
        },
        "conditions": conditions.build(
            world.raw_status.get("conditions", ()),
            outcome=answer.outcome,
            reason=answer.reason,
            message=answer.message,
            generation=world.generation,
            now=world.now,
            domain=domain_conditions(world, state),
        ),
    }


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


def _next_look(world: World, spec: Spec, done: Step, answer: Verdict) -> float | None:
    """Seconds until the nearest recorded deadline; None when only an event can change anything."""
    waits = [LOOK_AGAIN[Reason(answer.reason)]] if answer.reason in LOOK_AGAIN else []
    moments = []
    retiring, canary = done.state.retiring, done.state.canary
    if retiring and retiring.moved_at:
        moments.append(retiring.moved_at + spec.guard_window)
    if canary and not spec.paused:
        moments.append(canary.started_at + spec.progress_deadline)
    if canary and canary.image_failing_since:
        moments.append(canary.image_failing_since + IMAGE_BOUND)
    waits += [max((moment - world.now) / timedelta(seconds=1), 0.5) for moment in moments]
    if done.state != world.state and isinstance(world.target, Target):
        waits.append(LOOK_AGAIN[Reason.SELECTOR_MOVING])
    return min(waits, default=None)
