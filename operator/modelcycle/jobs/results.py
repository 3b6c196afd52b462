"""What a Job's end means: its result, or why there is none. Owns the reading of termination messages and the time limits; pure.

A result is believed only when it parses strictly.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from modelcycle.api.conditions import MESSAGE_LIMIT
from modelcycle.api.experiment import TrialReason
from modelcycle.jobs.views import JobState, JobView, PodView
from modelcycle_bundle.contract import (
    CompareResult,
    ContractError,
    Failure,
    FailureClass,
    FailureReason,
    InspectResult,
    SealResult,
    TrialResult,
    from_json,
)

IMAGE_LIMIT: Final = timedelta(seconds=120)
START_LIMIT: Final = timedelta(seconds=300)
SCHEDULING_LIMIT: Final = timedelta(seconds=300)
DIGEST_LENGTH: Final = 71
MEMORY_FIELD: Final = "spec.trainer.resources.limits.memory"
"""Of the Experiment: the memory of each Job that is made for it (jobs.manifests.resources)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a Job gave no result. `reason` is a FailureReason or TrialReason value."""

    failure_class: str
    reason: str
    message: str
    data_digest: str = ""
    """Of the table that was read before it failed; empty when none was."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The Job goes on. `problem` is what its pods report meanwhile; `due` is when a limit would end it."""

    problem: Problem | None = None
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """The Job ended without a readable result."""

    problem: Problem


Result = TypeVar("Result", InspectResult, SealResult, TrialResult, CompareResult)


def read(
    kind: type[Result], job: JobView, now: datetime, *, waits_for_others: bool = False
) -> Result | Problem | Lost | Unfinished:
    """What the Job came to. A Problem ends it for a cause outside of the program, a Lost may still be collected."""
    if job.state is JobState.ACTIVE:
        return _waiting(kind, job, now, waits_for_others=waits_for_others)
    pod = last_ended(job)
    if pod is not None and (pod.facts or pod.message):
        try:
            return from_json(kind, pod.facts or pod.message)
        except ContractError as error:
            without = f"; {job.lacks}: {job.lacks_detail}" if job.lacks else ""
            return Lost(_lost(job, f"its result does not parse: {error}{without}"))
    if job.reason == "DeadlineExceeded":
        return Problem(FailureClass.TRAINER, TrialReason.DEADLINE_EXCEEDED, f"Job {job.name} took longer than it may")
    if pod is not None and pod.termination_reason == "OOMKilled":
        return Problem(FailureClass.TRAINER, FailureReason.OUT_OF_MEMORY, _killed_for_memory(job))
    if pod is not None and pod.exit_code:
        return Problem(
            FailureClass.TRAINER,
            TrialReason.RESULT_LOST,
            f"exit code {pod.exit_code} of Job {job.name} without a result",
        )
    if pod is not None:
        text = f"Job {job.name} ended with exit code 0 and left no result"
        return Lost(Problem(FailureClass.TRAINER, TrialReason.RESULT_LOST, text))
    return Lost(_lost(job, "its pod is gone"))


def _killed_for_memory(job: JobView) -> str:
    if not job.memory_limit:
        return (
            f"{MEMORY_FIELD}: Job {job.name} has no limit and its node had no memory left: set it and requests.memory"
        )
    return f"{MEMORY_FIELD}: Job {job.name} was killed at its memory limit of {job.memory_limit}: raise it"


def last_ended(job: JobView) -> PodView | None:
    """The pod that the Job's result is taken from: the last that ended, of those that told something."""
    ended = [pod for pod in job.pods if pod.exit_code is not None]
    told = [pod for pod in ended if pod.message]
    return next(iter((told or ended)[-1:]), None)


def _lost(job: JobView, what: str) -> Problem:
    return Problem(FailureClass.INFRASTRUCTURE, TrialReason.RESULT_LOST, f"Job {job.name}: {what}")


def _waiting(kind: type[Result], job: JobView, now: datetime, *, waits_for_others: bool) -> Problem | Unfinished:
    pod = job.pods[-1] if job.pods else None
    if pod is None and waits_for_others:
        return Unfinished()
    if pod is None:
        problem = Problem(
            FailureClass.INFRASTRUCTURE, TrialReason.UNSCHEDULABLE, f"Job {job.name} has no pod: see its events"
        )
        return _limited(problem, job.created, SCHEDULING_LIMIT, now, told=False)
    if pod.image_problem:
        problem = Problem(FailureClass.INFRASTRUCTURE, TrialReason.IMAGE_UNAVAILABLE, pod.image_problem)
        return _limited(problem, pod.waiting_since or pod.created, IMAGE_LIMIT, now)
    if pod.unschedulable:
        problem = Problem(FailureClass.INFRASTRUCTURE, TrialReason.UNSCHEDULABLE, pod.unschedulable)
        if waits_for_others:
            return Unfinished(problem)
        return _limited(problem, pod.waiting_since or pod.created, SCHEDULING_LIMIT, now)
    if pod.not_starting:
        text = f"pod {pod.name} has a node but does not start: {pod.not_starting}; see its events"
        problem = Problem(FailureClass.INFRASTRUCTURE, TrialReason.CONTAINER_START_FAILED, text)
        return _limited(problem, pod.waiting_since or pod.created, START_LIMIT, now, told=False)
    return Unfinished(_retried_failure(kind, job))


def _limited(
    problem: Problem, since: datetime, limit: timedelta, now: datetime, *, told: bool = True
) -> Problem | Unfinished:
    return problem if now - since >= limit else Unfinished(problem if told else None, since + limit)


def _retried_failure(kind: type[Result], job: JobView) -> Problem | None:
    """What the last failed pod of a Job that still retries has reported."""
    pod = last_ended(job)
    if pod is None or not pod.message or not pod.exit_code:
        return None
    try:
        failure = from_json(kind, pod.message).failure
    except ContractError:
        return None
    return of_failure(failure) if failure else None


def of_failure(failure: Failure, data_digest: str | None = None) -> Problem:
    """A reported failure as a Problem."""
    return Problem(
        failure.failure_class, failure.reason, failure.message[:MESSAGE_LIMIT], (data_digest or "")[:DIGEST_LENGTH]
    )
