"""Looking at the counts of both arms, and taking a canary back when they say so. Pure.

Owns the look (one reading folded into evidence) and the order of the causes for a rollback. Must never move a canary on. Missing, old or
contradictory counts take nothing back: `usable` says what they hold up.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Final

from modelcycle.api.conditions import timestamp
from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.api.modeldeployment import Spec
from modelcycle.api.rollout import OnInconclusive
from modelcycle.deployment.analysis import AnalysisState, fold, is_consistent, mostly_refused, recent_looks, score
from modelcycle.deployment.status import Canary, Stage, State
from modelcycle.deployment.transition import Transition, reject
from modelcycle.deployment.world import World
from modelcycle.metrics.port import Samples, ServedModel
from modelcycle.stats.evidence import Counts, Design, Verdict, fail_fast, verdict

STALE_ROUNDS: Final = 3
"""Intervals without a finished reading after which counts are too old."""
GRACE: Final = timedelta(seconds=5)
"""Time a reading may take beyond that."""


class CountsState(StrEnum):
    """What the latest reading is good for."""

    USABLE = "Usable"
    """Fresh and free of contradictions."""
    MISSING = "Missing"
    """None finished yet, or the last one is too old."""
    INCONSISTENT = "Inconsistent"
    """A counter of a living pod says less than before."""


@dataclass(frozen=True, slots=True)
class Counting:
    """The state of the counts, and the words for it."""

    state: CountsState
    message: str = ""


def design_of(spec: Spec) -> Design:
    """What the spec asks of the evidence."""
    wanted = spec.canary.analysis
    return Design(wanted.alpha, wanted.beta, wanted.harm_ratio, wanted.harm_floor)


def is_compared(canary: Canary | None) -> bool:
    """Whether the canary has had requests that can be compared with stable's."""
    return canary is not None and canary.traffic_at is not None


def counting(world: World, spec: Spec, state: State) -> Counting:
    """Whether the latest reading may be decided on."""
    samples = world.samples
    if samples is None:
        return Counting(CountsState.MISSING, world.samples_problem or "the first reading of the pods has not finished")
    age = world.now - samples.taken_at
    if age > STALE_ROUNDS * spec.canary.analysis.interval + GRACE:
        cause = f": {world.samples_problem}" if world.samples_problem else ""
        return Counting(CountsState.MISSING, f"last reading of the pods at {timestamp(samples.taken_at)}{cause}")
    if _none_answered(samples):
        cause = samples.failing[0].cause if samples.failing else "no pod was read"
        return Counting(CountsState.MISSING, f"no pod gives counts: {cause}")
    if state.analysis and not is_consistent(state.analysis, samples):
        return Counting(CountsState.INCONSISTENT, "a pod's counters say less than they said before")
    return Counting(CountsState.USABLE)


def _none_answered(samples: Samples) -> bool:
    return bool(samples.failing) and not any(run.seen_at == samples.taken_at for run in samples.runs.values())


def look(world: World, spec: Spec, done: Transition) -> Transition:
    """Fold the latest reading into the evidence, once: the same reading again adds nothing."""
    state, samples = done.state, world.samples
    if state.canary is None or not is_compared(state.canary) or samples is None or samples.deployment != world.name:
        return done
    known = state.analysis if state.analysis and state.analysis.rollout == state.canary.rollout else None
    analysis = known or AnalysisState(state.canary.rollout)
    state = replace(state, analysis=analysis)
    last = analysis.last_look_at
    if counting(world, spec, state).state is not CountsState.USABLE or (last is not None and samples.taken_at <= last):
        return done
    return replace(done, state=replace(state, analysis=fold(analysis, samples, design_of(spec))))


def served_model(world: World, revision: str) -> ServedModel | None:
    """What a pod of the revision says of its model, when one was read."""
    if world.samples is None:
        return None
    models = (run.model for run in world.samples.runs.values() if run.gone_at is None and run.model)
    return next((model for model in models if model.revision == revision), None)


def is_accepting(canary: ServedModel, stable: ServedModel) -> bool:
    """Whether the canary accepts every request that stable accepts. A server that does not say is judged by its answers."""
    if not canary.inputs or not stable.inputs:
        return True
    return canary.inputs == stable.inputs and (canary.accepts_missing or not stable.accepts_missing)


def roll_back(world: World, spec: Spec, done: Transition) -> Transition:
    """Take the canary back when its answers say so: at once when none is good, else when the evidence has reached its bar."""
    state = done.state
    canary, analysis = state.canary, state.analysis
    if canary is not None and canary.stage is Stage.STARTING:
        return _unfit(world, done, canary)
    if canary is None or analysis is None or not is_compared(canary):
        return done
    if counting(world, spec, state).state is not CountsState.USABLE:
        return done
    if fail_fast(recent_looks(analysis)):
        reason = Reason.INCOMPATIBLE_SIGNATURE if mostly_refused(analysis) else Reason.CANARY_FAIL_FAST
        return reject(world, done, canary, reason, f"every answer of late was bad: {_compared(analysis)}")
    if verdict(analysis.evidence, design_of(spec)) is Verdict.FAIL:
        reason = Reason.INCOMPATIBLE_SIGNATURE if mostly_refused(analysis) else Reason.CANARY_FAILED
        e = score(analysis.recent[-1].log_rollback)
        text = f"{_compared(analysis)}: E={e} after {analysis.evidence.canary.n} requests"
        return reject(world, done, canary, reason, text)
    if is_overdue(world, spec, state) and spec.canary.analysis.on_inconclusive is OnInconclusive.ROLLBACK:
        return reject(world, done, canary, Reason.INCONCLUSIVE, f"no verdict within maxDuration: {_compared(analysis)}")
    return done


def _unfit(world: World, done: Transition, canary: Canary) -> Transition:
    """A canary that asks for other inputs than stable does would refuse requests that stable accepts: it gets none."""
    stable = done.state.stable
    models = served_model(world, canary.ref.revision), served_model(world, stable.revision) if stable else None
    if models[0] is None or models[1] is None or is_accepting(models[0], models[1]):
        return done
    text = "its inputs are not those of stable: other names, another order, or no answer where a value is missing"
    return reject(world, done, canary, Reason.INCOMPATIBLE_SIGNATURE, text)


def is_overdue(world: World, spec: Spec, state: State) -> bool:
    """Whether the time for evidence has run out without it."""
    canary, analysis = state.canary, state.analysis
    if (
        canary is None
        or canary.traffic_at is None
        or canary.stage is not Stage.STEPS
        or analysis is None
        or spec.paused
    ):
        return False
    return (
        world.now - canary.traffic_at >= spec.canary.analysis.max_duration
        and verdict(analysis.evidence, design_of(spec)) is not Verdict.PASS
    )


def _compared(analysis: AnalysisState) -> str:
    """`errors 9.1 % against 0.2 %`."""
    return f"errors {_rate(analysis.evidence.canary)} against {_rate(analysis.evidence.stable)}"


def _rate(counts: Counts) -> str:
    return f"{100 * counts.events / counts.n:.3g} %" if counts.n else "none"
