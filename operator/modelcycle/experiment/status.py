"""The status of an Experiment: reading the state to resume from, writing the whole of it. Pure.

`inspection`, `comparison` and `sealing` are the write-ahead records: an attempt is written there before its Job is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelcycle.api.conditions import Condition, Outcome, build, timestamp
from modelcycle.api.experiment import STATE_VERSION, ExperimentCondition, ExperimentReason, ExperimentSpec, TrialState
from modelcycle.experiment import keeping
from modelcycle.experiment.history import History
from modelcycle.experiment.ledger import MESSAGE_LIMIT as TRIAL_MESSAGE_LIMIT
from modelcycle.experiment.ledger import Entry
from modelcycle.experiment.results import number
from modelcycle.experiment.world import World
from modelcycle.jobs.facts import FactsReason
from modelcycle.jobs.records import TaskRecord, read_task, write_task

RECENT: Final = 20


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that a status shows, besides what it keeps from before."""

    outcome: Outcome
    reason: ExperimentReason
    message: str
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """The facts of the search that go into a status."""

    spec: ExperimentSpec
    planned: int
    history: History
    running: int
    best: Entry | None
    inspection: TaskRecord
    comparison: Mapping[str, Any]
    acceptance: Mapping[str, Any]
    sealing: TaskRecord | None
    data: Mapping[str, Any]
    signing_key: Mapping[str, Any]
    model: Mapping[str, Any]
    candidates: Mapping[str, Any]


def conditions(world: World, standing: Standing, facts: Condition | None) -> list[dict[str, Any]]:
    """All conditions from one standing, and what is to be said of the facts."""
    done = standing.outcome is Outcome.READY
    domain = [Condition(ExperimentCondition.SUCCEEDED, done, standing.reason, standing.message)]
    if standing.suspended:
        domain.append(
            Condition(
                ExperimentCondition.SUSPENDED,
                True,
                ExperimentReason.SUSPENDED,
                "spec.suspend is true: no new Job starts",
            )
        )
    if facts is not None:
        domain.append(facts)
    return build(
        world.status.get("conditions") or (),
        outcome=standing.outcome,
        reason=standing.reason,
        message=standing.message,
        generation=world.generation,
        now=world.now,
        domain=domain,
    )


def bare(world: World, standing: Standing) -> dict[str, Any]:
    """A status that changes nothing but the conditions: the spec could not be read."""
    kept = {k: v for k, v in world.status.items() if k not in ("conditions", "observedGeneration")}
    return {
        **kept,
        "stateVersion": STATE_VERSION,
        "observedGeneration": world.generation,
        "startTime": world.status.get("startTime") or timestamp(world.now),
        "conditions": conditions(world, standing, _facts_before(world)),
    }


def _facts_before(world: World) -> Condition | None:
    before = (c for c in world.status.get("conditions") or () if c.get("type") == ExperimentCondition.FACTS_INCOMPLETE)
    return next((Condition(c["type"], True, c["reason"], c["message"]) for c in before), None)


def _facts(progress: Progress) -> Condition | None:
    """From the records of the Jobs that count, in which it is stored together with their results."""
    records = (progress.inspection, read_task(progress.comparison), progress.sealing)
    jobs = zip(("inspect", "compare", "seal"), records, strict=True)
    trials = ((f"trial {e.index}", e.lacks) for e in progress.history.settled.values())
    lacks = {name: record.lacks for name, record in jobs if record is not None} | dict(trials)
    found = keeping.incomplete({name: reason for name, reason in lacks.items() if reason in set(FactsReason)})
    return Condition(ExperimentCondition.FACTS_INCOMPLETE, True, *found) if found else None


def render(world: World, standing: Standing, progress: Progress) -> dict[str, Any]:
    """The whole status."""
    status: dict[str, Any] = {
        "stateVersion": STATE_VERSION,
        "observedGeneration": world.generation,
        "startTime": world.status.get("startTime") or timestamp(world.now),
        "conditions": conditions(world, standing, _facts(progress)),
        "summary": _summary(progress),
        "trials": counts(progress),
        "inspection": write_task(progress.inspection),
    }
    if standing.outcome is Outcome.READY:
        status["completionTime"] = world.status.get("completionTime") or timestamp(world.now)
    optional = {
        "failures": [{"class": k, "count": v} for k, v in sorted(progress.history.failures().items())],
        "currentOptimalTrial": _optimal(progress),
        "recentTrials": [_recent(e) for e in progress.history.entries[-RECENT:]],
        "data": dict(progress.data),
        "signingKey": dict(progress.signing_key),
        "model": dict(progress.model),
        "candidates": dict(progress.candidates),
        "acceptance": dict(progress.acceptance),
        "comparison": dict(progress.comparison),
        "sealing": write_task(progress.sealing) if progress.sealing else None,
    }
    return status | {k: v for k, v in optional.items() if v}


def counts(progress: Progress) -> dict[str, int]:
    """`status.trials`."""
    history = progress.history
    return {
        "total": len(history.settled) + progress.running,
        "succeeded": history.count(TrialState.SUCCEEDED),
        "running": progress.running,
        "failed": history.count(TrialState.FAILED),
        "metricsUnavailable": history.count(TrialState.METRICS_UNAVAILABLE),
    }


def best_text(entry: Entry | None) -> str:
    """`metric=value` in four significant digits; empty without a best trial."""
    if entry is None or entry.objective_metric is None:
        return ""
    value = number(dict(entry.metrics).get(entry.objective_metric))
    return f"{entry.objective_metric}={value:.4g}" if value is not None else ""


def _summary(progress: Progress) -> dict[str, str]:
    summary = {"trials": f"{len(progress.history.settled)}/{progress.planned}"}
    if progress.best is not None:
        summary["best"] = best_text(progress.best)
    if progress.model:
        summary["model"] = str(progress.model["digest"]).removeprefix("sha256:")[:8]
    return summary


def _optimal(progress: Progress) -> dict[str, Any] | None:
    entry = progress.best
    if entry is None:
        return None
    metrics = dict(entry.metrics)
    others = progress.spec.objective.additional if progress.spec.objective else tuple(metrics)
    wanted = [entry.objective_metric, *others]
    optimal: dict[str, Any] = {
        "index": entry.index,
        "observation": {
            "metrics": [
                {"name": n, "value": metrics[n]} for n in dict.fromkeys(wanted) if n is not None and n in metrics
            ]
        },
    }
    if entry.parameters:
        optimal["parameterAssignments"] = [{"name": k, "value": v} for k, v in entry.parameters]
    if entry.candidate_digest:
        optimal["candidateDigest"] = entry.candidate_digest
    return optimal


def _recent(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {"index": entry.index, "attempt": entry.attempt, "state": entry.state.value}
    if text := best_text(entry):
        row["objective"] = text
    if entry.reason:
        row |= {"reason": entry.reason, "message": entry.message[:TRIAL_MESSAGE_LIMIT]}
    return row
