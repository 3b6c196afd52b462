"""Requests of one turn of the event loop, run by the model together.

Owns the queue between parsed requests and the model, its bounds, and what happens when a run goes wrong. Nobody waits for company: what has
arrived when the loop comes round is run, a single request alone. One request can never spoil another's answer: after a run that fails,
each is run by itself. Reads no body and counts nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np

from modelcycle_serving.messages import Pending
from modelcycle_serving.oip import Outputs, Rows


class RunFailed(Exception):
    """The model gave no answer that may be sent. The text is ours and holds no value; `kind` is the type of what the model raised."""

    def __init__(self, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        self.kind: Final = kind


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of one queue."""

    rows: int = 64
    """Of one run, unless a single request has more."""
    requests: int = 1024
    """Waiting at one time; a request above it is turned away."""
    values: int = 1 << 24
    """Feature values of all waiting requests together, 4 bytes each, likewise."""


class Job(Pending):
    """One request on its way through the model. `rows` is [N, F] float32, N at least 1."""

    __slots__ = ("rows",)

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows: Final = rows


J = TypeVar("J", bound=Job)


class Batcher(Generic[J]):
    """The queue of one model.

    `run` raises RunFailed, and whatever else it raises counts as that. `answered` gets the jobs of a run, its rows and its
    outputs, those of one job after the other's; `failed` a job that failed alone. Both give their jobs a response.
    """

    def __init__(
        self,
        run: Callable[[Rows], Outputs],
        answered: Callable[[Sequence[J], Rows, Outputs], None],
        failed: Callable[[J, RunFailed], None],
        limits: BatchLimits,
    ) -> None:
        self._run: Final = run
        self._answered: Final = answered
        self._failed: Final = failed
        self._limits: Final = limits
        self._queue: deque[J] = deque()
        self._values = 0
        self._is_due = False
        self._loop: asyncio.AbstractEventLoop | None = None
        """Kept, since asking for it costs a system call."""

    def submit(self, job: J) -> bool:
        """Run this with all else that the present turn of the loop brings. False: there is no room."""
        limits = self._limits
        if len(self._queue) >= limits.requests or self._values >= limits.values:
            return False
        self._queue.append(job)
        self._values += job.rows.size
        if not self._is_due:
            self._is_due = True
            self._loop = self._loop or asyncio.get_running_loop()
            self._loop.call_soon(self._turn)
        return True

    def _turn(self) -> None:
        """Run one batch. What is left waits for the next turn, so that answers leave and other connections are read in between."""
        jobs = self._take()
        self._is_due = bool(self._queue)
        if self._is_due:
            asyncio.get_running_loop().call_soon(self._turn)
        if len(jobs) == 1:
            self._run_alone(jobs[0])
            return
        try:
            rows = np.concatenate([job.rows for job in jobs])
            outputs = self._run(rows)
        except Exception:
            for job in jobs:
                self._run_alone(job)
        else:
            self._answered(jobs, rows, outputs)

    def _run_alone(self, job: J) -> None:
        try:
            outputs = self._run(job.rows)
        except Exception as error:
            unforeseen = RunFailed("the model could not answer this request", type(error).__name__)
            self._failed(job, error if isinstance(error, RunFailed) else unforeseen)
        else:
            self._answered((job,), job.rows, outputs)

    def _take(self) -> Sequence[J]:
        queue, limit = self._queue, self._limits.rows
        jobs: list[J] = []
        size = 0
        while queue and (not jobs or size + len(queue[0].rows) <= limit):
            job = queue.popleft()
            jobs.append(job)
            size += len(job.rows)
            self._values -= job.rows.size
        return jobs
