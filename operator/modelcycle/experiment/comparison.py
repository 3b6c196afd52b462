"""The compare Job's life: the deployed model is pinned, then attempt, result, retry. Pure.

Owns `status.comparison`. Knows no verdict: what two figures mean is `acceptance`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from modelcycle.api.experiment import ExperimentSpec
from modelcycle.experiment import tasks
from modelcycle.experiment.ledger import Entry
from modelcycle.experiment.manifests import JobOrder
from modelcycle.experiment.results import number
from modelcycle.experiment.world import World
from modelcycle.jobs.records import TaskRecord, TaskState, next_attempt, read_task, write_task
from modelcycle.jobs.results import Lost, Problem, Unfinished, of_failure, read
from modelcycle_bundle.contract import CompareResult, FailureClass, FailureReason, TaskKind

PERMANENT: Final = frozenset(
    {FailureReason.NOT_COMPARABLE, FailureReason.CANDIDATE_MISMATCH, FailureReason.BUNDLE_MALFORMED}
)
"""Tried again when the spec was edited or another model serves: the bytes and the rows stay what they are."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """The model that a ModelDeployment serves."""

    uri: str
    digest: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What the Job measured, as decimal strings."""

    metric: str
    candidate: str
    deployed: str
    rows: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison after this look. `figures` once it has passed."""

    record: TaskRecord | None = None
    deployed: Deployed | None = None
    """Pinned when the attempt began: a rollout meanwhile does not change what is measured."""
    figures: Figures | None = None
    order: JobOrder | None = None
    note: Problem | None = None
    """What its pods report while it goes on."""
    due: datetime | None = None


def stored(world: World) -> Comparison:
    """What the status says; nothing is asked for."""
    raw = world.status.get("comparison") or {}
    pinned = raw.get("deployed")
    return Comparison(read_task(raw), Deployed(str(pinned["uri"]), str(pinned["digest"])) if pinned else None)


def write(comparison: Comparison) -> dict[str, Any]:
    """`status.comparison`; empty before the first one."""
    if comparison.record is None:
        return {}
    pinned = comparison.deployed
    return write_task(comparison.record) | (
        {"deployed": {"uri": pinned.uri, "digest": pinned.digest}} if pinned else {}
    )


def stable(deployment: Mapping[str, Any] | None) -> Deployed | None:
    """The model that serves; None when there is no such ModelDeployment, or it serves none yet."""
    found = ((deployment or {}).get("status") or {}).get("stable") or {}
    return Deployed(str(found["uri"]), str(found["digest"])) if found.get("uri") and found.get("digest") else None


def goes_on(world: World, best: Entry) -> Comparison | None:
    """The stored comparison, when it is of this candidate under this spec and not over; None: begin a new one."""
    found = stored(world)
    record = found.record
    if record is None or found.deployed is None or record.state is TaskState.PASSED:
        return None
    if record.subject != best.candidate_digest or world.edition.is_edit_of(record.edition):
        return None
    if record.state is TaskState.FAILED and stable(world.deployment) not in (None, found.deployed):
        return None  # the cause is of a model that serves no more
    due = record.due(PERMANENT)
    return None if due is not None and world.now >= due else found


def begin(world: World, best: Entry, deployed: Deployed) -> Comparison:
    """The first attempt, or the next one."""
    before, subject = stored(world).record, best.candidate_digest or ""
    return Comparison(next_attempt(before, subject, world.edition, world.now), deployed)


def look(world: World, spec: ExperimentSpec, best: Entry, begun: Comparison) -> Comparison:
    """Where it stands: the Job to make, what it says, or its figures."""
    record, deployed = begun.record, begun.deployed
    assert record is not None
    assert deployed is not None
    if record.state is not TaskState.RUNNING:
        return Comparison(record, deployed, due=record.due(PERMANENT))
    job = world.job_of(TaskKind.COMPARE, best.index, record.attempt)
    record = replace(record, lacks=job.lacks if job else "")
    if job is None:
        task = tasks.compare(spec, world.uid, best, (deployed.uri, deployed.digest))
        return Comparison(
            record, deployed, order=JobOrder(TaskKind.COMPARE, best.index, record.attempt, task, deployed.uri)
        )
    match read(CompareResult, job, world.now):
        case Unfinished(note, due):
            return Comparison(record, deployed, note=note, due=due)
        case Lost(problem) | (Problem() as problem):
            return _failed(record, deployed, problem, world.now)
        case result:
            return _told(record, deployed, result, best, world.now)


def _failed(record: TaskRecord, deployed: Deployed, problem: Problem, now: datetime) -> Comparison:
    after = record.failed(problem, now)
    return Comparison(after, deployed, due=after.due(PERMANENT))


def _told(record: TaskRecord, deployed: Deployed, result: CompareResult, best: Entry, now: datetime) -> Comparison:
    if result.failure is not None:
        return _failed(record, deployed, of_failure(result.failure), now)
    asked = (best.objective_metric, best.candidate_digest, deployed.digest)
    is_answer = asked == (result.metric, result.candidate_digest, result.deployed_digest)
    if not is_answer or None in (number(result.candidate), number(result.deployed), result.rows):
        silent = Problem(FailureClass.INFRASTRUCTURE, FailureReason.INTERNAL, "the compare Job reported other figures")
        return _failed(record, deployed, silent, now)
    figures = Figures(str(result.metric), str(result.candidate), str(result.deployed), int(result.rows or 0))
    return Comparison(record.passed(now), deployed, figures)
