"""Moving a canary on: through its steps, to full size, to all requests, to being stable. Pure.

Owns the conditions under which each of these may happen. Must never take a canary back. Whatever the counts do not show does not count:
without evidence there is no promotion, unless the steps give no share or a person asked for it.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from modelcycle.api.modeldeployment import Spec
from modelcycle.api.rollout import Analysis, Approval, OnInconclusive, Pause, SetWeight, percent
from modelcycle.deployment.commands import is_approved
from modelcycle.deployment.intent import ALL, rollout_id
from modelcycle.deployment.rollback import CountsState, counting, design_of, is_accepting, is_overdue, served_model
from modelcycle.deployment.status import Canary, Promotion, Retiring, RevisionRef, Stage, State
from modelcycle.deployment.traffic import is_applied
from modelcycle.deployment.transition import Happening, Transition, capacity, is_ready, label
from modelcycle.deployment.world import World
from modelcycle.stats.evidence import Verdict, verdict

APPLY_BOUND: Final = timedelta(seconds=10)
"""How long pods are waited for that do not say that they apply a share: an unreachable pod must not hold a rollout for ever."""


def progress(world: World, spec: Spec, done: Transition) -> Transition:
    """As far as the world allows now: one stage, and within the steps one step, at a time."""
    canary = done.state.canary
    if (
        canary is None
        or spec.paused
        or not is_ready(world, canary.ref.revision, capacity(spec, done.state, canary.ref.revision))
    ):
        return done
    advance: dict[Stage, Callable[[World, Spec, Transition, Canary], Transition]] = {
        Stage.STARTING: _begin,
        Stage.STEPS: _step,
        Stage.CAPACITY: _forward,
        Stage.FORWARDING: _promote,
    }
    return advance[canary.stage](world, spec, done, canary)


def is_approval_missing(world: World, spec: Spec, state: State) -> bool:
    """Whether the canary waits for somebody's word."""
    if spec.approval is Approval.NONE or state.canary is None:
        return False
    if spec.approval is Approval.GIT:
        return spec.model.digest is None
    return not (world.approvals_enforced and is_approved(state.executed, state.canary.ref.digest))


def is_direct(spec: Spec, stable: RevisionRef | None) -> bool:
    """Whether a revision takes over without evidence: there is nothing to compare it with, or no step gives it a share."""
    return stable is None or not any(isinstance(step, SetWeight) and step.share for step in spec.canary.steps)


def _begin(world: World, spec: Spec, done: Transition, canary: Canary) -> Transition:
    stable = done.state.stable
    if is_direct(spec, stable):
        return replace(done, state=replace(done.state, canary=replace(canary, stage=Stage.CAPACITY, since=world.now)))
    if stable is None or is_approval_missing(world, spec, done.state):
        return done
    models = served_model(world, canary.ref.revision), served_model(world, stable.revision)
    if models[0] is None or models[1] is None or not is_accepting(models[0], models[1]):
        return done  # what is not read yet is waited for; what does not fit is `roll_back`'s
    if world.address(canary.ref.revision) is None or not world.answering(stable.revision):
        return done
    # A rollout that an operator without canaries had begun has no name yet.
    rollout = canary.rollout or rollout_id(world.uid, canary.ref.revision, canary.started_at)
    begun = replace(
        canary, rollout=rollout, stage=Stage.STEPS, step=0, since=world.now, steps_hash=spec.canary.steps_hash
    )
    return _step(world, spec, replace(done, state=replace(done.state, canary=begun)), begun)


def _step(world: World, spec: Spec, done: Transition, canary: Canary) -> Transition:
    if canary.steps_hash != spec.canary.steps_hash:
        again = replace(canary, step=0, since=world.now, steps_hash=spec.canary.steps_hash)
        note = f"the steps were edited: {label(canary.ref)} begins them anew and keeps its evidence"
        return done.to(replace(done.state, canary=again), Happening("StepsRestarted", "Step", note))
    if canary.step >= len(spec.canary.steps):
        return _conclude(world, spec, done, canary)
    match spec.canary.steps[canary.step]:
        case SetWeight(share):
            return _set_weight(world, done, canary, share)
        case Pause(wait):
            over = wait is not None and world.now - canary.since >= wait
            return _next(world, done, canary) if over else done
        case Analysis():
            return _next(world, done, canary) if is_proven(world, spec, done.state) else done


