"""What a ModelDeployment says about itself: one outcome with reason and message, and the domain conditions. Pure.

Owns the order in which reasons win and every message. Must not change the state.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from modelcycle.api.conditions import Condition, Outcome
from modelcycle.api.modeldeployment import DeploymentCondition, Spec
from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.api.rollout import Approval, Pause, Shadow, percent
from modelcycle.deployment import unexported
from modelcycle.deployment.approvals import is_approval_missing, why_not
from modelcycle.deployment.counting import FIT_BOUND, CountsState, is_overdue
from modelcycle.deployment.forecast import duration, remaining, rounded
from modelcycle.deployment.progress import APPLY_BOUND, is_form_unknown, is_unproven, rests_on_counts
from modelcycle.deployment.rejection import standing_rejection
from modelcycle.deployment.repairs import Altered
from modelcycle.deployment.revision import Target
from modelcycle.deployment.routing import router
from modelcycle.deployment.status import Canary, RevisionRef, Stage, State
from modelcycle.deployment.telling import inputs_to_tell
from modelcycle.deployment.transition import Transition, capacity, is_ready, label, problem_of, short
from modelcycle.deployment.verification import is_by_server_image
from modelcycle.deployment.world import Foreign, World


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to "is it done?"."""

    outcome: Outcome
    reason: str
    message: str


def verdict(world: World, spec: Spec, done: Transition) -> Verdict:
    """The first that applies wins: what a person must repair, then what is under way, then Ready."""
    state = done.state
    return (
        _taken(world)
        or _untrusted(world, state)
        or _unresolved(world, state)
        or _rejected(world, state)
        or _coming(world, spec, done)
        or _serving(world, spec, state)
    )


def domain_conditions(world: World, state: State, found: Sequence[Altered]) -> tuple[Condition, ...]:
    """Available and Trusted, and ChildrenAltered where something was `found`."""
    ready = world.ready.get(world.selected or "", 0)
    if ready:
        available = Condition(
            DeploymentCondition.AVAILABLE, True, Reason.SERVING, "verified pods answer behind the Service"
        )
    else:
        text = "no Ready pod behind the Service" if state.stable else "no revision has been Ready yet"
        available = Condition(DeploymentCondition.AVAILABLE, False, Reason.REPLICAS_NOT_READY, text)
    doubtful = [ref for ref in state.referenced() if _is_doubtful(world, ref)]
    if world.trust.pem and doubtful:
        text = (
            f"{label(doubtful[0])} was verified by the image that spec.server.image named, under an earlier operator: "
            "roll out another revision, which the operator's own image verifies"
        )
        trusted = Condition(DeploymentCondition.TRUSTED, False, Reason.FETCH_BY_SERVER_IMAGE, text)
    elif world.trust.pem:
        keys = f"{world.trust.keys} trusted key{'s' if world.trust.keys != 1 else ''}"
        trusted = Condition(DeploymentCondition.TRUSTED, True, Reason.KEYS_TRUSTED, keys)
    else:
        trusted = Condition(DeploymentCondition.TRUSTED, False, Reason.NO_TRUSTED_KEY, no_key_message(world))
    return available, trusted, *_altered(found)


def _altered(found: Sequence[Altered]) -> Iterable[Condition]:
    if found:
        text = "; ".join(map(str, found))
        yield Condition(DeploymentCondition.CHILDREN_ALTERED, True, Reason.ALTERED_BY_OTHERS, text)


def _is_doubtful(world: World, ref: RevisionRef) -> bool:
    stored = world.revisions.get(ref.revision)
    return stored is not None and is_by_server_image(stored, world.defaults.image)


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
    serving = f"; {label(state.stable)} was verified before and goes on, new pods cannot start" if state.stable else ""
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
    text = f"{label(item.ref)} was rejected: {item.message}{_keeps(state)}"
    return Verdict(Outcome.STALLED, item.reason, text)


