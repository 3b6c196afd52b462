"""The whole status of a ModelDeployment as fields. Pure.

Owns what people see: summary, weights, evidence in numbers. Decides nothing; the state it renders is read back by `status`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelcycle.api import conditions
from modelcycle.api.conditions import timestamp
from modelcycle.api.modeldeployment import Spec
from modelcycle.api.rollout import percent
from modelcycle.deployment import status
from modelcycle.deployment.analysis import ERRORS, AnalysisState, score
from modelcycle.deployment.forecast import duration, remaining
from modelcycle.deployment.manifests import service_url
from modelcycle.deployment.repairs import Altered
from modelcycle.deployment.routing import router
from modelcycle.deployment.status import State
from modelcycle.deployment.transition import Transition, short
from modelcycle.deployment.verdict import Verdict, domain_conditions
from modelcycle.deployment.world import World
from modelcycle.stats import evidence
from modelcycle.stats.evidence import Counts

NONE: Final = "-"


def render(
    world: World, done: Transition, answer: Verdict, place: Mapping[str, Any], found: Sequence[Altered]
) -> dict[str, Any]:
    """`.status`. `place` is the field that says where the evidence is kept; `found` are children that others changed."""
    spec, state = world.spec, done.state
    fields = status.render(state, world.ready)
    if spec is None:
        fields |= _kept(world.raw_status, fields)
    elif state.canary:
        fields["canary"] = fields["canary"] | {
            "stepCount": len(spec.canary.steps),
            "weight": _weight(world, spec, state),
        }
    if spec is not None and state.analysis and state.analysis.evidence.looks:
        fields["analysis"] = {**_analysis(done, state.analysis), **place}
    return {
        **fields,
        "observedGeneration": world.generation,
        "endpoint": service_url(world.namespace, world.name),
        "summary": _summary(state),
        "conditions": conditions.build(
            world.raw_status.get("conditions", ()),
            outcome=answer.outcome,
            reason=answer.reason,
            message=answer.message,
            generation=world.generation,
            now=world.now,
            domain=domain_conditions(world, state, found),
        ),
    }


def _kept(before: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """With a spec that cannot be read nothing is judged, and nothing that was counted is forgotten."""
    kept = {"analysis": before["analysis"]} if "analysis" in before else {}
    canary = before.get("canary", {})
    shown = {name: canary[name] for name in ("stepCount", "weight") if name in canary}
    return kept | ({"canary": fields["canary"] | shown} if "canary" in fields else {})


def _summary(state: State) -> dict[str, str]:
    return {
        "stable": short(state.stable.digest) if state.stable else NONE,
        "canary": short(state.canary.ref.digest) if state.canary else NONE,
        "weight": percent(state.traffic.share) if state.canary and state.stable else NONE,
    }


def _weight(world: World, spec: Spec, state: State) -> dict[str, str]:
    desired = percent(state.traffic.share)
    before = world.raw_status.get("canary", {}).get("weight", {}).get("applied", "0")
    realised = state.analysis.realised if state.analysis else None
    return {
        "desired": desired,
        "applied": desired if router(spec).is_applied(world, state.traffic) else before,
        "realised": NONE if realised is None else f"{100 * realised:.3g}",
    }


def _analysis(done: Transition, analysis: AnalysisState) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "rollout": analysis.rollout,
        "looks": analysis.evidence.looks,
        "phi": f"{analysis.dispersion.phi:.3g}",
        "metrics": [_metric(done, analysis)],
    }
    return fields | ({"lastLookAt": timestamp(analysis.last_look_at)} if analysis.last_look_at else {})


def _metric(done: Transition, analysis: AnalysisState) -> dict[str, Any]:
    design = analysis.design
    verdict = evidence.verdict(analysis.evidence, design)
    if done.state.canary and not done.counts.is_usable:
        verdict = evidence.Verdict.PROVIDER_ERROR
    fields: dict[str, Any] = {
        "name": ERRORS,
        "verdict": verdict.value,
        "canary": _counts(analysis.evidence.canary),
        "stable": _counts(analysis.evidence.stable),
        "evidence": {
            "rollback": score(evidence.log_rollback(analysis.evidence)),
            "rollbackAt": score(design.log_rollback_at),
            "promote": score(evidence.log_promote(analysis.evidence, design)),
            "promoteAt": score(design.log_promote_at),
        },
    }
    needed = remaining(analysis) if done.state.canary else None
    if needed is None:
        return fields
    rate = analysis.rate
    return fields | {"needed": needed} | ({"eta": duration(needed / rate)} if rate else {})


def _counts(counts: Counts) -> Mapping[str, int]:
    return {"n": counts.n, "events": counts.events}
