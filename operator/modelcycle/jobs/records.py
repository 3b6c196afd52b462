"""The write-ahead record of a Job that is repeated until it succeeds: an attempt is stored before its Job is made. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from modelcycle.api.conditions import MESSAGE_LIMIT, timestamp
from modelcycle.api.edition import Edition, read_edition, write_edition
from modelcycle.jobs.results import Problem
from modelcycle.jobs.views import moment

FAST_RETRIES: Final = 5
FIRST_RETRY: Final = timedelta(seconds=60)
LAST_RETRY: Final = timedelta(seconds=3600)


class Finder(StrEnum):
    """Which Job found the problem of a record, beside its own."""

    TRIAL = "Trial"
    """A trial: that the inspection passes does not refute it, a trial that comes to something does."""


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
    """One write-ahead record. `problem` is the last cause: it stands while the next attempt goes on, until that says otherwise."""

    attempt: int
    state: TaskState
    subject: str
    edition: Edition
    time: datetime
    failures: int = 0
    problem: Problem | None = None
    found_by: Finder | None = None
    """None: the record's own Job."""
    lacks: str = ""
    """Why what is known of the attempt is its termination message alone (jobs.facts.FactsReason)."""

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
        passed = replace(self, state=TaskState.PASSED, time=now)
        return passed if self.found_by is not None else passed.cleared()

    def failed(self, problem: Problem, now: datetime, found_by: Finder | None = None) -> "TaskRecord":
        """After a failure."""
        failures = self.failures + 1
        return replace(self, state=TaskState.FAILED, time=now, failures=failures, problem=problem, found_by=found_by)

    def cleared(self) -> "TaskRecord":
        """Without its problem."""
        return replace(self, problem=None, found_by=None)

    def edited(self, edition: Edition) -> "TaskRecord":
        """The spec was edited and no other attempt is needed: the cause may be mended, and what has passed has passed for this spec."""
        return replace(self.cleared(), edition=edition if self.state is TaskState.PASSED else self.edition)

    def again(self, subject: str, edition: Edition, now: datetime) -> "TaskRecord":
        """The next attempt. For something else, or after an edit, it begins without failures and without a problem."""
        attempt = self.attempt + 1
        after = replace(
            self, attempt=attempt, state=TaskState.RUNNING, subject=subject, edition=edition, time=now, lacks=""
        )
        is_same = subject == self.subject and not edition.is_edit_of(self.edition)
        return after if is_same else replace(after, failures=0).cleared()


def next_attempt(record: TaskRecord | None, subject: str, edition: Edition, now: datetime) -> TaskRecord:
    """The first attempt, or the one after `record`. Attempts are never counted anew: each has a Job name of its own."""
    if record is None:
        return TaskRecord(0, TaskState.RUNNING, subject, edition, now)
    return record.again(subject, edition, now)


def going_on(
    record: TaskRecord | None, subject: str, edition: Edition, now: datetime, permanent: Collection[str] = ()
) -> TaskRecord:
    """The record, or its next attempt: there is none yet, it is for something else, or it failed and was edited or a wait is over."""
    if record is None or record.subject != subject:
        return next_attempt(record, subject, edition, now)
    edited, due = edition.is_edit_of(record.edition), record.due(permanent)
    if record.state is not TaskState.FAILED:
        return record.edited(edition) if edited else record
    over = due is not None and now >= due
    return record.again(subject, edition, now) if edited or over else record


def read_task(raw: Mapping[str, Any] | None) -> TaskRecord | None:
    """A write-ahead record; None when there is none."""
    if not raw:
        return None
    time = moment(raw.get("time"))
    problem = None
    if raw.get("reason"):
        problem = Problem(raw.get("class", ""), raw["reason"], raw.get("message", ""), raw.get("dataDigest", ""))
    return TaskRecord(
        attempt=int(raw["attempt"]),
        state=TaskState(raw["state"]),
        subject=raw["subject"],
        edition=read_edition(raw),
        time=time or datetime.fromisoformat("1970-01-01T00:00:00+00:00"),
        failures=int(raw.get("failures", 0)),
        problem=problem,
        found_by=Finder(raw["foundBy"]) if raw.get("foundBy") else None,
        lacks=str(raw.get("lacks", "")),
    )


def write_task(record: TaskRecord) -> dict[str, Any]:
    """The record as status JSON."""
    raw: dict[str, Any] = {
        "attempt": record.attempt,
        "state": record.state.value,
        "subject": record.subject,
        **write_edition(record.edition),
        "time": timestamp(record.time),
        "failures": record.failures,
    }
    if record.problem is not None:
        raw |= {"class": record.problem.failure_class, "reason": record.problem.reason}
        raw["message"] = record.problem.message[:MESSAGE_LIMIT]
        raw |= {"dataDigest": record.problem.data_digest} if record.problem.data_digest else {}
    if record.found_by is not None:
        raw["foundBy"] = record.found_by.value
    if record.lacks:
        raw["lacks"] = record.lacks
    return raw
