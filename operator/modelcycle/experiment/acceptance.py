"""Whether the best trial may be sealed: its metrics within their bounds, and not worse than the deployed model. Pure.

Owns `status.acceptance`: a verdict belongs to one candidate under one edition of the spec, and is not formed twice. Seals nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from modelcycle.api.acceptance import AcceptanceReason, AcceptanceVerdict, Bound, NotWorseThan
from modelcycle.api.conditions import MESSAGE_LIMIT, Outcome
from modelcycle.api.edition import read_edition, write_edition
from modelcycle.api.experiment import Direction, ExperimentReason, ExperimentSpec
from modelcycle.experiment import comparison
from modelcycle.experiment.comparison import Comparison, Deployed, Figures
from modelcycle.experiment.explain import condition_reason, describe
from modelcycle.experiment.history import direction
from modelcycle.experiment.ledger import Entry
from modelcycle.experiment.results import number
from modelcycle.experiment.status import Standing
from modelcycle.experiment.world import World

_DIGITS: Final = (4, 6, 9, 17)
NOTHING_SEALED: Final = "nothing is sealed"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Where the acceptance stands after this look. `standing`: why nothing is sealed now; None when the trial is accepted."""

    standing: Standing | None
    comparison: Comparison
    shown: Mapping[str, Any] = field(default_factory=dict)
    """`status.acceptance`; empty while there is no verdict."""


def idle(world: World) -> Judgement:
    """Nothing to judge now: what there was stays."""
    return Judgement(None, comparison.stored(world), dict(world.status.get("acceptance") or {}))


def words(world: World, best: Entry) -> str:
    """What the stored verdict says in favour of this candidate; may be empty."""
    kept = world.status.get("acceptance") or {}
    favours = kept.get("candidateDigest") == best.candidate_digest and kept.get("verdict") == AcceptanceVerdict.ACCEPTED
    return str(kept.get("message", "")) if favours else ""


def judge(world: World, spec: ExperimentSpec, best: Entry) -> Judgement:
    """The stored verdict, or the first demand that is not met, or acceptance."""
    wanted, before = spec.acceptance, idle(world)
    if not wanted.demanded:
        return Judgement(None, before.comparison)
    if _is_of(before.shown, world, best):
        refused = before.shown["verdict"] == AcceptanceVerdict.REFUSED
        return Judgement(_stalled(before.shown) if refused else None, before.comparison, before.shown)
    about = {"trial": best.index, "candidateDigest": best.candidate_digest} | write_edition(world.edition)
    for bound in wanted.bounds:
        broken = _broken(bound, best)
        if broken:
            shown = about | {"verdict": AcceptanceVerdict.REFUSED.value} | broken
            return Judgement(_stalled(shown), before.comparison, shown)
    if wanted.not_worse_than is None:
        return _accepted(before.comparison, about, AcceptanceReason.WITHIN_BOUNDS, "within spec.acceptance")
    return _compare(world, spec, best, wanted.not_worse_than, about)


def _is_of(shown: Mapping[str, Any], world: World, best: Entry) -> bool:
    is_same = bool(shown) and shown.get("candidateDigest") == best.candidate_digest
    return is_same and not world.edition.is_edit_of(read_edition(shown))


def _stalled(shown: Mapping[str, Any]) -> Standing:
    return Standing(Outcome.STALLED, ExperimentReason(shown["reason"]), str(shown["message"]))


def _accepted(
    found: Comparison, about: Mapping[str, Any], reason: AcceptanceReason, message: str, **facts: Any
) -> Judgement:
    verdict = {"verdict": AcceptanceVerdict.ACCEPTED.value, "reason": reason.value, "message": message}
    return Judgement(None, found, {**about, **verdict, **facts})


def _broken(bound: Bound, best: Entry) -> dict[str, Any] | None:
    """What a verdict says of a bound that is not kept."""
    text, who = dict(best.metrics).get(bound.metric), f"trial {best.index}"
    if number(text) is None or text is None:
        known = ", ".join(name for name, _ in best.metrics)
        message = (
            f"{who} has no metric {bound.metric}: {NOTHING_SEALED}; correct spec.acceptance, its metrics are {known}"
        )
        return {
            "reason": ExperimentReason.ACCEPTANCE_METRIC_MISSING.value,
            "message": message[:MESSAGE_LIMIT],
            "metric": bound.metric,
        }
    value = Decimal(text)
    limits = (
        (ExperimentReason.BELOW_MINIMUM, "minimum", bound.minimum, bound.minimum is not None and value < bound.minimum),
        (ExperimentReason.ABOVE_MAXIMUM, "maximum", bound.maximum, bound.maximum is not None and value > bound.maximum),
    )
    for reason, name, limit, is_broken in limits:
        if is_broken and limit is not None:
            ours, theirs = _apart(text, str(limit))
            message = (
                f"{who}: {bound.metric} {ours}, spec.acceptance has the {name} {theirs}: {NOTHING_SEALED}; "
                f"search further (maxTrialCount) or change the {name}"
            )
            facts = {"metric": bound.metric, "candidate": text, name: str(limit)}
            return {"reason": reason.value, "message": message, **facts}
    return None


