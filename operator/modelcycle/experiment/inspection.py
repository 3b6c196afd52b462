"""The inspect Job's life: attempt, result, pinned data, retry. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from modelcycle.api.experiment import ExperimentSpec, TrialReason, TrialState
from modelcycle.experiment import tasks
from modelcycle.experiment.manifests import JobOrder
from modelcycle.experiment.trials import Trials
from modelcycle.experiment.world import World
from modelcycle.jobs.records import Finder, TaskRecord, TaskState, going_on, read_task
from modelcycle.jobs.results import Lost, Problem, Unfinished, of_failure, read
from modelcycle_bundle.contract import FailureClass, FailureReason, InspectResult, TaskKind

STOPPING: Final = frozenset({FailureClass.DATA, FailureClass.POLICY})
"""Failures that stop running trials; others leave them to finish."""

NAMED: Final = 120
"""Characters of an estimator's name in a message."""

OF_THE_BYTES: Final = frozenset(
    {
        FailureReason.DATA_UNREADABLE,
        FailureReason.TARGET_MISSING,
        FailureReason.TARGET_UNUSABLE,
        FailureReason.FEATURE_NOT_NUMERIC,
    }
)
"""Faults of a table that was read. OutOfMemory is none: a node that is short of memory kills below the limit too."""

BLIND: Final = frozenset({FailureReason.TASK_INVALID, FailureReason.INTERNAL, FailureReason.OUT_OF_MEMORY})
"""Failures of a program that has looked at nothing: that it saw no key means nothing."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """The inspection after this look. `order` is the Job it needs, `note` what it reports while it goes on."""

    record: TaskRecord
    data: Mapping[str, Any]
    signing_key: Mapping[str, Any]
    order: JobOrder | None = None
    note: Problem | None = None
    due: datetime | None = None

    @property
    def passed(self) -> bool:
        """Key and data were seen and are good."""
        return self.record.state is TaskState.PASSED

    @property
    def first_try(self) -> bool:
        """Trials start together with the very first attempt, to save its time."""
        return self.record.state is TaskState.RUNNING and self.record.attempt == 0

    @property
    def stops_trials(self) -> bool:
        """Running trials cannot come to anything."""
        problem = self.record.problem
        if self.record.state is not TaskState.FAILED or problem is None:
            return False
        return problem.failure_class in STOPPING or problem.reason == FailureReason.NO_SIGNING_KEY


def permanent(world: World, spec: ExperimentSpec, record: TaskRecord) -> frozenset[str]:
    """Reasons that only an edit mends: a spec that contradicts itself, an estimator that is neither scikit-learn's nor in the operator's
    settings, and faults of the very bytes that `spec.data.digest` pins. Of other bytes nothing is known: the right ones may come back."""
    problem = record.problem
    if problem is None:
        return frozenset()
    named = {step.estimator for step in spec.steps if step.estimator[:NAMED] in problem.message}
    is_allowed_now = bool(named.intersection(world.extra_estimators))
    are_pinned = bool(spec.data.digest) and problem.data_digest == spec.data.digest
    return frozenset(
        {FailureReason.INVALID_SPEC}
        | (frozenset() if is_allowed_now else {FailureReason.ESTIMATOR_NOT_ALLOWED})
        | (OF_THE_BYTES if are_pinned else frozenset())
    )


def held(world: World, spec: ExperimentSpec, inspection: Inspection, problem: Problem) -> Inspection:
    """A trial has found what holds the whole Experiment: the inspection is repeated before any other trial starts."""
    record = inspection.record.failed(problem, world.now, Finder.TRIAL)
    return replace(inspection, record=record, order=None, due=record.due(permanent(world, spec, record)))


def after_trials(record: TaskRecord, found: Trials) -> TaskRecord:
    """The inspection's record after this look at the trials: one that settles ends the failures, and refutes the last cause."""
    settled = [e for e in found.ended if e.state is not TrialState.DISCARDED]
    no_room = record.problem is not None and record.problem.reason == TrialReason.UNSCHEDULABLE
    has_room = no_room and any(pod.running for job in found.running for pod in job.pods)
    if has_room or any(e.failure_class != FailureClass.INFRASTRUCTURE for e in settled):
        record = record.cleared()
    return replace(record, failures=0) if settled else record


def look(world: World, spec: ExperimentSpec, *, keep_pin: bool) -> Inspection:
    """Where the inspection stands. `keep_pin`: a trial has succeeded on the pinned data, so other data is a failure."""
    record = _current(world, spec)
    same = (before := read_task(world.status.get("inspection"))) is not None and before.subject == record.subject
    data = dict(world.status.get("data") or {}) if same else {}
    key = dict(world.status.get("signingKey") or {}) if same else {}
    if record.state is not TaskState.RUNNING:
        return Inspection(record, data, key, due=record.due(permanent(world, spec, record)))
    job = world.job_of(TaskKind.INSPECT, 0, record.attempt)
    if job is None:
        pin = spec.data.digest or (data.get("digest") if keep_pin else None)
        order = JobOrder(TaskKind.INSPECT, 0, record.attempt, tasks.inspect(spec, pin))
        return Inspection(record, data, key, order)
    match read(InspectResult, job, world.now):
        case Unfinished(note, due):
            return Inspection(record, data, key, note=note, due=due)
        case Lost(problem) | (Problem() as problem):
            found = _failed(record, problem, world.now, data, key)
        case result:
            found = _told(record, result, world.now, data)
    ended = replace(found.record, lacks=job.lacks)
    return replace(found, record=ended, due=ended.due(permanent(world, spec, ended)))


def _current(world: World, spec: ExperimentSpec) -> TaskRecord:
    record = read_task(world.status.get("inspection"))
    if spec.suspend and record is not None and record.state is TaskState.FAILED and record.subject == spec.search_hash:
        return record
    final = permanent(world, spec, record) if record is not None else frozenset()
    return going_on(record, spec.search_hash, world.edition, world.now, final)


def _failed(
    record: TaskRecord, problem: Problem, now: datetime, data: Mapping[str, Any], key: Mapping[str, Any]
) -> Inspection:
    return Inspection(record.failed(problem, now), data, key)


def _told(record: TaskRecord, result: InspectResult, now: datetime, data: Mapping[str, Any]) -> Inspection:
    key = {"hint": result.key_hint} if result.key_hint else {}
    if result.failure is not None and result.failure.reason in BLIND:
        return _failed(record, of_failure(result.failure), now, data, key)
    if not result.key_present:
        missing = Problem(FailureClass.POLICY, FailureReason.NO_SIGNING_KEY, "no usable signing key")
        return _failed(record, missing, now, data, {})
    if result.failure is not None:
        return _failed(record, of_failure(result.failure, result.data_digest), now, data, key)
    if result.data_digest is None:
        silent = Problem(FailureClass.INFRASTRUCTURE, FailureReason.INTERNAL, "the inspect Job reported no data digest")
        return _failed(record, silent, now, data, key)
    facts = {
        "uri": result.data_uri,
        "digest": result.data_digest,
        "rows": result.rows,
        "columns": result.columns,
        "labelledRows": result.labelled_rows,
    }
    return Inspection(record.passed(now), {k: v for k, v in facts.items() if v is not None}, key)