def _coming(world: World, spec: Spec, done: Transition) -> Verdict | None:
    target, state = world.target, done.state
    if not isinstance(target, Target) or _is_stable(target, state):
        return None
    if spec.paused:
        text = f"paused: model {short(target.digest)} waits{_keeps(state)}"
        return Verdict(Outcome.RECONCILING, Reason.PAUSED, text)
    if state.canary is None:
        text = f"pods of an earlier attempt at model {short(target.digest)} are still ending{_keeps(state)}"
        return Verdict(Outcome.RECONCILING, Reason.WAITING_FOR_CLEANUP, text)
    ref = state.canary.ref
    wanted = capacity(spec, state, ref.revision)
    if is_ready(world, ref.revision, wanted):
        return _compared(world, spec, done, state.canary)
    problem = problem_of(world, ref.revision)
    if problem is not None:
        return Verdict(Outcome.RECONCILING, problem.reason, f"{label(ref)}: {problem.message}{_keeps(state)}")
    ready = world.ready.get(ref.revision, 0)
    text = f"{label(ref)}: {ready} of {wanted} replicas Ready{_sized(world, ref, wanted)}{_keeps(state)}"
    promoting = state.canary.stage is Stage.CAPACITY and state.canary.traffic_at is not None
    return Verdict(Outcome.RECONCILING, Reason.PROMOTING if promoting else Reason.REVISION_STARTING, text)


def _compared(world: World, spec: Spec, done: Transition, canary: Canary) -> Verdict:
    """What a canary waits for that has the pods it needs."""
    state, counts = done.state, done.counts
    if is_approval_missing(world, spec, state):
        return _unapproved(world, spec, state, canary)
    is_before = canary.stage is Stage.STARTING or (
        canary.stage is Stage.CAPACITY and is_form_unknown(world, state, canary)
    )
    if is_before and inputs_to_tell(world, state):
        text = f"{label(canary.ref)} needs stable's inputs by name: its pods are made again and told in which order clients send them"
        return Verdict(Outcome.RECONCILING, Reason.REVISION_STARTING, text)
    if canary.stage is Stage.CAPACITY and is_form_unknown(world, state, canary):
        seconds = int(FIT_BOUND.total_seconds())
        text = f"{label(canary.ref)} is Ready; its inputs and answers are compared with stable's first, for at most {seconds} s"
        return Verdict(Outcome.RECONCILING, Reason.REVISION_STARTING, text)
    is_promoting = canary.stage in (Stage.CAPACITY, Stage.FORWARDING) and not is_unproven(state, canary)
    if is_promoting and (counts.is_complete or not rests_on_counts(spec, state, canary)):
        text = f"{label(canary.ref)} has its replicas; once it gets all requests the Service moves to it"
        return Verdict(Outcome.RECONCILING, Reason.PROMOTING, text)
    where = f"{percent(state.traffic.share)} % to {short(canary.ref.digest)}"
    if state.stable and not world.answering(state.stable.revision):
        text = (
            f"{where}: held, stable {short(state.stable.digest)} has no Ready pod to compare with or to send requests"
        )
        return Verdict(Outcome.RECONCILING, Reason.REPLICAS_NOT_READY, text)
    if counts.state in (CountsState.MISSING, CountsState.INCOMPLETE):
        return Verdict(Outcome.RECONCILING, Reason.METRICS_UNAVAILABLE, f"{where}: held, {counts.message}")
    if counts.state is CountsState.INCONSISTENT:
        return Verdict(Outcome.RECONCILING, Reason.COUNTS_INCONSISTENT, f"{where}: held, {counts.message}")
    if is_overdue(world, spec, state):
        text = f"{where}: no verdict within maxDuration; {_evidence(world, spec, state)}; PromoteFull or Abort decides"
        return Verdict(Outcome.RECONCILING, Reason.CANARY_PAUSED, text)
    step = spec.canary.steps[canary.step] if canary.step < len(spec.canary.steps) else None
    if canary.stage is Stage.STEPS and isinstance(step, Pause):
        wait = "until a Promote request" if step.duration is None else f"for {duration(step.duration.total_seconds())}"
        text = f"{where}: paused {wait}; {_evidence(world, spec, state)}"
        return Verdict(Outcome.RECONCILING, Reason.CANARY_PAUSED, text)
    if canary.stage is Stage.STEPS and isinstance(step, Shadow):
        text = f"{where}: copies of {percent(step.share)} % go to it for {duration(step.duration.total_seconds())}, no evidence"
        return Verdict(Outcome.RECONCILING, Reason.CANARY_IN_PROGRESS, text)
    return Verdict(Outcome.RECONCILING, Reason.CANARY_IN_PROGRESS, f"{where}: {_evidence(world, spec, state)}")


