"""What a person's request does to a rollout: each entry of `spec.requests` is executed or refused once, with words for the record. Pure.

Owns the meaning of the verbs. Must never execute an id twice, nor a request for another digest than the one it names.
"""

from dataclasses import replace
from typing import Final

from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.api.modeldeployment import Spec
from modelcycle.api.rollout import UserRequest, Verb
from modelcycle.deployment.commands import RequestResult, pending, record, remember
from modelcycle.deployment.rejection import standing_rejection
from modelcycle.deployment.revision import Target
from modelcycle.deployment.status import Canary, Grounds, Stage
from modelcycle.deployment.transition import Happening, Transition, label, reject, short
from modelcycle.deployment.world import World

Answer = tuple[Transition, RequestResult, str]
NEED_DIGEST: Final = frozenset({Verb.APPROVE, Verb.PROMOTE_FULL, Verb.RETRY})


def execute(world: World, spec: Spec, done: Transition) -> Transition:
    """Every request that nothing was done about yet, in the order of their ids."""
    for request in pending(spec.requests, done.state.executed):
        done = _forgive_form(world, done, request)
        if not _is_early(world, done, request):
            done = _one(world, spec, done, request)
    return done


def _forgive_form(world: World, done: Transition, request: UserRequest) -> Transition:
    """Lift the rejection of another form for whoever orders that digest with PromoteFull: it starts again, and the order waits for it."""
    state, target = done.state, world.target
    if request.verb is not Verb.PROMOTE_FULL or state.canary or not isinstance(target, Target):
        return done
    standing = standing_rejection(world, state, target)
    if request.digest != target.digest or standing is None or standing.reason != Reason.INCOMPATIBLE_SIGNATURE:
        return done
    return _forgiven(done, target.digest)


def _is_early(world: World, done: Transition, request: UserRequest) -> bool:
    """A promotion of a canary that is about to start waits for it: Git may ask for both in one commit. An Abort is about what is there."""
    state, target = done.state, world.target
    if request.verb not in (Verb.PROMOTE, Verb.PROMOTE_FULL) or not isinstance(target, Target):
        return False
    if state.canary:
        return request.verb is Verb.PROMOTE and state.canary.stage is Stage.STARTING
    is_coming = state.stable is None or state.stable.revision != target.hash
    concerns_it = request.digest in (None, target.digest)
    return is_coming and concerns_it and standing_rejection(world, state, target) is None


def _one(world: World, spec: Spec, done: Transition, request: UserRequest) -> Transition:
    after, result, message = _answer(world, spec, done, request)
    entry = record(request, request.digest or _concerned(world, done), world.now, result, message)
    rollout = after.state.canary.rollout if after.state.canary else ""
    state = replace(after.state, executed=remember(after.state.executed, entry, spec.requests, rollout))
    note = f"{request.verb} by {request.by} ({request.reason or 'no reason given'}): {result}: {message}"
    refused = result is RequestResult.REFUSED
    return after.to(state, Happening(f"Request{result}", request.verb.value, note, warning=refused))


def _answer(world: World, spec: Spec, done: Transition, request: UserRequest) -> Answer:
    if request.digest is None and request.verb in NEED_DIGEST:
        return _refused(done, f"{request.verb} has to name the digest it is about: another may have come meanwhile")
    match request.verb:
        case Verb.APPROVE:
            return _approve(world, done, request)
        case Verb.RETRY:
            return _retry(world, done, request)
        case Verb.UNDO:
            return _refused(
                done,
                "not offered yet: ask for the earlier digest in spec.model; within the guard window it is back at once",
            )
    canary = done.state.canary
    if canary is None:
        what = "; one that starts later needs a request of its own" if request.verb is Verb.ABORT else ""
        return _refused(done, f"there is no canary{what}")
    if request.digest is not None and request.digest != canary.ref.digest:
        return _refused(done, f"the canary is {short(canary.ref.digest)}, not {short(request.digest)}")
    if request.verb is Verb.ABORT:
        why = f": {request.reason}" if request.reason else ""
        rejected = reject(world, done, canary, Reason.ABORTED, f"taken back by {request.by}{why}")
        return rejected, RequestResult.EXECUTED, f"{label(canary.ref)} was taken back"
    if request.verb is Verb.PROMOTE_FULL:
        return _promote_full(world, done, canary)
    return _promote(world, spec, done, canary)


def _approve(world: World, done: Transition, request: UserRequest) -> Answer:
    if not world.approvals_enforced:
        return _refused(
            done, "the admission policies behind approvals are absent or altered: an approval proves nothing"
        )
    return done, RequestResult.EXECUTED, f"{short(request.digest or '')} may get requests"


def _retry(world: World, done: Transition, request: UserRequest) -> Answer:
    digest = request.digest or ""
    forgiven = _forgiven(done, digest)
    if len(forgiven.state.rejected) == len(done.state.rejected):
        return _refused(done, f"{short(digest)} is not rejected")
    return forgiven, RequestResult.EXECUTED, f"{short(digest)} is tried anew, from zero evidence"


def _forgiven(done: Transition, digest: str) -> Transition:
    """Without the rejections of a digest."""
    kept = tuple(item for item in done.state.rejected if item.ref.digest != digest)
    return replace(done, state=replace(done.state, rejected=kept))


def _promote(world: World, spec: Spec, done: Transition, canary: Canary) -> Answer:
    if canary.stage is not Stage.STEPS:
        return _refused(done, f"the canary is at {canary.stage}: there is no step to end")
    if canary.step >= len(spec.canary.steps):
        return _refused(done, "only the evidence is missing: PromoteFull does without it")
    after = done.with_canary(replace(canary, step=canary.step + 1, since=world.now))
    return after, RequestResult.EXECUTED, f"step {canary.step + 1} of {len(spec.canary.steps)} was ended"


def _promote_full(world: World, done: Transition, canary: Canary) -> Answer:
    # One without steps is on its way without evidence already: the order is about its form. One that rests on evidence
    # may be held until that comes back, or can be seen.
    is_held = canary.grounds in (Grounds.EVIDENCE, Grounds.TIME)
    if canary.grounds is Grounds.RETURNED or (canary.stage is Stage.FORWARDING and not is_held):
        return _refused(done, "it is being promoted already")
    ordered = replace(canary, grounds=Grounds.PERSON)
    if canary.stage is not Stage.FORWARDING:
        ordered = replace(ordered, stage=Stage.CAPACITY, since=world.now)
    after = done.with_canary(ordered)
    return after, RequestResult.EXECUTED, f"{label(canary.ref)} is promoted without waiting for evidence"


def _refused(done: Transition, message: str) -> Answer:
    return done, RequestResult.REFUSED, message


def _concerned(world: World, done: Transition) -> str:
    """The digest a request is about that names none."""
    if done.state.canary:
        return done.state.canary.ref.digest
    return world.target.digest if isinstance(world.target, Target) else ""
