"""Looking at the counts of both arms, and taking a canary back when they say so. Pure.

Owns the look (one reading folded into evidence), the order of the causes for a rollback, and the refusal of another form. Must never move a
canary on.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

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
from modelcycle.deployment.counting import Fit, fit, is_compared, is_overdue, lacking
from modelcycle.deployment.status import Canary, Grounds, State
from modelcycle.deployment.transition import Transition, is_return, reject
from modelcycle.deployment.unexported import UNKNOWN_IMAGE, image_of
from modelcycle.deployment.world import World
from modelcycle.stats.evidence import Counts, Design, Verdict, fail_fast, verdict

NAMED: Final = 5
"""Inputs that a message names."""
NAME_LENGTH: Final = 80
"""Characters of each."""


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
    if not is_compared(canary) or not done.counts.is_usable:
        return done
    if analysis is None:
        return _run_out(world, spec, done, canary)
    if canary.grounds is Grounds.PERSON and mostly_refused(analysis):
        return done  # whoever ordered another form was told that clients have to change; stable answers what it refuses until then
    if fail_fast(recent_looks(analysis)):
        reason = Reason.INCOMPATIBLE_SIGNATURE if mostly_refused(analysis) else Reason.CANARY_FAIL_FAST
        return reject(
            world,
            done,
            canary,
            reason,
            f"all or nearly all recent answers were bad: {_compared(world, spec, done.state, analysis)}",
        )
    if verdict(analysis.evidence, analysis.design) is Verdict.FAIL:
        reason = Reason.INCOMPATIBLE_SIGNATURE if mostly_refused(analysis) else Reason.CANARY_FAILED
        e = score(analysis.recent[-1].log_rollback)
        text = f"{_compared(world, spec, done.state, analysis)}: E={e} after {analysis.evidence.canary.n} requests"
        return reject(world, done, canary, reason, text)
    return _run_out(world, spec, done, canary)


def _run_out(world: World, spec: Spec, done: Transition, canary: Canary) -> Transition:
    """The time for evidence is over and the spec says what that means. A canary that nobody asked has no evidence either."""
    if spec.canary.analysis.on_inconclusive is not OnInconclusive.ROLLBACK or not is_overdue(world, spec, done.state):
        return done
    analysis = done.state.analysis
    heard = analysis is not None and (analysis.evidence.canary.n > 0 or has_unjudged(analysis))
    counted = (
        _compared(world, spec, done.state, analysis) if analysis and heard else "no request has reached the canary"
    )
    return reject(world, done, canary, Reason.INCONCLUSIVE, f"no verdict within maxDuration: {counted}")


def refuse_misfit(world: World, spec: Spec, done: Transition) -> Transition:
    """Reject a canary that cannot stand in for stable, before it gets a request. Looked at after the requests of people: PromoteFull
    is the way over a change that is meant. What served until a moment ago, and is gone back to, is not asked."""
    canary, stable = done.state.canary, done.state.stable
    if canary is None or stable is None or canary.grounds is Grounds.PERSON or is_return(done.state, canary):
        return done
    found = fit(world, canary.ref.revision, stable.revision)
    if not found.is_refused:
        return done
    names = lacking(world, canary.ref.revision, stable.revision) if found is Fit.OTHER_INPUTS else ()
    text = f"{_MISFITS[found]}{_named(names)}; PromoteFull with a reason promotes it all the same"
    return reject(world, done, canary, Reason.INCOMPATIBLE_SIGNATURE, text)


_MISFITS: Final = {
    Fit.OTHER_INPUTS: "its inputs are not those of stable: others, another order, or no answer where a value is missing",
    Fit.OTHER_OUTPUTS: "its answers have another form than those of stable: other names, other types or other classes",
}


def _named(names: Sequence[str]) -> str:
    """Inputs that stable does not take. A name is a text of anybody: as JSON it stays on its line."""
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f" (it needs {', '.join(json.dumps(name[:NAME_LENGTH]) for name in names[:NAMED])}{more}, which stable does not take)"


def _compared(world: World, spec: Spec, state: State, analysis: AnalysisState) -> str:
    """`errors 9.1 % against 0.2 %`, and whether most were late, or requests that the canary would not even take."""
    rates = f"errors {_rate(analysis.evidence.canary)} against {_rate(analysis.evidence.stable)}"
    if mostly_refused(analysis):
        return f"{rates}, mostly requests that it refuses (4xx) and stable answers"
    if not mostly_late(analysis):
        return rates
    image = image_of(world, state.stable.revision) if state.stable else UNKNOWN_IMAGE
    left_out = f", and not in these rates: stable's pods, of {image}, do not count their own"
    bound = f"{spec.canary_timeout.total_seconds():g}s"
    late = f"mostly late: no whole answer within spec.traffic.canaryTimeout ({bound})"
    return f"{rates}, {late}{left_out if has_unjudged(analysis) else ''}"


def _rate(counts: Counts) -> str:
    return f"{100 * counts.events / counts.n:.3g} %" if counts.n else "none"
