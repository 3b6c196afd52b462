"""The steps of a replacement as a pure function State x World -> State: start, reject, drop, promote, retire.

Owns every transition of the state. Each takes effect only after it was written to status (`effects` follows the written state), so a crash
anywhere resumes. A newer or reverted spec always pre-empts what is under way. Must never look at the clock or ask the cluster.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.api.modeldeployment import Spec
from modelcycle.deployment.diagnose import Gravity, Problem, diagnose
from modelcycle.deployment.manifests import deployment_name
from modelcycle.deployment.revision import Target
from modelcycle.deployment.status import Canary, Promotion, Rejection, Retiring, RevisionRef, State, remember
from modelcycle.deployment.world import World

IMAGE_BOUND: Final = timedelta(seconds=60)
"""How long an image may fail to be pulled before the revision is rejected."""

CONTENT_REASONS: Final = frozenset(
    {
        Reason.DIGEST_MISMATCH,
        Reason.SIGNATURE_MISSING,
        Reason.SIGNATURE_INVALID,
        Reason.PROVENANCE_INVALID,
        Reason.BUNDLE_MALFORMED,
        Reason.GOLDEN_MISMATCH,
    }
)
"""The model itself was refused: the same revision stays rejected. Any other reason is tried anew after an edit of the spec."""
TRUST_REASONS: Final = frozenset({Reason.NO_TRUSTED_KEY, Reason.SIGNATURE_INVALID, Reason.PROVENANCE_INVALID})
"""Depend on the trust set: tried anew when it changes."""


@dataclass(frozen=True, slots=True)
class Happening:
    """A transition worth an Event."""

    reason: str
    action: str
    note: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """The state after, and what happened."""

    state: State
    happened: tuple[Happening, ...] = ()


def step(world: World, spec: Spec) -> Step:
    """All transitions that the world allows now, in an order that looks at what is serving first."""
    done = Step(_recover(world, _forget_lost(world)))
    for transition in (_retire, _drop, _judge, _promote, _start):
        done = transition(world, spec, done)
    return done


def problem_of(world: World, revision: str) -> Problem | None:
    """What keeps a revision from being Ready, if anything is known."""
    name = deployment_name(world.name, world.uid, revision)
    return diagnose(world.deployments.get(revision), (pod for pod in world.pods if pod.deployment == name))


def standing_rejection(world: World, state: State, target: Target) -> Rejection | None:
    """The rejection that keeps the target from being tried, None when there is none or it no longer holds."""
    wanted = target.hash
    for item in state.rejected:
        if item.ref.revision != wanted:
            continue
        retrusted = item.reason in TRUST_REASONS and item.trust != world.trust.hash
        edited = item.reason not in CONTENT_REASONS and item.generation != world.generation
        return None if retrusted or edited else item
    return None


def is_ready(world: World, spec: Spec, revision: str) -> bool:
    """All replicas of the revision are Ready."""
    view = world.deployments.get(revision)
    return view is not None and view.replicas == spec.server.replicas and view.ready >= spec.server.replicas


def can_start(world: World, state: State, revision: str) -> bool:
    """No pod of an earlier attempt is left whose verdict could be taken for this one's. The retiring revision is warm."""
    if state.retiring and state.retiring.ref.revision == revision:
        return True
    view = world.deployments.get(revision)
    name = deployment_name(world.name, world.uid, revision)
    return view is None or (view.replicas == 0 and not any(pod.deployment == name for pod in world.pods))


def _forget_lost(world: World) -> State:
    """Drop revisions of which neither template nor Deployment is left (a namespace restored without them)."""
    state = world.state
    wanted = world.target.hash if isinstance(world.target, Target) else None

    def lost(ref: RevisionRef) -> bool:
        known = ref.revision in world.deployments or ref.revision in world.revisions
        return not known and ref.revision != wanted

    if state.retiring and lost(state.retiring.ref):
        state = replace(state, retiring=None)
    if state.stable and lost(state.stable):
        state = replace(state, stable=None)
    return state


def _recover(world: World, state: State) -> State:
    """A status that was lost (a restore without it) is found again in the cluster: what answers behind the Service is stable."""
    selected = world.selected or ""
    stored = world.revisions.get(selected)
    if state.stable or state.canary or stored is None or not world.ready.get(selected):
        return state
    return replace(state, stable=RevisionRef(selected, stored.number, stored.digest, stored.uri))


def _retire(world: World, spec: Spec, done: Step) -> Step:
    state = done.state
    if state.retiring is None or state.stable is None:
        return done
    moved_at = state.retiring.moved_at
    if moved_at is None:
        if world.selected != state.stable.revision:
            return done
        return replace(done, state=replace(state, retiring=replace(state.retiring, moved_at=world.now)))
    if world.now - moved_at < spec.guard_window:
        return done
    note = f"{_label(state.stable)} serves alone; {_label(state.retiring.ref)} is scaled down and drains"
    return _add(done, replace(state, retiring=None), Happening("ReplacementFinished", "Retire", note))


def _drop(world: World, spec: Spec, done: Step) -> Step:
    """Leave a canary that the spec no longer asks for, or whose keys were taken away."""
    state = done.state
    target = world.target.hash if isinstance(world.target, Target) else None
    done = _undo_unmoved(state, target, done)
    state = done.state
    if state.canary is None or (target == state.canary.ref.revision and world.trust.pem):
        return done
    note = f"{_label(state.canary.ref)} is dropped: the spec no longer asks for it, or no key is trusted"
    return _add(done, replace(state, canary=None), Happening("RevisionDropped", "Drop", note))


