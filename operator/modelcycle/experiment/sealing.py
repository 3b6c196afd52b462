"""The seal Job's life: attempt, result, retry. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from modelcycle.api.conditions import MESSAGE_LIMIT
from modelcycle.api.experiment import ExperimentSpec
from modelcycle.experiment import tasks
from modelcycle.experiment.ledger import Entry
from modelcycle.experiment.manifests import JobOrder
from modelcycle.experiment.world import World
from modelcycle.jobs.records import TaskRecord, TaskState, going_on, next_attempt, read_task
from modelcycle.jobs.results import Lost, Problem, Unfinished, of_failure, read
from modelcycle_bundle.contract import AttemptRange, FailureClass, FailureReason, SealResult, TaskKind

PERMANENT: Final = frozenset(
    {FailureReason.CANDIDATE_MISMATCH, FailureReason.GOLDEN_MISMATCH, FailureReason.BUNDLE_MALFORMED}
)
"""Tried again after a change of the spec only: the stored candidate is not what the trial made."""


@dataclass(frozen=True, slots=True)
class Sealing:
    """The sealing after this look. `model` is `status.model`, `candidates` is `status.candidates`."""

    record: TaskRecord | None
    model: Mapping[str, Any]
    candidates: Mapping[str, Any]
    order: JobOrder | None = None
    note: Problem | None = None
    due: datetime | None = None


def idle(world: World) -> Sealing:
    """Nothing to seal now: what there was stays."""
    return Sealing(
        read_task(world.status.get("sealing")),
        dict(world.status.get("model") or {}),
        dict(world.status.get("candidates") or {}),
    )


def is_sealed(world: World, best: Entry) -> bool:
    """Whether `status.model` is this candidate."""
    return bool(best.candidate_digest) and (world.status.get("model") or {}).get("digest") == best.candidate_digest


def look(world: World, spec: ExperimentSpec, best: Entry, losing: tuple[AttemptRange, ...]) -> Sealing:
    """Where the sealing of the best candidate stands. `losing`: trials whose candidates go once it is sealed."""
    record = _current(world, best)
    before = replace(idle(world), record=record)
    if record.state is not TaskState.RUNNING:
        return replace(before, due=record.due(PERMANENT))
    job = world.job_of(TaskKind.SEAL, best.index, record.attempt)
    record = replace(record, lacks=job.lacks if job else "")
    if job is None:
        task = tasks.seal(world, spec, best, losing)
        return replace(before, order=JobOrder(TaskKind.SEAL, best.index, record.attempt, task))
    match read(SealResult, job, world.now):
        case Unfinished(note, due):
            return replace(before, note=note, due=due)
        case Lost(problem) | (Problem() as problem):
            return _failed(before, record, problem, world.now)
        case result:
            return _told(before, record, result, best, world.now)


def _current(world: World, best: Entry) -> TaskRecord:
    subject = best.candidate_digest or ""
    record = read_task(world.status.get("sealing"))
    if record is not None and record.state is TaskState.PASSED:
        return next_attempt(record, subject, world.edition, world.now)
    return going_on(record, subject, world.edition, world.now, PERMANENT)


def _failed(before: Sealing, record: TaskRecord, problem: Problem, now: datetime) -> Sealing:
    after = record.failed(problem, now)
    return replace(before, record=after, due=after.due(PERMANENT))


def _told(before: Sealing, record: TaskRecord, result: SealResult, best: Entry, now: datetime) -> Sealing:
    if result.failure is not None:
        return _failed(before, record, of_failure(result.failure), now)
    if result.digest != best.candidate_digest or not result.uri:
        told = f"sealed {result.digest}, but trial {best.index} reported {best.candidate_digest}"
        return _failed(before, record, Problem(FailureClass.POLICY, FailureReason.CANDIDATE_MISMATCH, told), now)
    facts = {
        "uri": result.uri,
        "digest": result.digest,
        "trial": best.index,
        "keyHint": result.key_hint,
        "sizeBytes": result.size_bytes,
    }
    removal = {"removed": result.removed or None, "message": (result.removal_problem or "")[:MESSAGE_LIMIT] or None}
    return Sealing(record.passed(now), _given(facts), _given(removal))


def _given(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