def _set_weight(world: World, done: Transition, canary: Canary, share: int) -> Transition:
    state = done.state
    assert state.stable is not None
    if state.traffic.share == share and state.traffic.rollout == canary.rollout:
        waited = state.traffic.at is None or world.now - state.traffic.at >= APPLY_BOUND
        return _next(world, done, canary) if waited or is_applied(world, state.traffic) else done
    if world.address(canary.ref.revision) is None or not world.answering(state.stable.revision):
        return done
    told = replace(canary, traffic_at=canary.traffic_at or (world.now if share else None))
    intent = state.traffic.changed(
        world.now,
        rollout=canary.rollout,
        share=share,
        sender=state.stable.revision,
        receiver=canary.ref.revision,
        close=False,
    )
    analysis = replace(state.analysis, step_from=state.analysis.totals) if state.analysis else None
    note = f"{percent(share)} % of the requests go to {label(canary.ref)}"
    return done.to(replace(state, canary=told, traffic=intent, analysis=analysis), Happening("WeightSet", "Step", note))


def _next(world: World, done: Transition, canary: Canary) -> Transition:
    return replace(done, state=replace(done.state, canary=replace(canary, step=canary.step + 1, since=world.now)))


def is_proven(world: World, spec: Spec, state: State) -> bool:
    """Whether the evidence of no harm is there now, on counts that may be decided on; or the time is over and the spec promotes then."""
    if state.analysis is None or counting(world, spec, state).state is not CountsState.USABLE:
        return False
    if verdict(state.analysis.evidence, design_of(spec)) is Verdict.PASS:
        return True
    return is_overdue(world, spec, state) and spec.canary.analysis.on_inconclusive is OnInconclusive.PROMOTE


def _conclude(world: World, spec: Spec, done: Transition, canary: Canary) -> Transition:
    if not is_proven(world, spec, done.state):
        return done
    grown = replace(canary, stage=Stage.CAPACITY, since=world.now)
    return replace(done, state=replace(done.state, canary=grown))


def _forward(world: World, spec: Spec, done: Transition, canary: Canary) -> Transition:
    """Full size reached: stable's pods hand on everything, so that moving the Service changes nothing for anybody."""
    state = done.state
    if is_approval_missing(world, spec, state):
        return done
    if state.stable is None or not world.answering(state.stable.revision):
        return _promote(world, spec, done, canary)
    if world.address(canary.ref.revision) is None:
        return done
    intent = state.traffic.changed(
        world.now,
        rollout=canary.rollout,
        share=ALL,
        sender=state.stable.revision,
        receiver=canary.ref.revision,
        close=False,
    )
    moved = replace(canary, stage=Stage.FORWARDING, since=world.now)
    note = f"{label(canary.ref)} has {spec.server.replicas} Ready replicas and gets all requests"
    return done.to(replace(state, canary=moved, traffic=intent), Happening("Promoting", "Promote", note))


def _promote(world: World, spec: Spec, done: Transition, canary: Canary) -> Transition:
    """Record that the canary is to serve; the Service follows in the same plan, and again after any crash."""
    state = done.state
    if (
        canary.stage is Stage.FORWARDING
        and not is_applied(world, state.traffic)
        and world.now - canary.since < APPLY_BOUND
    ):
        return done
    new, old = canary.ref, state.stable
    # An unfinished move still has the Service on the revision before: that one, not the never-served stable, is what retires.
    unfinished = state.retiring if state.retiring and state.retiring.moved_at is None else None
    leaving = unfinished or (Retiring(old) if old else None)
    entry = Promotion(old.digest if old else "", new.digest, new.number, world.now, _grounds(spec, state))
    intent = state.traffic
    if old is not None and intent.share == ALL:
        intent = intent.changed(world.now, close=True)
    promoted = replace(
        state, stable=new, canary=None, retiring=leaving, history=(*state.history, entry), traffic=intent
    )
    note = f"{label(new)} has {spec.server.replicas} Ready replicas; the Service moves to it"
    return done.to(promoted, Happening("Promoted", "Promote", note))


def _grounds(spec: Spec, state: State) -> str:
    compared = state.analysis is not None and state.analysis.evidence.looks > 0
    proven = state.analysis is not None and verdict(state.analysis.evidence, design_of(spec)) is Verdict.PASS
    return "Evidence" if compared and proven else "Ready"
