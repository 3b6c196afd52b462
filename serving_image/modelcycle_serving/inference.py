"""Inference by this process's own model: from a request's body to its answer, and the one place where both are counted.

Owns the choice between the loop and the thread, what counts as an answer that may be sent, and the counting of requests and rows, so that
they cannot drift apart: all counts change on the event loop's thread. Never logs or counts a payload's values.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.bins import ClassBins
from modelcycle_bundle.outputs import LABEL_NAME
from modelcycle_bundle.profile import Profile
from modelcycle_bundle.traffic import rollout_of
from modelcycle_serving import oip
from modelcycle_serving.backlog import Backlog
from modelcycle_serving.batching import Batcher, BatchLimits, Job, RunFailed
from modelcycle_serving.bodies import good, header_length
from modelcycle_serving.counters import Counters
from modelcycle_serving.forwarding import marker
from modelcycle_serving.logs import log
from modelcycle_serving.messages import RETRY_AFTER, Reply, Request, Response, problem
from modelcycle_serving.model import Model

if TYPE_CHECKING:
    from modelcycle_serving.feedback.service import Feedback

INLINE_SECONDS: Final = 0.005
"""A run expected to take longer leaves the event loop to a thread, so that probes and small requests are not held up."""
MAX_PENDING: Final = 64
"""Long runs waiting for that thread; above it the answer is 503."""
MAX_PENDING_VALUES: Final = 1 << 23
"""Feature values of them together, 4 bytes each."""
_SUM_OF_SQUARES: Final = 1e38
"""Below it no float32 among the terms was infinite or no number."""


class _Asked(Job):
    """One parsed request. `received` is in seconds of the clock, `rollout` the one it is answered in."""

    __slots__ = ("arm", "received", "request", "rollout")

    def __init__(self, request: oip.InferRequest, received: float, arm: str, rollout: str) -> None:
        super().__init__(request.rows)
        self.request: Final = request
        self.received: Final = received
        self.arm: Final = arm
        self.rollout: Final = rollout


class Inference:
    """The model at work. `clock` gives seconds, for durations."""

    def __init__(
        self,
        model_name: str,
        model: Model,
        counters: Counters,
        feedback: "Feedback | None",
        clock: Callable[[], float],
    ) -> None:
        self._model: Final = model
        self._counters: Final = counters
        self._feedback: Final = feedback
        self._clock: Final = clock
        self._classes: Final = _known_labels(model.profile)
        self._inline_rows: Final = model.rows_within(INLINE_SECONDS)
        self._backlog: Final = Backlog(self._count)
        most = min(BatchLimits().rows, self._inline_rows) if model.rows_are_independent else 1
        self._batcher: Final = Batcher(self._run, self._answered, self._failed, BatchLimits(rows=most))
        self._answers: Final = oip.BatchAnswers(model_name, model.version, model.signature)
        self._executor: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._pending = 0
        self._pending_values = 0

    def __call__(self, request: Request) -> Reply:
        """Answer one inference request."""
        received = self._clock()
        arm = arm_of(request)
        rollout = "" if self._feedback is None else self._feedback.rollout(request)
        try:
            parsed = oip.parse_infer(request.body, header_length(request), self._model.signature)
        except oip.BadInput as bad:
            self._counters.count_request(400, arm)
            return problem(400, str(bad))
        asked = _Asked(parsed, received, arm, rollout)
        if len(asked.rows) > self._inline_rows:
            return self._run_aside(asked)
        return asked if self._batcher.submit(asked) else self._overloaded(asked, "too many requests are waiting")

    def settle_counts(self) -> None:
        """Count what was answered and is not counted yet: before anyone reads the counters."""
        self._backlog.flush()

    def close(self) -> None:
        """Wait for the runs under way."""
        self._executor.shutdown()
        self._backlog.close()

    # Running.

    def _run(self, rows: oip.Rows) -> oip.Outputs:
        """Answers that may be sent. May be called from any thread. Raises RunFailed."""
        try:
            outputs = self._model.run(rows)
            fault = self._fault(outputs, len(rows))
        except Exception as error:
            raise RunFailed("the model could not answer this request", type(error).__name__) from None
        if fault is not None:
            raise RunFailed(fault)
        return outputs

    def _fault(self, outputs: oip.Outputs, rows: int) -> str | None:
        for values in outputs.values():
            if values.dtype == np.float32 and not _is_finite(values):
                return "the model's answer is not a finite number"
            if len(values) != rows:
                return "the model's answer has another number of rows"
        if self._classes and not self._classes.issuperset(outputs[LABEL_NAME].tolist()):
            return "the model's answer is not one its profile knows"
        return None

    def _run_aside(self, asked: _Asked) -> Reply:
        if self._pending >= MAX_PENDING or self._pending_values >= MAX_PENDING_VALUES:
            return self._overloaded(asked, "too many large requests are waiting")
        self._pending += 1
        self._pending_values += asked.rows.size
        running = asyncio.get_running_loop().run_in_executor(self._executor, self._run, asked.rows)
        running.add_done_callback(partial(self._ran_aside, asked))
        return asked

    def _ran_aside(self, asked: _Asked, running: "asyncio.Future[oip.Outputs]") -> None:
        self._pending -= 1
        self._pending_values -= asked.rows.size
        try:
            outputs = running.result()
        except RunFailed as failed:
            self._failed(asked, failed)
        else:
            self._answered((asked,), asked.rows, outputs)

    # Answering.

    def _answered(self, jobs: Sequence[_Asked], rows: oip.Rows, outputs: oip.Outputs) -> None:
        try:
            bodies = self._answers.encode([job.request for job in jobs], outputs, self._parameters(jobs, outputs))
        except Exception as error:
            for job in jobs:
                self._failed(job, RunFailed("the model's answer could not be encoded", type(error).__name__))
            return
        self._backlog.add(rows, outputs)
        for job, encoded in zip(jobs, bodies, strict=True):
            self._settle(job, good(encoded))

    def _parameters(self, jobs: Sequence[_Asked], outputs: oip.Outputs) -> Sequence[Mapping[str, Any]]:
        if self._feedback is None:
            return ()
        return self._feedback.parameters(outputs, [(len(job.rows), job.rollout) for job in jobs])

    def _failed(self, job: _Asked, failed: RunFailed) -> None:
        log.error(str(failed), extra={"exception": failed.kind, "rows": len(job.rows)})
        self._settle(job, problem(500, str(failed)))

    def _settle(self, job: _Asked, response: Response) -> None:
        self._counters.count_request(response.status, job.arm)
        self._counters.observe_duration(self._clock() - job.received)
        try:
            job.set_result(response)
        except Exception as error:
            # What goes wrong while one client is answered is not the next one's fault.
            log.error("an answer could not be given", extra={"exception": type(error).__name__})

    def _overloaded(self, asked: _Asked, message: str) -> Response:
        self._counters.count_request(503, asked.arm)
        return problem(503, message, RETRY_AFTER)

    def _count(self, rows: oip.Rows, outputs: oip.Outputs) -> None:
        try:
            self._counters.count_rows(rows, outputs)
        except Exception as error:
            # No count is worth an answer, whatever is wrong with it.
            log.error("rows were not counted", extra={"exception": type(error).__name__, "rows": len(rows)})


def _is_finite(values: NDArray[np.float32]) -> bool:
    """Whether all are. The sum of squares says so at a fifth of the price, unless it runs over."""
    flat = values.reshape(-1)
    return bool(flat.dot(flat) < _SUM_OF_SQUARES) or bool(np.isfinite(flat).all())


def arm_of(request: Request) -> str:
    """Which arm's answer a request gets here: canary's when another pod handed it on. A marker that names no rollout is a client's own."""
    text = marker(request)
    return names.ARM_CANARY if text is not None and rollout_of(text) else names.ARM_STABLE


def _known_labels(profile: Profile) -> frozenset[int | str]:
    """What the model may answer as a class, as numbers and as texts; empty for a regression."""
    classes = profile.output.classes if isinstance(profile.output, ClassBins) else ()
    numbers = (int(name) for name in classes if name.removeprefix("-").isdecimal() and str(int(name)) == name)
    return frozenset((*classes, *numbers))
