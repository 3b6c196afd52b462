"""The worker loop: take a key, observe, decide, run the plan, and say when to look again. Knows no kind, only Reconcilers.

Must never exit because of one key: a defect in a decision is logged with its traceback, counted and retried with backoff.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from modelcycle.engine.beside import Beside, StillDeciding
from modelcycle.engine.executor import Executor, Outcome, Recorder, Result, outcome_of
from modelcycle.engine.plan import Emit, EventType, Key
from modelcycle.engine.reconciler import Reconciler
from modelcycle.engine.refusals import REASON, Refusals, stalled
from modelcycle.engine.workqueue import WorkQueue
from modelcycle.kube.errors import ApiError
from modelcycle.kube.port import Kube

KEY_TIMEOUT: Final = 60.0
NOTE_LIMIT: Final = 800

_log = logging.getLogger(__name__)


class ControllerObserver(Protocol):
    """What the worker loop reports; `telemetry.Telemetry` is one."""

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        """One reconciliation ended."""

    def refused(self, kind: str) -> None:
        """The API server refused a write of a plan."""


def utc_now() -> datetime:
    """The clock of a running operator."""
    return datetime.now(UTC)


class Controller:
    """Workers over one queue for all kinds. `reconcilers` by the `kind` of a key."""

    def __init__(
        self,
        kube: Kube,
        reconcilers: Mapping[str, Reconciler[Any]],
        queue: WorkQueue,
        recorder: Recorder,
        observer: ControllerObserver,
        *,
        clock: Callable[[], datetime] = utc_now,
        key_timeout: float = KEY_TIMEOUT,
        beside: Beside | None = None,
    ) -> None:
        self._kube = kube
        self._reconcilers = reconcilers
        self._queue = queue
        self._recorder = recorder
        self._executor = Executor(kube, recorder)
        self._observer = observer
        self._clock = clock
        self._key_timeout = key_timeout
        self._beside = beside or Beside()
        self._refusals = Refusals()

    async def work(self) -> None:
        """One worker: until the queue is shut down. Cancelling it leaves a plan unfinished, which the next start makes good."""
        while (key := await self._queue.get()) is not None:
            try:
                await self.process(key)
            finally:
                self._queue.done(key)

    async def process(self, key: Key) -> Outcome:
        """Reconcile one key and put it back into the queue as the outcome asks."""
        began = time.monotonic()
        outcome = await self._guarded(key)
        self._observer.reconciled(key.kind, outcome.result.value, time.monotonic() - began)
        self._schedule(key, outcome)
        if outcome.result is Result.REFUSED:
            self._observer.refused(key.kind)
            self._refusals.remember(key, outcome.message)
            _log.warning("refused by the API server", extra={"key": str(key), "problem": outcome.message})
            await self._tell(key, outcome.message)
        elif outcome.result not in (Result.SUCCESS, Result.GONE, Result.ERROR):
            _log.info("will retry", extra={"key": str(key), "result": outcome.result, "problem": outcome.message})
        return outcome

    async def _guarded(self, key: Key) -> Outcome:
        try:
            async with asyncio.timeout(self._key_timeout):
                return await self._reconcile(key)
        except ApiError as error:
            return outcome_of(error)
        except StillDeciding as error:
            return Outcome(Result.BACKOFF, message=str(error))
        except TimeoutError:
            return Outcome(Result.BACKOFF, message=f"not finished within {self._key_timeout:g} s")
        except Exception as error:
            _log.exception("defect in the operator", extra={"key": str(key)})
            return Outcome(Result.ERROR, message=f"{type(error).__name__}: {error}")

    async def _reconcile(self, key: Key) -> Outcome:
        reconciler = self._reconcilers[key.kind]
        world = await reconciler.observe(key, self._clock())
        if world is None:
            self._refusals.forget(key)
            return Outcome(Result.GONE)
        decided = await self._beside.run(key, reconciler.decide, world)
        plan = self._refusals.told(key, decided, self._clock())
        outcome = await self._executor.run(plan)
        if outcome.result is Result.SUCCESS and self._refusals.forget(key):
            return Outcome(Result.SUCCESS, 0.0)  # at once: status still tells of the refusal
        return outcome

    def _schedule(self, key: Key, outcome: Outcome) -> None:
        match outcome.result:
            case Result.SUCCESS | Result.GONE:
                self._queue.forget(key)
                if outcome.retry_after is not None:
                    self._queue.add_after(key, outcome.retry_after)
            case Result.REFUSED:
                self._queue.forget(key)
                self._queue.add_after(key, outcome.retry_after or 0.0)
            case Result.OBSERVE_AGAIN | Result.BACKOFF | Result.ERROR:
                self._queue.add_rate_limited(key, outcome.retry_after or 0.0)

    async def _tell(self, key: Key, message: str) -> None:
        """A refusal reaches people in status and as a Warning Event, whatever the reconciler knows of it."""
        kind = self._reconcilers[key.kind].kind
        try:
            live = await self._kube.get(kind, key.namespace, key.name)
        except ApiError:
            return
        if live is None:
            return
        metadata, status = live["metadata"], live.get("status", {})
        generation = status.get("observedGeneration", metadata.get("generation", 0))
        told = stalled(status, message, generation, self._clock())
        if told != status:
            with suppress(ApiError):  # when it is the status that is refused, the Event has to do
                await self._kube.apply_status(kind, key.namespace, key.name, told, metadata["resourceVersion"])
        note = f"The API server refused a change and is asked again in five minutes: {message}"[:NOTE_LIMIT]
        event = Emit(kind, key.namespace, key.name, metadata["uid"], EventType.WARNING, REASON, "Reconcile", note)
        await self._recorder.emit(event)