def _undo_unmoved(state: State, target: str | None, done: Step) -> Step:
    """The spec went back before the Service was seen on the new revision: the old one, still at full size, is stable again."""
    retiring = state.retiring
    if retiring is None or retiring.moved_at is not None or retiring.ref.revision != target:
        return done
    note = f"the spec went back to {_label(retiring.ref)} before the Service had moved"
    return _add(done, replace(state, stable=retiring.ref, retiring=None), Happening("RevisionDropped", "Drop", note))


def _judge(world: World, spec: Spec, done: Step) -> Step:
    """Reject a canary that cannot become Ready."""
    canary = done.state.canary
    if canary is None:
        return done
    canary = _clock(world, spec, canary)
    problem = problem_of(world, canary.ref.revision)
    if problem is None or problem.gravity is not Gravity.IMAGE:
        canary = replace(canary, image_failing_since=None)
    elif canary.image_failing_since is None:
        canary = replace(canary, image_failing_since=world.now)
    state = replace(done.state, canary=canary)
    verdict = _verdict(world, spec, canary, problem)
    if verdict is None:
        return replace(done, state=state)
    if verdict.reason in TRUST_REASONS and canary.trust != world.trust.hash:
        note = f"{_label(canary.ref)} starts again: the trusted keys changed meanwhile"
        return _add(done, replace(state, canary=None), Happening("RevisionDropped", "Drop", note))
    rejection = Rejection(canary.ref, verdict.reason, verdict.message, world.now, canary.trust, world.generation)
    note = f"{_label(canary.ref)} is rejected: {verdict.message}"
    rejected = replace(state, canary=None, rejected=remember(state.rejected, rejection))
    return _add(done, rejected, Happening(verdict.reason, "Reject", note, warning=True))


def _clock(world: World, spec: Spec, canary: Canary) -> Canary:
    """Stop the progress clock while paused; afterwards it goes on where it stood."""
    if spec.paused:
        return canary if canary.held_since else replace(canary, held_since=world.now)
    if canary.held_since is None:
        return canary
    held = max(world.now - canary.held_since, timedelta(0))
    return replace(canary, started_at=canary.started_at + held, held_since=None)


def _verdict(world: World, spec: Spec, canary: Canary, problem: Problem | None) -> Problem | None:
    if is_ready(world, spec, canary.ref.revision):
        return None
    if problem and problem.gravity is Gravity.FATAL:
        return problem
    failing = canary.image_failing_since
    if problem and failing is not None and world.now - failing >= IMAGE_BOUND:
        return Problem(Gravity.FATAL, Reason.IMAGE_UNAVAILABLE, problem.message)
    if spec.paused or world.now - canary.started_at < spec.progress_deadline:
        return None
    last = f"; last problem: {problem.reason}: {problem.message}" if problem else ""
    seconds = int(spec.progress_deadline.total_seconds())
    return Problem(Gravity.FATAL, Reason.PROGRESS_DEADLINE_EXCEEDED, f"not Ready within {seconds} s{last}")


def _promote(world: World, spec: Spec, done: Step) -> Step:
    """Record that the canary is to serve; the Service follows in the same plan, and again after any crash."""
    state = done.state
    if state.canary is None or spec.paused or not is_ready(world, spec, state.canary.ref.revision):
        return done
    new, old = state.canary.ref, state.stable
    # An unfinished move still has the Service on the revision before: that one, not the never-served stable, is what retires.
    unfinished = state.retiring if state.retiring and state.retiring.moved_at is None else None
    leaving = unfinished or (Retiring(old) if old else None)
    entry = Promotion(old.digest if old else "", new.digest, new.number, world.now, "Ready")
    promoted = replace(state, stable=new, canary=None, retiring=leaving, history=(*state.history, entry))
    note = f"{_label(new)} has {spec.server.replicas} Ready replicas; the Service moves to it"
    return _add(done, promoted, Happening("Promoted", "Promote", note))


def _start(world: World, spec: Spec, done: Step) -> Step:
    state, target = done.state, world.target
    if state.canary or spec.paused or world.foreign or not world.trust.pem or not isinstance(target, Target):
        return done
    wanted = target.hash
    if state.stable and state.stable.revision == wanted:
        return done
    if standing_rejection(world, state, target) or not can_start(world, state, wanted):
        return done
    ref = RevisionRef(wanted, _number(world, state, wanted), target.digest, target.uri)
    warm = state.retiring is not None and state.retiring.ref.revision == wanted
    started = replace(
        state,
        canary=Canary(ref, world.now, world.trust.hash),
        retiring=None if warm else state.retiring,
        rejected=tuple(item for item in state.rejected if item.ref.revision != wanted),
    )
    note = f"{_label(ref)} starts with {spec.server.replicas} replicas; {target.uri}"
    return _add(done, started, Happening("RevisionStarted", "Start", note))


def _number(world: World, state: State, revision: str) -> int:
    if revision in world.revisions:
        return world.revisions[revision].number
    used = [view.number for view in world.revisions.values()]
    used += [ref.number for ref in state.referenced()]
    used += [item.ref.number for item in state.rejected] + [item.revision for item in state.history]
    return max(used, default=0) + 1


def _label(ref: RevisionRef) -> str:
    return f"revision {ref.number} ({short(ref.digest)})"


def short(digest: str) -> str:
    """First eight hex digits of a digest, as `kubectl get` shows it."""
    return digest.removeprefix("sha256:")[:8]


def _add(done: Step, state: State, happening: Happening) -> Step:
    return Step(state, (*done.happened, happening))
