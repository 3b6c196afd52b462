"""Moving a canary on: through its steps, to full size, to all requests, to being stable. Pure.

Owns the conditions under which each of these may happen. Must never take a canary back. Whatever the counts do not show does not count:
no weight rises and no step ends without counts of every pod that counts, read by this process; without evidence there is no promotion,
unless the steps give no share, there are none, or a person asked for it.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from modelcycle.api.modeldeployment import Spec
from modelcycle.api.rollout import Analysis, OnInconclusive, Pause, SetWeight, Shadow, percent
from modelcycle.api.steps_identity import is_hash_of, steps_hash
from modelcycle.deployment.analysis import is_proven
from modelcycle.deployment.approvals import approver, is_approval_missing
from modelcycle.deployment.counting import Fit, fit, is_fit_settled, is_overdue, is_read, is_read_since
from modelcycle.deployment.intent import ALL, rollout_id
from modelcycle.deployment.resize import is_resize
from modelcycle.deployment.routing import router
from modelcycle.deployment.status import Canary, Grounds, Promotion, Retiring, RevisionRef, Stage, State
from modelcycle.deployment.transition import Happening, Transition, capacity, is_ready, is_return, label, step_of
from modelcycle.deployment.world import World

APPLY_BOUND: Final = timedelta(seconds=10)
"""How long pods are waited for that do not say that they apply a share: an unreachable pod must not hold a rollout for ever."""
REPEAT_AFTER: Final = timedelta(seconds=4)
"""A share arrives within two seconds, whatever else a node does; the next look is another two away."""


def progress(world: World, spec: Spec, done: Transition) -> Transition:
    """As far as the world allows now: one stage, and within the steps one step, at a time."""
    canary = done.state.canary
    if canary is None or spec.paused:
        return done
    if done.state.traffic.shadow and not isinstance(step_of(spec, canary), Shadow):
        return done.to(replace(done.state, traffic=done.state.traffic.changed(world.now, shadow=0)))
    if not is_ready(world, canary.ref.revision, capacity(spec, done.state, canary.ref.revision)):
        return done
    if canary.grounds is Grounds.EVIDENCE and _proof(world, spec, done) is Grounds.TIME:
        canary = replace(canary, grounds=Grounds.TIME)  # its evidence has sunk, and the spec says what follows
        done = done.with_canary(canary)
    advance: dict[Stage, Callable[[World, Spec, Transition, Canary], Transition]] = {
        Stage.STARTING: _begin,
        Stage.STEPS: _step,
        Stage.CAPACITY: _forward,
        Stage.FORWARDING: _promote,
    }
    return advance[canary.stage](world, spec, done, canary)


def repeat(world: World, spec: Spec, done: Transition) -> Transition:
    """Tell a share once more, under a new seq, to pods that do not apply it: a kubelet can miss a change of an annotation, and an equal
    text would wake nobody."""
    state, canary = done.state, done.state.canary
    if (
        canary is None
        or not state.traffic.sends
        or state.traffic.at is None
        or router(spec).is_applied(world, state.traffic)
    ):
        return done
    if world.now - state.traffic.at < REPEAT_AFTER or world.now - canary.since >= APPLY_BOUND:
        return done
    return replace(done, state=replace(state, traffic=state.traffic.changed(world.now)))


def is_direct(spec: Spec, stable: RevisionRef | None) -> bool:
    """Whether a revision takes over without steps: the spec has none, or there is nothing to compare it with."""
    return stable is None or not spec.canary.steps


def _begin(world: World, spec: Spec, done: Transition, canary: Canary) -> Transition:
    stable = done.state.stable
    if stable is None or is_direct(spec, stable):
        return _grow(world, done, canary, Grounds.READY)
    if is_approval_missing(world, spec, done.state) or world.address(canary.ref.revision) is None:
        return done
    found = fit(world, canary.ref.revision, stable.revision)
    both_read = is_read(world, canary.ref.revision) and is_read(world, stable.revision)
    if found is Fit.BY_NAME or (found is not Fit.ACCEPTS and not both_read):
        return done  # a model that was not read yet, or not told yet, is waited for; one that does not fit is `roll_back`'s
    # A rollout that an operator without canaries had begun has no name yet.
    rollout = canary.rollout or rollout_id(world.uid, canary.ref.revision, canary.started_at, done.state.traffic.seq)
    begun = replace(
        canary, rollout=rollout, stage=Stage.STEPS, step=0, since=world.now, steps_hash=steps_hash(spec.canary.steps)
    )
    return _step(world, spec, done.with_canary(begun), begun)


def _step(world: World, spec: Spec, done: Transition, canary: Canary) -> Transition:
    if is_direct(spec, done.state.stable):
        return _grow(world, done, canary, Grounds.READY)
    if not is_hash_of(canary.steps_hash, spec.canary.steps):
        again = replace(canary, step=0, since=world.now, steps_hash=steps_hash(spec.canary.steps))
        note = f"the steps were edited: {label(canary.ref)} begins them anew and keeps its evidence"
        return done.with_canary(again, Happening("StepsRestarted", "Step", note))
    if canary.step >= len(spec.canary.steps):
        return _conclude(world, spec, done, canary)
    match spec.canary.steps[canary.step]:
        case SetWeight(share):
            return _set_weight(world, spec, done, canary, share)
        case Pause(wait):
            over = wait is not None and world.now - canary.since >= wait and done.counts.allows_more
            return _next(world, done, canary) if over else done
        case Analysis():
            return _next(world, done, canary) if _proof(world, spec, done) else done
        case Shadow(share, wait):
            return _copy(world, spec, done, canary, share, wait)


def _next(world: World, done: Transition, canary: Canary) -> Transition:
    return done.with_canary(replace(canary, step=canary.step + 1, since=world.now))


def _set_weight(world: World, spec: Spec, done: Transition, canary: Canary, share: int) -> Transition:
    state = done.state
    if state.traffic.share == share and state.traffic.rollout == canary.rollout:
        # Seen since then, if not applied: a share whose effect nobody could see is followed by no larger one.
        waited = world.now - canary.since >= APPLY_BOUND and _is_seen(world, done)
        return _next(world, done, canary) if waited or router(spec).is_applied(world, state.traffic) else done
    rises = share > state.traffic.share
    if rises and (is_approval_missing(world, spec, state) or not done.counts.allows_more):
        return done
    if state.stable is None or not _can_hand_on(world, state.stable, canary):
        return done
    given = _give(world, state, state.stable, canary, share)
    analysis = replace(state.analysis, step_from=state.analysis.totals) if state.analysis else None
    note = f"{percent(share)} % of the requests go to {label(canary.ref)}"
    return done.to(replace(given, analysis=analysis), Happening("WeightSet", "Step", note))


def _is_seen(world: World, done: Transition) -> bool:
    """Whether the pods that count were read since they were told the present share."""
    stable, at = done.state.stable, done.state.traffic.at
    return done.counts.allows_more and (stable is None or at is None or is_read_since(world, stable.revision, at))


def _copy(world: World, spec: Spec, done: Transition, canary: Canary, shadow: int, wait: timedelta) -> Transition:
    """Copies are no requests of anybody: no evidence comes of them, and the share stays what it is."""
    state = done.state
    if state.traffic.shadow == shadow and state.traffic.rollout == canary.rollout:
        over = world.now - canary.since >= wait and done.counts.allows_more
        return _next(world, done, canary) if over else done
    if is_approval_missing(world, spec, state) or not done.counts.allows_more:
        return done
    if state.stable is None or not _can_hand_on(world, state.stable, canary):
        return done
    given = _give(world, state, state.stable, canary, state.traffic.share, shadow)
    note = f"copies of {percent(shadow)} % of the requests go to {label(canary.ref)}"
    return done.to(given, Happening("ShadowSet", "Step", note))


def _can_hand_on(world: World, stable: RevisionRef, canary: Canary) -> bool:
    return world.address(canary.ref.revision) is not None and bool(world.answering(stable.revision))


def _give(world: World, state: State, stable: RevisionRef, canary: Canary, share: int, shadow: int = 0) -> State:
    """The canary gets a share of the requests that reach stable's pods, and copies of a share of the others."""
    told = replace(canary, since=world.now, traffic_at=canary.traffic_at or (world.now if share else None))
    intent = state.traffic.changed(
        world.now,
        rollout=canary.rollout,
        share=share,
        sender=stable.revision,
        receiver=canary.ref.revision,
        close=False,
        shadow=shadow,
    )
    return replace(state, canary=told, traffic=intent)


