"""Looking at the counts of both arms, and taking a canary back when they say so. Pure.

Owns the look (one reading folded into evidence) and the order of the causes for a rollback. Must never move a canary on.
"""

from dataclasses import replace

from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.api.modeldeployment import Spec
from modelcycle.api.rollout import OnInconclusive
from modelcycle.deployment.analysis import (
    AnalysisState,
    fold,
    has_unjudged,
    mostly_late,
    mostly_refused,
    recent_looks,
    score,
)
from modelcycle.deployment.counting import Fit, fit, is_compared, is_overdue
from modelcycle.deployment.transition import Transition, reject
from modelcycle.deployment.world import World
from modelcycle.stats.evidence import Counts, Design, Verdict, fail_fast, verdict


def look(world: World, spec: Spec, done: Transition) -> Transition:
    """Fold the latest reading into the evidence. The same reading again adds nothing: all of it was counted before."""
    state, samples = done.state, world.samples
    if state.canary is None or not is_compared(state.canary) or samples is None or samples.deployment != world.name:
        return done
    if not done.counts.is_usable:
        return done
    known = state.analysis if state.analysis and state.analysis.rollout == state.canary.rollout else None
    analysis = known or AnalysisState(state.canary.rollout, design_of(spec))
    folded = fold(analysis, samples)
    return done if folded is analysis else replace(done, state=replace(state, analysis=folded))


def design_of(spec: Spec) -> Design:
    """What the spec asks of the evidence when a rollout begins; later edits hold for the next one."""
    wanted = spec.canary.analysis
    return Design(wanted.alpha, wanted.beta, wanted.harm_ratio, wanted.harm_floor)


def roll_back(world: World, spec: Spec, done: Transition) -> Transition:
    """Take the canary back when its answers say so: at once when none is good, else when the evidence has reached its bar."""
    state = done.state
    canary, analysis = state.canary, state.analysis
    if canary is None:
        return done
    if state.stable and fit(world, canary.ref.revision, state.stable.revision) is Fit.REFUSES:
        text = "its inputs are not those of stable: other names, another order, or no answer where a value is missing"
        return reject(world, done, canary, Reason.INCOMPATIBLE_SIGNATURE, text)
    if analysis is None or not is_compared(canary) or not done.counts.is_usable:
        return done
    if fail_fast(recent_looks(analysis)):
        reason = Reason.INCOMPATIBLE_SIGNATURE if mostly_refused(analysis) else Reason.CANARY_FAIL_FAST
        return reject(
            world, done, canary, reason, f"all or nearly all recent answers were bad: {_compared(spec, analysis)}"
        )
    if verdict(analysis.evidence, analysis.design) is Verdict.FAIL:
        reason = Reason.INCOMPATIBLE_SIGNATURE if mostly_refused(analysis) else Reason.CANARY_FAILED
        e = score(analysis.recent[-1].log_rollback)
        text = f"{_compared(spec, analysis)}: E={e} after {analysis.evidence.canary.n} requests"
        return reject(world, done, canary, reason, text)
    if is_overdue(world, spec, state) and spec.canary.analysis.on_inconclusive is OnInconclusive.ROLLBACK:
        text = f"no verdict within maxDuration: {_compared(spec, analysis)}"
        return reject(world, done, canary, Reason.INCONCLUSIVE, text)
    return done


def _compared(spec: Spec, analysis: AnalysisState) -> str:
    """`errors 9.1 % against 0.2 %`, and whether most were late, or requests that the canary would not even take."""
    rates = f"errors {_rate(analysis.evidence.canary)} against {_rate(analysis.evidence.stable)}"
    if mostly_refused(analysis):
        return f"{rates}, mostly requests that it refuses (4xx) and stable answers"
    if not mostly_late(analysis):
        return rates
    left_out = ", and not in these rates: stable's pods, of an earlier image, do not count their own"
    bound = f"{spec.canary_timeout.total_seconds():g}s"
    late = f"mostly late: no whole answer within spec.traffic.canaryTimeout ({bound})"
    return f"{rates}, {late}{left_out if has_unjudged(analysis) else ''}"


def _rate(counts: Counts) -> str:
    return f"{100 * counts.events / counts.n:.3g} %" if counts.n else "none"