# Beside the deployed model ----------------------------------------------------------------------------------------


def _compare(
    world: World, spec: ExperimentSpec, best: Entry, wanted: NotWorseThan, about: Mapping[str, Any]
) -> Judgement:
    begun = comparison.goes_on(world, best)
    if begun is None:
        deployed, before = comparison.stable(world.deployment), comparison.stored(world)
        named = f"ModelDeployment {wanted.deployment}"
        if deployed is None:
            text = f"{named} serves no model yet: nothing to compare with"
            return _accepted(before, about, AcceptanceReason.NO_DEPLOYED_MODEL, text, modelDeployment=wanted.deployment)
        if deployed.digest == best.candidate_digest:
            facts = {"modelDeployment": wanted.deployment, "deployedDigest": deployed.digest}
            return _accepted(before, about, AcceptanceReason.SAME_MODEL, f"{named} serves this very model", **facts)
        begun = comparison.begin(world, best, deployed)
    found = comparison.look(world, spec, best, begun)
    assert found.record is not None
    assert found.deployed is not None
    if found.figures is not None:
        return _verdict(spec, best, wanted, about, found, found.figures)
    what = f"trial {best.index} with model {_short(found.deployed)} of ModelDeployment {wanted.deployment}"
    problem = found.record.problem
    if problem is not None:
        text = f"comparing {what}: {describe(problem, world.namespace, spec.key_secret)}"
        return Judgement(Standing(Outcome.STALLED, condition_reason(problem), f"{text}: {NOTHING_SEALED}"), found)
    text = f"comparing {what}"
    if found.note is not None:
        text += f"; {describe(found.note, world.namespace, spec.key_secret)} (trying again)"
    return Judgement(Standing(Outcome.RECONCILING, ExperimentReason.COMPARING, text), found)


def _verdict(
    spec: ExperimentSpec,
    best: Entry,
    wanted: NotWorseThan,
    about: Mapping[str, Any],
    found: Comparison,
    figures: Figures,
) -> Judgement:
    assert found.deployed is not None
    ours, theirs = Decimal(figures.candidate), Decimal(figures.deployed)
    lower = direction(spec, figures.metric) is Direction.MINIMIZE
    is_worse = ours > theirs + wanted.tolerance if lower else ours < theirs - wanted.tolerance
    facts = {
        "modelDeployment": wanted.deployment,
        "metric": figures.metric,
        "candidate": figures.candidate,
        "deployed": figures.deployed,
        "tolerance": str(wanted.tolerance),
        "deployedDigest": found.deployed.digest,
        "rows": figures.rows,
    }
    text = _measured(figures, found.deployed, wanted)
    if not is_worse:
        return _accepted(found, about, AcceptanceReason.NOT_WORSE, f"not worse: {text}", **facts)
    message = (
        f"trial {best.index} is worse than what serves: {text}: {NOTHING_SEALED}, the old model stays; "
        f"train on better data, search further (maxTrialCount) or raise the tolerance in spec.acceptance"
    )
    verdict = {"verdict": AcceptanceVerdict.REFUSED.value, "reason": ExperimentReason.WORSE_THAN_DEPLOYED.value}
    shown = {**about, **verdict, "message": message, **facts}
    return Judgement(_stalled(shown), found, shown)


def _measured(figures: Figures, deployed: Deployed, wanted: NotWorseThan) -> str:
    ours, theirs = _apart(figures.candidate, figures.deployed)
    allowed = f", tolerance {wanted.tolerance}" if wanted.tolerance else ""
    return (
        f"{figures.metric} {ours} against {theirs} of model {_short(deployed)} of ModelDeployment {wanted.deployment} "
        f"on the same {figures.rows} hold-out rows{allowed}"
    )


def _short(deployed: Deployed) -> str:
    return deployed.digest.removeprefix("sha256:")[:8]


def _apart(one: str, other: str) -> tuple[str, str]:
    """Both numbers with as few digits as tell them apart."""
    pairs = [(f"{float(one):.{digits}g}", f"{float(other):.{digits}g}") for digits in _DIGITS]
    return next((pair for pair in pairs if pair[0] != pair[1]), pairs[0])