def _proof(world: World, spec: Spec, done: Transition) -> Grounds | None:
    """What allows a promotion now, on counts that may be decided on: the evidence, or the end of the time where the spec says so."""
    state = done.state
    if not done.counts.allows_more:
        return None
    if is_proven(state.analysis):
        return Grounds.EVIDENCE
    promotes = spec.canary.analysis.on_inconclusive is OnInconclusive.PROMOTE
    return Grounds.TIME if promotes and is_overdue(world, spec, state) else None


def _conclude(world: World, spec: Spec, done: Transition, canary: Canary) -> Transition:
    gives_share = any(isinstance(step, SetWeight) and step.share for step in spec.canary.steps)
    unproven = Grounds.READY if done.counts.allows_more else None
    grounds = _proof(world, spec, done) if gives_share else unproven
    return _grow(world, done, canary, grounds) if grounds else done


def _grow(world: World, done: Transition, canary: Canary, grounds: Grounds) -> Transition:
    return done.with_canary(replace(canary, stage=Stage.CAPACITY, since=world.now, grounds=grounds))


def rests_on_counts(spec: Spec, state: State, canary: Canary) -> bool:
    """Whether its promotion needs somebody who counts: not by a person's order, nor without steps, nor back within the guard window."""
    went_through_steps = canary.step > 0 and not is_direct(spec, state.stable)
    return canary.grounds in (Grounds.EVIDENCE, Grounds.TIME) or (
        canary.grounds is Grounds.READY and went_through_steps
    )


