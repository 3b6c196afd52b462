"""What a ModelDeployment says about itself: one outcome with reason and message, and the domain conditions. Pure.

Owns the order in which reasons win and every message. Must not change the state.
"""

from dataclasses import dataclass

from modelcycle.api.conditions import Condition, Outcome
from modelcycle.api.modeldeployment import DeploymentCondition, Spec
from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.deployment.revision import Target
from modelcycle.deployment.status import RevisionRef, State
from modelcycle.deployment.steps import is_ready, problem_of, short, standing_rejection
from modelcycle.deployment.world import Foreign, World


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to "is it done?"."""

    outcome: Outcome
    reason: str
    message: str


def verdict(world: World, spec: Spec, state: State) -> Verdict:
    """The first that applies wins: what a person must repair, then what is under way, then Ready."""
    return (
        _taken(world)
        or _untrusted(world, state)
        or _unresolved(world, state)
        or _rejected(world, state)
        or _coming(world, spec, state)
        or _serving(world, spec, state)
    )


def domain_conditions(world: World, state: State) -> tuple[Condition, ...]:
    """Available and Trusted."""
    ready = world.ready.get(world.selected or "", 0)
    if ready:
        available = Condition(
            DeploymentCondition.AVAILABLE, True, Reason.SERVING, "verified pods answer behind the Service"
        )
    else:
        text = "no Ready pod behind the Service" if state.stable else "no revision has been Ready yet"
        available = Condition(DeploymentCondition.AVAILABLE, False, Reason.REPLICAS_NOT_READY, text)
    if world.trust.pem:
        keys = f"{world.trust.keys} trusted key{'s' if world.trust.keys != 1 else ''}"
        trusted = Condition(DeploymentCondition.TRUSTED, True, Reason.KEYS_TRUSTED, keys)
    else:
        trusted = Condition(DeploymentCondition.TRUSTED, False, Reason.NO_TRUSTED_KEY, no_key_message(world))
    return available, trusted


def no_key_message(world: World) -> str:
    """What is missing and the command that makes it."""
    return (
        f"ConfigMap {world.trust_source} has no public key for namespace {world.namespace}: "
        f"run `kubectl modelcycle keygen -n {world.namespace}`"
    )


def _taken(world: World) -> Verdict | None:
    if not world.foreign:
        return None
    item = world.foreign[0]
    if item.owner.kind == "ModelDeployment" and item.owner.name == world.name:
        text = f"{item.kind} {item.name} of the former ModelDeployment {world.name} is still being deleted"
        return Verdict(Outcome.RECONCILING, Reason.WAITING_FOR_CLEANUP, text)
    text = (
        f"{item.kind} {item.name} exists and is not ours ({_owner(item)}): delete or rename it, or this ModelDeployment"
    )
    return Verdict(Outcome.STALLED, Reason.NAME_TAKEN, text)


def _owner(item: Foreign) -> str:
    return f"owner: {item.owner.kind} {item.owner.name}" if item.owner.kind else "it has no owner"


def _untrusted(world: World, state: State) -> Verdict | None:
    if world.trust.pem:
        return None
    serving = f"; {_label(state.stable)} was verified before and goes on, new pods cannot start" if state.stable else ""
    return Verdict(Outcome.STALLED, Reason.NO_TRUSTED_KEY, no_key_message(world) + serving)


def _unresolved(world: World, state: State) -> Verdict | None:
    if isinstance(world.target, Target):
        return None
    outcome = Outcome.STALLED if world.target.stalled else Outcome.RECONCILING
    return Verdict(outcome, world.target.reason, world.target.message + _keeps(state))


def _rejected(world: World, state: State) -> Verdict | None:
    if not isinstance(world.target, Target) or _is_stable(world.target, state):
        return None
    item = standing_rejection(world, state, world.target)
    if item is None:
        return None
    text = f"{_label(item.ref)} was rejected: {item.message}{_keeps(state)}"
    return Verdict(Outcome.STALLED, item.reason, text)


def _coming(world: World, spec: Spec, state: State) -> Verdict | None:
    target = world.target
    if not isinstance(target, Target) or _is_stable(target, state):
        return None
    if spec.paused:
        text = f"paused: model {short(target.digest)} waits{_keeps(state)}"
        return Verdict(Outcome.RECONCILING, Reason.PAUSED, text)
    if state.canary is None:
        text = f"pods of an earlier attempt at model {short(target.digest)} are still ending{_keeps(state)}"
        return Verdict(Outcome.RECONCILING, Reason.WAITING_FOR_CLEANUP, text)
    ref = state.canary.ref
    problem = problem_of(world, ref.revision)
    if problem is not None and not is_ready(world, spec, ref.revision):
        return Verdict(Outcome.RECONCILING, problem.reason, f"{_label(ref)}: {problem.message}{_keeps(state)}")
    ready = world.ready.get(ref.revision, 0)
    text = f"{_label(ref)}: {ready} of {spec.server.replicas} replicas Ready{_keeps(state)}"
    return Verdict(Outcome.RECONCILING, Reason.REVISION_STARTING, text)


def _serving(world: World, spec: Spec, state: State) -> Verdict:
    stable = state.stable
    assert stable is not None  # _coming has answered every state in which the target is not stable
    if world.selected != stable.revision:
        text = f"the Service moves to {_label(stable)}"
        return Verdict(Outcome.RECONCILING, Reason.SELECTOR_MOVING, text)
    if state.retiring is not None:
        seconds = int(spec.guard_window.total_seconds())
        text = f"{_label(stable)} serves; {_label(state.retiring.ref)} is kept at full size for {seconds} s"
        return Verdict(Outcome.RECONCILING, Reason.GUARD_WINDOW, text)
    if not is_ready(world, spec, stable.revision):
        return _short_of_replicas(world, spec, stable)
    text = f"{_label(stable)} serves with {spec.server.replicas} Ready replicas"
    if spec.paused:
        return Verdict(Outcome.READY, Reason.PAUSED, f"paused; {text}")
    return Verdict(Outcome.READY, Reason.SERVING, text)


def _short_of_replicas(world: World, spec: Spec, stable: RevisionRef) -> Verdict:
    ready = world.ready.get(stable.revision, 0)
    text = f"{_label(stable)}: {ready} of {spec.server.replicas} replicas Ready"
    problem = problem_of(world, stable.revision)
    if problem is not None:
        text += f"; {problem.reason}: {problem.message}"
    return Verdict(Outcome.RECONCILING, Reason.REPLICAS_NOT_READY, text)


def _is_stable(target: Target, state: State) -> bool:
    return state.stable is not None and state.stable.revision == target.hash and state.canary is None


def _keeps(state: State) -> str:
    return f"; {_label(state.stable)} keeps serving" if state.stable else ""


def _label(ref: RevisionRef) -> str:
    return f"revision {ref.number} ({short(ref.digest)})"