def _unapproved(world: World, spec: Spec, state: State, canary: Canary) -> Verdict:
    digest = short(canary.ref.digest)
    if spec.approval is Approval.GIT:
        text = (
            f"{digest} waits: spec.approval.source is Git, so spec.model has to pin uri and digest in a reviewed commit"
        )
        return Verdict(Outcome.RECONCILING, Reason.AWAITING_APPROVAL, text)
    if not world.approvals_enforced:
        text = f"{digest} waits: the admission policies behind approvals are absent or altered (manifests/base/policies.yaml)"
        return Verdict(Outcome.RECONCILING, Reason.APPROVALS_UNENFORCED, text)
    text = (
        f"{digest} is Ready and waits for `kubectl modelcycle approve {world.name} -n {world.namespace}`"
        f"{why_not(world, spec, state, canary)}"
    )
    return Verdict(Outcome.RECONCILING, Reason.AWAITING_APPROVAL, text)


def _evidence(world: World, spec: Spec, state: State) -> str:
    """`no harm so far, about 310 more canary requests until promotion (6 min)`, and what is no evidence."""
    return _so_far(world, spec, state) + unexported.said(world, state)


def _so_far(world: World, spec: Spec, state: State) -> str:
    analysis = state.analysis
    if analysis is None or not analysis.evidence.canary.n:
        return f"no request has reached the canary yet{_unheard(world, spec, state)}"
    counts = analysis.evidence.canary
    so_far = "no harm so far" if not counts.events else f"{counts.events} of {counts.n} answers bad so far"
    needed = remaining(analysis)
    if needed is None:
        return f"{so_far}, promotion is not to be expected at these rates"
    if needed == 0:
        return f"{so_far}, the evidence for promotion is there"
    rate = analysis.rate
    eta = f" ({duration(needed / rate)})" if rate else ""
    return f"{so_far}, about {rounded(needed)} more canary requests until promotion{eta}"


def _unheard(world: World, spec: Spec, state: State) -> str:
    at, share = state.traffic.at, state.traffic.share
    if not share or at is None or world.now - at < APPLY_BOUND or router(spec).is_applied(world, state.traffic):
        return ""
    return "; not every pod of stable says that it applies the share (pods of a server without canaries do not)"


def _serving(world: World, spec: Spec, state: State) -> Verdict:
    stable = state.stable
    assert stable is not None  # _coming has answered every state in which the target is not stable
    if world.selected != stable.revision:
        text = f"the Service moves to {label(stable)}"
        return Verdict(Outcome.RECONCILING, Reason.SELECTOR_MOVING, text)
    if state.retiring is not None:
        seconds = int(spec.guard_window.total_seconds())
        text = f"{label(stable)} serves; {label(state.retiring.ref)} is kept at full size for {seconds} s"
        return Verdict(Outcome.RECONCILING, Reason.GUARD_WINDOW, text)
    if not is_ready(world, stable.revision, spec.server.replicas):
        return _short_of_replicas(world, spec, stable)
    text = f"{label(stable)} serves with {spec.server.replicas} Ready replicas"
    if spec.paused:
        return Verdict(Outcome.READY, Reason.PAUSED, f"paused; {text}")
    return Verdict(Outcome.READY, Reason.SERVING, text)


def _short_of_replicas(world: World, spec: Spec, stable: RevisionRef) -> Verdict:
    ready = world.ready.get(stable.revision, 0)
    text = f"{label(stable)}: {ready} of {spec.server.replicas} replicas Ready{_sized(world, stable, spec.server.replicas)}"
    problem = problem_of(world, stable.revision)
    if problem is not None:
        text += f"; {problem.reason}: {problem.message}"
    return Verdict(Outcome.RECONCILING, Reason.REPLICAS_NOT_READY, text)


def _sized(world: World, ref: RevisionRef, wanted: int) -> str:
    live = world.deployments.get(ref.revision)
    if live is None or live.replicas == wanted:
        return ""
    return f", spec.replicas of Deployment {live.child.name} is {live.replicas}"


def _is_stable(target: Target, state: State) -> bool:
    return state.stable is not None and state.stable.revision == target.hash and state.canary is None


def _keeps(state: State) -> str:
    return f"; {label(state.stable)} keeps serving" if state.stable else ""