def is_unproven(state: State, canary: Canary) -> bool:
    """Whether the evidence that its promotion rests on has sunk since."""
    return canary.grounds is Grounds.EVIDENCE and not is_proven(state.analysis)


def _holds(world: World, spec: Spec, done: Transition, canary: Canary) -> bool:
    """Whether what the promotion rests on has gone since: evidence that has worsened, or counts that nobody can see any more."""
    if canary.grounds is Grounds.EVIDENCE:
        return _proof(world, spec, done) is None
    return rests_on_counts(spec, done.state, canary) and not done.counts.allows_more


def is_form_unknown(world: World, state: State, canary: Canary) -> bool:
    """Whether a canary that takes over without steps waits for the first reading of its inputs and answers.

    A person's order waits too: a model of the same inputs in another order is told of it first, or it would answer wrongly.
    """
    if state.stable is None or canary.grounds not in (Grounds.READY, Grounds.PERSON) or is_return(state, canary):
        return False
    if is_resize(world, state.stable, world.target):
        return False
    return not is_fit_settled(world, canary.ref.revision, state.stable.revision)


def _forward(world: World, spec: Spec, done: Transition, canary: Canary) -> Transition:
    """Full size reached: stable's pods hand on everything, so that moving the Service changes nothing for anybody."""
    state = done.state
    if is_approval_missing(world, spec, state) or _holds(world, spec, done, canary):
        return done
    if is_form_unknown(world, state, canary):
        return done
    if state.stable is None or not world.answering(state.stable.revision):
        return _promote(world, spec, done, canary)
    if world.address(canary.ref.revision) is None:
        return done
    moved = replace(canary, stage=Stage.FORWARDING, since=world.now)
    note = f"{label(canary.ref)} has {spec.server.replicas} Ready replicas and gets all requests"
    return done.to(_give(world, state, state.stable, moved, ALL), Happening("Promoting", "Promote", note))


def _promote(world: World, spec: Spec, done: Transition, canary: Canary) -> Transition:
    """Record that the canary is to serve; the Service follows in the same plan, and again after any crash."""
    state = done.state
    if canary.stage is Stage.FORWARDING:
        is_waiting = not router(spec).is_applied(world, state.traffic) and world.now - canary.since < APPLY_BOUND
        if is_waiting or _holds(world, spec, done, canary):
            return done
    new, old = canary.ref, state.stable
    # An unfinished move still has the Service on the revision before: that one, not the never-served stable, is what retires.
    unfinished = state.retiring if state.retiring and state.retiring.moved_at is None else None
    leaving = unfinished or (Retiring(old) if old else None)
    before, who = old.digest if old else "", approver(state, canary)
    entry = Promotion(before, new.digest, new.number, world.now, canary.grounds.value, new.uri, who)
    intent = state.traffic
    if old is not None and intent.share == ALL:
        intent = intent.changed(world.now, close=True)
    # Other resources are no other revision: who served, and when it was decided, stays what it was.
    history = state.history if old and old.number == new.number else (*state.history, entry)
    promoted = replace(state, stable=new, canary=None, retiring=leaving, history=history, traffic=intent)
    note = f"{label(new)} has {spec.server.replicas} Ready replicas; the Service moves to it"
    return done.to(promoted, Happening("Promoted", "Promote", note))
