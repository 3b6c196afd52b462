"""The evidence of a rollout in words, and every look of it computed again from what the operator kept.

Owns the check of a verdict by its reader: with the design that the rollout began with, whatever the spec says now, and with the dispersion
and the counts that each look was judged by. What was not kept is not guessed: then the stored scores stand alone, and it is said so.
"""

import math
from collections.abc import Sequence
from typing import Final

from modelcycle.api.conditions import timestamp
from modelcycle.api.fields import SpecError, part
from modelcycle.api.rollout import parse_strategy
from modelcycle.cli import views
from modelcycle.cli.views import Metric, Object, columns, items, text
from modelcycle.deployment.analysis import AnalysisState, LookRecord, recent_looks, replay, score
from modelcycle.deployment.evidence_entries import Found, read
from modelcycle.stats.evidence import Design, Evidence, fail_fast, log_absolute, log_promote, log_rollback, observe

CLOSE: Final = 1e-6
"""Logarithms of scores that differ by less are the same: another processor rounds their last digit differently."""
_HEAD: Final = ("AT", "CANARY BAD", "STABLE BAD")
_SCORES: Final = ("E SO FAR", "P SO FAR", "VERDICT")
_CAUSES: Final = ("refused", "rescued", "late")


def place(obj: Object) -> str:
    """Name of the ConfigMap that keeps the evidence; "" where status has it, or there is none."""
    return text(part(_analysis(obj), "stateRef"), "name")


def found(obj: Object, config_map: Object | None) -> Found:
    """The evidence, of the object itself or of the ConfigMap that it names."""
    return read(part(obj, "status"), part(config_map or {}, "data"))


def lines(obj: Object, metric: Metric, kept: Found) -> tuple[str, ...]:
    """What was counted, both scores, and at which bars they decide."""
    raw, state = _analysis(obj), kept.analysis
    counted = (
        f"{text(raw, 'looks') or '0'} looks, the last at {text(raw, 'lastLookAt') or '-'},"
        f" dispersion of stable's pods {text(raw, 'phi') or '1'}",
        f"canary: {metric.canary.rate} bad; stable: {metric.stable.rate} bad",
    )
    if state is None:
        why = kept.problem or "its form in status.analysis.state is not known here"
        unread = f"what this rollout asks of its evidence cannot be read: {why}; only stored scores are shown"
        scores: tuple[str, ...] = (
            f"E, evidence of harm: {metric.rollback.text}",
            f"P, evidence of no harm: {metric.promote.text}",
            unread,
        )
    else:
        scores = _meaning(state, metric) + _edited(obj, state.design)
    more = f"about {metric.still} more canary requests until promotion if all goes as so far ({metric.eta})"
    return (*counted, *scores, *((more,) if metric.needed else ()))


def looks(obj: Object, kept: Found) -> tuple[str, ...]:
    """The looks that are kept, oldest first, and both scores computed again from them."""
    state = kept.analysis
    if state is None:
        history = items(_analysis(obj), "history")
        return columns([(*_HEAD, *_SCORES), *map(_stored, history)]) if history else ()
    if not state.recent:
        return ()
    causes = [name for name in _CAUSES if any(_cause(item, name) for item in state.recent)]
    head = (*_HEAD, *(name.upper() for name in causes), "PHI", "E ALONE", "P ALONE", *_SCORES)
    return (*columns([head, *(_row(item, state.design, causes) for item in state.recent)]), *_again(state))


def _analysis(obj: Object) -> Object:
    return part(part(obj, "status"), "analysis")


def _meaning(state: AnalysisState, metric: Metric) -> tuple[str, ...]:
    design, counted = state.design, state.evidence.canary
    relative = score(state.evidence.log_p_relative)
    absolute = score(log_absolute(counted.n, counted.events, design.harm_floor))
    return (
        f"E, evidence of harm: {metric.rollback.text}. At {1 / design.alpha:g} the canary is rolled back: one that is no worse"
        f" than stable gets there in at most {design.alpha * 100:g} of 100 rollouts",
        f"P, evidence of no harm: {metric.promote.text}. At {1 / design.beta:g} it is promoted: one that is harmful (at least"
        f" {design.harm_ratio:g} times stable's odds and {design.harm_floor * 100:g} % bad) gets there in at most"
        f" {design.beta * 100:g} of 100 rollouts",
        f"P is the mean of {relative} against stable and {absolute} against the floor of {design.harm_floor * 100:g} %",
    )


def _edited(obj: Object, design: Design) -> tuple[str, ...]:
    """Said where the spec asks something else by now."""
    try:
        asked = parse_strategy(part(part(part(obj, "spec"), "strategy"), "canary")).analysis
    except SpecError:
        return ()
    if Design(asked.alpha, asked.beta, asked.harm_ratio, asked.harm_floor) == design:
        return ()
    now = (
        f"alpha {asked.alpha:g}, beta {asked.beta:g}, harmRatio {asked.harm_ratio:g} and harmFloor {asked.harm_floor:g}"
    )
    return (f"the spec was edited since this rollout began: {now} hold from the next one on",)


def _again(state: AnalysisState) -> tuple[str, ...]:
    """Both scores from all looks, where all of them are kept; and fail-fast, which asks the last two alone."""
    sudden = (
        ("fail-fast: all or nearly all answers of the last looks are bad",) if fail_fast(recent_looks(state)) else ()
    )
    earlier = state.evidence.looks - len(state.recent)
    if earlier:
        return (f"{earlier} earlier looks are part of the running scores and no longer listed", *sudden)
    again = replay(state)
    if again is None:
        unkept = "the operator that made these looks did not keep the dispersion of each"
        return (f"the running scores are as stored and cannot be computed again: {unkept}", *sudden)
    design, last = state.design, again[-1]
    scores = f"E = {score(log_rollback(last))}, P = {score(log_promote(last, design))}"
    differs = "" if _is_same(last, state.evidence, design) else ": not what is stored, another release computed that"
    return (f"computed again from all {len(again)} looks: {scores}{differs}", *sudden)


def _is_same(one: Evidence, other: Evidence, design: Design) -> bool:
    pairs = ((log_rollback(one), log_rollback(other)), (log_promote(one, design), log_promote(other, design)))
    counts = (one.canary, one.stable) == (other.canary, other.stable)
    return counts and all(math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE) for a, b in pairs)


def _row(item: LookRecord, design: Design, causes: Sequence[str]) -> tuple[str, ...]:
    look = item.look
    counts = (f"{arm.events}/{arm.n}" for arm in (look.canary, look.stable))
    so_far = (score(item.log_rollback), score(item.log_promote), item.verdict.value)
    return timestamp(item.at), *counts, *(str(_cause(item, name)) for name in causes), *_alone(item, design), *so_far


def _alone(item: LookRecord, design: Design) -> tuple[str, str, str]:
    """The dispersion of one look, and what E and P would be were it the only one."""
    if item.phi is None:
        return views.NONE, views.NONE, views.NONE
    alone = observe(Evidence(), item.look, design, item.phi)
    return f"{item.phi:.3g}", score(log_rollback(alone)), score(log_promote(alone, design))


def _cause(item: LookRecord, name: str) -> int:
    return {"refused": item.refused, "rescued": item.look.rescued, "late": item.look.late}[name]


def _stored(raw: Object) -> tuple[str, ...]:
    arms = (views.arm(part(raw, name)) for name in ("canary", "stable"))
    so_far = (text(raw, name) or views.NONE for name in ("rollback", "promote", "verdict"))
    return text(raw, "at"), *(f"{arm.events}/{arm.n}" for arm in arms), *so_far
