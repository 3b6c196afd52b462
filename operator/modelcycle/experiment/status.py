"""The status of an Experiment: reading the state to resume from, writing the whole of it. Pure.

`inspection` and `sealing` are the write-ahead records: an attempt is written there before its Job is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from modelcycle.api.conditions import MESSAGE_LIMIT, Condition, Outcome, build, timestamp
from modelcycle.api.experiment import STATE_VERSION, ExperimentCondition, ExperimentReason, ExperimentSpec, TrialState
from modelcycle.experiment.history import History
from modelcycle.experiment.ledger import MESSAGE_LIMIT as TRIAL_MESSAGE_LIMIT
from modelcycle.experiment.ledger import Entry
from modelcycle.experiment.results import Problem, number
from modelcycle.experiment.world import World, moment

RECENT: Final = 20
FAST_RETRIES: Final = 5
FIRST_RETRY: Final = timedelta(seconds=60)
LAST_RETRY: Final = timedelta(seconds=3600)


class TaskState(StrEnum):
    """State of an inspection or a sealing."""

    RUNNING = "Running"
    """Its Job exists or is about to."""
    PASSED = "Passed"
    """It reported success."""
    FAILED = "Failed"
    """It failed; another attempt follows after a wait or a change of the spec."""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One write-ahead record."""

    attempt: int
    state: TaskState
    subject: str
    generation: int
    time: datetime
    failures: int = 0
    problem: Problem | None = None

    def retry_at(self) -> datetime:
        """When the next attempt is due after a failure: a minute five times, then doubling up to an hour."""
        doubled = FIRST_RETRY * (1 << min(max(self.failures - FAST_RETRIES, 0), 10))
        return self.time + min(doubled, LAST_RETRY)

    def passed(self, now: datetime) -> "TaskRecord":
        """After success. Failures in a row stay counted until a trial settles."""
        return replace(self, state=TaskState.PASSED, time=now, problem=None)

    def failed(self, problem: Problem, now: datetime) -> "TaskRecord":
        """After a failure."""
        return replace(self, state=TaskState.FAILED, time=now, failures=self.failures + 1, problem=problem)

    def again(self, subject: str, generation: int, now: datetime) -> "TaskRecord":
        """The next attempt."""
        failures = self.failures if subject == self.subject and generation == self.generation else 0
        return TaskRecord(self.attempt + 1, TaskState.RUNNING, subject, generation, now, failures)


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
    sealing: TaskRecord | None
    data: Mapping[str, Any]
    signing_key: Mapping[str, Any]
    model: Mapping[str, Any]


def read_task(raw: Mapping[str, Any] | None) -> TaskRecord | None:
    """A write-ahead record; None when there is none."""
    if not raw:
        return None
    time = moment(raw.get("time"))
    problem = None
    if raw.get("reason"):
        problem = Problem(raw.get("class", ""), raw["reason"], raw.get("message", ""))
    return TaskRecord(
        attempt=int(raw["attempt"]),
        state=TaskState(raw["state"]),
        subject=raw["subject"],
        generation=int(raw.get("generation", 0)),
        time=time or datetime.fromisoformat("1970-01-01T00:00:00+00:00"),
        failures=int(raw.get("failures", 0)),
        problem=problem,
    )


def write_task(record: TaskRecord) -> dict[str, Any]:
    """The record as status JSON."""
    raw: dict[str, Any] = {
        "attempt": record.attempt,
        "state": record.state.value,
        "subject": record.subject,
        "generation": record.generation,
        "time": timestamp(record.time),
        "failures": record.failures,
    }
    if record.problem is not None:
        raw |= {"class": record.problem.failure_class, "reason": record.problem.reason}
        raw["message"] = record.problem.message[:MESSAGE_LIMIT]
    return raw


def conditions(world: World, standing: Standing) -> list[dict[str, Any]]:
    """All conditions from one standing."""
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
        "conditions": conditions(world, standing),
    }


def render(world: World, standing: Standing, progress: Progress) -> dict[str, Any]:
    """The whole status."""
    status: dict[str, Any] = {
        "stateVersion": STATE_VERSION,
        "observedGeneration": world.generation,
        "startTime": world.status.get("startTime") or timestamp(world.now),
        "conditions": conditions(world, standing),
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
