"""Requests of one turn of the event loop, run by the model together.

Owns the queue between parsed requests and the model, its bounds, and what happens when a run goes wrong. Nobody waits for company: what has
arrived when the loop comes round is run, a single request alone. One request can never spoil another's answer: after a run that fails,
each is run by itself. Knows no protocol and counts nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelcycle_serving.logs import log
from modelcycle_serving.messages import Pending

Rows = NDArray[np.float32]
Outputs = Mapping[str, NDArray[Any]]


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


Finish = Callable[[Job, Outputs | RunFailed], None]
Ran = Callable[[Rows, Outputs], None]


class Batcher:
    """The queue of one model. `run` raises RunFailed; `ran` is told of every run that answered, before `finish` has its jobs' parts."""

    def __init__(self, run: Callable[[Rows], Outputs], ran: Ran, finish: Finish, limits: BatchLimits) -> None:
        self._run: Final = run
        self._ran: Final = ran
        self._finish: Final = finish
        self._limits: Final = limits
        self._queue: deque[Job] = deque()
        self._values = 0
        self._is_due = False

    def submit(self, job: Job) -> bool:
        """Run this with all else that the present turn of the loop brings. False: there is no room."""
        limits = self._limits
        if len(self._queue) >= limits.requests or self._values >= limits.values:
            return False
        self._queue.append(job)
        self._values += job.rows.size
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._turn)
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
        rows = np.concatenate([job.rows for job in jobs])
        try:
            outputs = self._run(rows)
        except RunFailed:
            for job in jobs:
                self._run_alone(job)
            return
        self._ran(rows, outputs)
        start = 0
        for job in jobs:
            end = start + len(job.rows)
            self._settle(job, {name: values[start:end] for name, values in outputs.items()})
            start = end

    def _take(self) -> Sequence[Job]:
        queue, limit = self._queue, self._limits.rows
        jobs: list[Job] = []
        size = 0
        while queue and (not jobs or size + len(queue[0].rows) <= limit):
            job = queue.popleft()
            jobs.append(job)
            size += len(job.rows)
            self._values -= job.rows.size
        return jobs

    def _run_alone(self, job: Job) -> None:
        try:
            outputs = self._run(job.rows)
        except RunFailed as failed:
            self._settle(job, failed)
        else:
            self._ran(job.rows, outputs)
            self._settle(job, outputs)

    def _settle(self, job: Job, outcome: Outputs | RunFailed) -> None:
        try:
            self._finish(job, outcome)
        except Exception as error:
            # What goes wrong while one client is answered is not the next one's fault.
            log.error("an answer could not be given", extra={"exception": type(error).__name__})
