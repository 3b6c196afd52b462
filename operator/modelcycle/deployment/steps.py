"""The transitions of a replacement as a pure function State x World -> State, in the order in which they are looked at.

Owns that order, and start, drop, startup failures and retirement; evidence is `rollback`'s and `progress`'s. Each transition takes effect
only after it was written to status (`effects` follows the written state), so a crash anywhere resumes. Taking a canary back is looked at
before anything that moves it on; a newer or reverted spec pre-empts what is under way. Must never look at the clock or ask the cluster.
"""

from dataclasses import replace

from modelcycle.api.modeldeployment import Spec
from modelcycle.api.steps_identity import steps_hash
from modelcycle.deployment.approvals import bind
from modelcycle.deployment.counting import counting
from modelcycle.deployment.intent import rollout_id
from modelcycle.deployment.manifests import deployment_name
from modelcycle.deployment.progress import is_direct, progress, repeat
from modelcycle.deployment.rejection import standing_rejection, with_editions
from modelcycle.deployment.requests import execute
from modelcycle.deployment.resize import is_resize
from modelcycle.deployment.revision import Target
from modelcycle.deployment.rollback import look, refuse_misfit, roll_back
from modelcycle.deployment.startup import hold_unseen, judge_pods
from modelcycle.deployment.status import Canary, Grounds, RevisionRef, Stage, State
from modelcycle.deployment.transition import (
    Happening,
    Transition,
    capacity,
    label,
    without_canary,
)
from modelcycle.deployment.world import World


def step(world: World, spec: Spec) -> Transition:
    """All transitions that the world allows now."""
    state = _recover(world, with_editions(world, _forget_lost(world)))
    done = Transition(state, counting(world, spec, state))
    before = (_arrive, hold_unseen, look, roll_back, execute, refuse_misfit, _return, _drop)
    order = (*before, judge_pods, repeat, bind, progress, _start, _retire, _rest)
    for transition in order:
        done = transition(world, spec, done)
    return done


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
    """A status that was lost (a restore without it) is found again in the cluster: only what was stable ever stood behind the Service.

    Whether its pods are Ready now is another question: with none, a new revision would take over without being compared to anything.
    """
    stored = world.revisions.get(world.selected or "")
    if state.stable or state.canary or stored is None:
        return state
    return replace(state, stable=RevisionRef(stored.child.revision, stored.number, stored.digest, stored.uri))


def _arrive(world: World, spec: Spec, done: Transition) -> Transition:
    """The Service is seen on the new revision: the guard window begins."""
    state, retiring = done.state, done.state.retiring
    if retiring is None or retiring.moved_at or state.stable is None or world.selected != state.stable.revision:
        return done
    return replace(done, state=replace(state, retiring=replace(retiring, moved_at=world.now)))


def _return(world: World, spec: Spec, done: Transition) -> Transition:
    """The spec went back before the Service was seen on the new revision: the old one, still at full size, is stable again."""
    state, retiring = done.state, done.state.retiring
    target = world.target.hash if isinstance(world.target, Target) else None
    if retiring is None or retiring.moved_at is not None or retiring.ref.revision != target:
        return done
    note = f"the spec went back to {label(retiring.ref)} before the Service had moved"
    back = without_canary(replace(state, stable=retiring.ref, retiring=None), world.now)
    return done.to(back, Happening("RevisionDropped", "Drop", note))


def _drop(world: World, spec: Spec, done: Transition) -> Transition:
    """Leave a canary that the spec no longer asks for, or whose keys were taken away. What cannot be resolved just now is waited for."""
    canary, target = done.state.canary, world.target
    if canary is None:
        return done
    is_wanted = target.hash == canary.ref.revision if isinstance(target, Target) else not target.stalled
    if is_wanted and world.trust.pem:
        return done
    note = f"{label(canary.ref)} is dropped: the spec no longer asks for it, or no key is trusted"
    return done.to(without_canary(done.state, world.now), Happening("RevisionDropped", "Drop", note))


def _retire(world: World, spec: Spec, done: Transition) -> Transition:
    """The guard window is over. Looked at after `_start`: a revision that is asked for again is warm for as long as its pods are there."""
    state, retiring = done.state, done.state.retiring
    if retiring is None or retiring.moved_at is None or state.stable is None:
        return done
    if world.now - retiring.moved_at < spec.guard_window:
        return done
    note = f"{label(state.stable)} serves alone; {label(retiring.ref)} is scaled down and drains"
    return done.to(replace(state, retiring=None), Happening("ReplacementFinished", "Retire", note))


def _rest(world: World, spec: Spec, done: Transition) -> Transition:
    """Without a canary and a retiring revision nothing is handed on, whatever was lost of the status on the way here."""
    state = done.state
    if state.canary or state.retiring or not (state.traffic.sends or state.traffic.close):
        return done
    return replace(done, state=without_canary(state, world.now))


def _start(world: World, spec: Spec, done: Transition) -> Transition:
    state, target = done.state, world.target
    if state.canary or spec.paused or world.foreign or not world.trust.pem or not isinstance(target, Target):
        return done
    wanted = target.hash
    if state.stable and state.stable.revision == wanted:
        return done
    if standing_rejection(world, state, target) or not can_start(world, state, wanted):
        return done
    is_resized = is_resize(world, state.stable, target)
    number = state.stable.number if state.stable and is_resized else _number(world, state, wanted)
    ref = RevisionRef(wanted, number, target.digest, target.uri)
    warm = state.retiring is not None and state.retiring.ref.revision == wanted
    rollout = rollout_id(world.uid, wanted, world.now, state.traffic.seq)
    direct = warm or is_resized or is_direct(spec, state.stable)  # what serves, or did a moment ago, needs no evidence
    canary = Canary(
        ref,
        world.now,
        world.trust.hash,
        rollout=rollout,
        stage=Stage.CAPACITY if direct else Stage.STARTING,
        since=world.now,
        steps_hash=steps_hash(spec.canary.steps),
        unready_since=world.now,
        grounds=Grounds.RETURNED if warm else Grounds.READY,
    )
    sender = state.stable.revision if state.stable else ""
    started = replace(
        state,
        canary=canary,
        retiring=None if warm else state.retiring,
        rejected=tuple(item for item in state.rejected if item.ref.revision != wanted),
        traffic=state.traffic.changed(
            world.now, rollout=rollout, share=0, shadow=0, sender=sender, receiver=wanted, close=False
        ),
        analysis=None,
    )
    note = f"{label(ref)} starts with {capacity(spec, started, wanted)} replicas; {target.uri}"
    return done.to(started, Happening("RevisionStarted", "Start", note))


def _number(world: World, state: State, revision: str) -> int:
    if revision in world.revisions:
        return world.revisions[revision].number
    used = [view.number for view in world.revisions.values()]
    used += [ref.number for ref in state.referenced()]
    used += [item.ref.number for item in state.rejected] + [item.revision for item in state.history]
    return max(used, default=0) + 1
