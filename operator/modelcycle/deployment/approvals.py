"""Which approval a canary rests on: somebody's word about its digest, not too old when the rollout begins, for that rollout alone. Pure.

Owns what an approval is worth. An approval is tied to its rollout in the status write of a decision, so none lets two through.
"""

from dataclasses import replace
from datetime import timedelta

from modelcycle.api.modeldeployment import Spec
from modelcycle.api.rollout import Approval, Verb
from modelcycle.deployment.commands import Executed, RequestResult
from modelcycle.deployment.resize import is_resize
from modelcycle.deployment.status import Canary, Grounds, Stage, State
from modelcycle.deployment.transition import Transition
from modelcycle.deployment.world import World


def bind(world: World, spec: Spec, done: Transition) -> Transition:
    """Tie every approval that the canary may use to its rollout: those of its digest that are valid and were for no rollout yet."""
    canary = done.state.canary
    if canary is None or spec.approval is not Approval.REQUEST or not world.approvals_enforced:
        return done
    if is_resize(world, done.state.stable, world.target):
        return done
    executed = tuple(
        replace(item, rollout=canary.rollout) if _is_usable(world, spec, done.state, canary, item) else item
        for item in done.state.executed
    )
    return done.to(replace(done.state, executed=executed))


def is_approval_missing(world: World, spec: Spec, state: State) -> bool:
    """Whether the canary waits for somebody's word."""
    canary = state.canary
    if spec.approval is Approval.NONE or canary is None or canary.grounds is Grounds.RETURNED:
        return False
    if is_resize(world, state.stable, world.target):
        return False
    if spec.approval is Approval.GIT:
        return spec.model.digest is None
    bound = any(item.rollout == canary.rollout for item in _approvals(state, canary))
    return not (world.approvals_enforced and bound)


def why_not(world: World, spec: Spec, state: State, canary: Canary) -> str:
    """` (the approval by anna is older than spec.approval.validFor, 168 h)`: what became of the last approval of its digest, if any."""
    last = max(_approvals(state, canary), key=lambda item: item.at, default=None)
    if last is None:
        return ""
    if last.rollout or _was_used(state, last):
        return f" (the approval by {last.by} was for an earlier rollout of it)"
    hours = spec.approval_valid_for / timedelta(hours=1)
    return f" (the approval by {last.by} is older than spec.approval.validFor, {hours:g} h)"


def approver(state: State, canary: Canary) -> str:
    """Who approved the rollout; else who ordered its promotion over the evidence; "" for nobody."""
    approved = {item.by: None for item in _approvals(state, canary) if item.rollout == canary.rollout}
    ordered = [
        item.by
        for item in state.executed
        if canary.grounds is Grounds.PERSON
        and item.verb == Verb.PROMOTE_FULL
        and item.result is RequestResult.EXECUTED
        and item.digest == canary.ref.digest
    ]
    return ", ".join(approved or ordered[-1:])


def _approvals(state: State, canary: Canary) -> tuple[Executed, ...]:
    return tuple(
        item
        for item in state.executed
        if item.verb == Verb.APPROVE and item.result is RequestResult.EXECUTED and item.digest == canary.ref.digest
    )


def _is_usable(world: World, spec: Spec, state: State, canary: Canary, item: Executed) -> bool:
    if item.rollout or item not in _approvals(state, canary):
        return False
    # Going on since before approvals were tied to rollouts, or were required at all: judged by when it began.
    begun = canary.traffic_at is not None or canary.stage in (Stage.STEPS, Stage.FORWARDING)
    if begun:
        return item.at + spec.approval_valid_for > canary.started_at
    return item.at + spec.approval_valid_for > world.now and not _was_used(state, item)


def _was_used(state: State, item: Executed) -> bool:
    """Whether a rollout of its digest ended since: what tells of an approval that names no rollout."""
    ends = [old.at for old in state.rejected if old.ref.digest == item.digest]
    ends += [old.at for old in state.history if old.to == item.digest]
    return any(end > item.at for end in ends)
