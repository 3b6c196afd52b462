"""Rejecting a canary whose pods cannot become Ready, or do not stay so. Pure.

Owns the clocks: how long pods may be missing, an image may fail, and how clocks stop while paused or unseen. Knows nothing of its answers.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.api.modeldeployment import Spec
from modelcycle.deployment.counting import awaits_evidence
from modelcycle.deployment.diagnose import Gravity, Problem
from modelcycle.deployment.rejection import TRUST_REASONS
from modelcycle.deployment.status import Canary, Stage
from modelcycle.deployment.transition import (
    Happening,
    Transition,
    capacity,
    is_ready,
    label,
    problem_of,
    reject,
    without_canary,
)
from modelcycle.deployment.world import World

IMAGE_BOUND: Final = timedelta(seconds=60)
"""How long an image may fail to be pulled before the revision is rejected."""


def judge_pods(world: World, spec: Spec, done: Transition) -> Transition:
    """Reject a canary that cannot become Ready."""
    canary = done.state.canary
    if canary is None:
        return done
    canary = _clock(world, spec, canary)
    ready = is_ready(world, canary.ref.revision, capacity(spec, done.state, canary.ref.revision))
    problem = None if ready else problem_of(world, canary.ref.revision)
    image_fails = problem is not None and problem.gravity is Gravity.IMAGE
    canary = replace(
        canary,
        unready_since=None if ready else canary.unready_since or world.now,
        image_failing_since=(canary.image_failing_since or world.now) if image_fails else None,
    )
    done = done.with_canary(canary)
    fatal = None if ready else _fatal(world, spec, canary, problem)
    if fatal is None:
        return done
    if fatal.reason in TRUST_REASONS and canary.trust != world.trust.hash:
        note = f"{label(canary.ref)} starts again: the trusted keys changed meanwhile"
        return done.to(without_canary(done.state, world.now), Happening("RevisionDropped", "Drop", note))
    return reject(world, done, canary, fatal.reason, fatal.message)


def _clock(world: World, spec: Spec, canary: Canary) -> Canary:
    """Stop the clocks while paused; afterwards they go on where they stood."""
    if spec.paused:
        return canary if canary.held_since else replace(canary, held_since=world.now)
    held = canary.held_since
    if held is None:
        return canary
    return replace(
        canary,
        started_at=_later(world, held, canary.started_at),
        since=_later(world, held, canary.since),
        traffic_at=_later(world, held, canary.traffic_at) if canary.traffic_at else None,
        unready_since=_later(world, held, canary.unready_since) if canary.unready_since else None,
        image_failing_since=_later(world, held, canary.image_failing_since) if canary.image_failing_since else None,
        held_since=None,
    )


def hold_unseen(world: World, spec: Spec, done: Transition) -> Transition:
    """Stop the clocks of the steps and of the evidence while counts are missing that they need. A pause of a person stops them already."""
    canary = done.state.canary
    if canary is None:
        return done
    unseen = awaits_evidence(canary) and not spec.paused and not done.counts.is_complete
    since = canary.unseen_since
    if unseen == (since is not None):
        return done
    if since is None:
        return done.with_canary(replace(canary, unseen_since=world.now))
    if not awaits_evidence(canary):
        return done.with_canary(replace(canary, unseen_since=None))
    went_on = replace(
        canary,
        since=_later(world, since, canary.since) if canary.stage is Stage.STEPS else canary.since,
        traffic_at=_later(world, since, canary.traffic_at) if canary.traffic_at else None,
        unseen_since=None,
    )
    return done.with_canary(went_on)


def _later(world: World, stopped_at: datetime, moment: datetime) -> datetime:
    """A moment before the clock stopped moves by the time that it stood; one within that time becomes now."""
    return moment + max(world.now - max(stopped_at, moment), timedelta(0))


def _fatal(world: World, spec: Spec, canary: Canary, problem: Problem | None) -> Problem | None:
    if problem and problem.gravity is Gravity.FATAL:
        if canary.traffic_at and problem.reason is Reason.SERVER_FAILED:
            return replace(problem, reason=Reason.CANARY_CRASHED)
        return problem
    if spec.paused:
        return None
    failing, unready = canary.image_failing_since, canary.unready_since
    if problem and failing is not None and world.now - failing >= IMAGE_BOUND:
        return Problem(Gravity.FATAL, Reason.IMAGE_UNAVAILABLE, problem.message)
    if unready is None or world.now - unready < spec.progress_deadline:
        return None
    last = f"; last problem: {problem.reason}: {problem.message}" if problem else ""
    seconds = int(spec.progress_deadline.total_seconds())
    return Problem(Gravity.FATAL, Reason.PROGRESS_DEADLINE_EXCEEDED, f"not Ready within {seconds} s{last}")
