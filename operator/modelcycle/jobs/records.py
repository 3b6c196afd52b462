"""The write-ahead record of a Job that is repeated until it succeeds: an attempt is stored before its Job is made. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from modelcycle.api.conditions import MESSAGE_LIMIT, timestamp
from modelcycle.jobs.results import Problem
from modelcycle.jobs.views import moment

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

    def due(self, permanent: Collection[str] = ()) -> datetime | None:
        """When the next attempt is due; None when it has not failed, or for one of the reasons `permanent`."""
        is_final = self.problem is not None and self.problem.reason in permanent
        return None if self.state is not TaskState.FAILED or is_final else self.retry_at()

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


def next_attempt(record: TaskRecord | None, subject: str, generation: int, now: datetime) -> TaskRecord:
    """The first attempt, or the one after `record`. Attempts are never counted anew: each has a Job name of its own."""
    if record is None:
        return TaskRecord(0, TaskState.RUNNING, subject, generation, now)
    return record.again(subject, generation, now)


def going_on(
    record: TaskRecord | None, subject: str, generation: int, now: datetime, permanent: Collection[str] = ()
) -> TaskRecord:
    """The record, or its next attempt: there is none yet, it is for something else, or it failed and the spec changed or a wait is over."""
    if record is None or record.subject != subject:
        return next_attempt(record, subject, generation, now)
    due = record.due(permanent)
    over = due is not None and now >= due
    repeats = record.state is TaskState.FAILED and (record.generation != generation or over)
    return record.again(subject, generation, now) if repeats else record


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
