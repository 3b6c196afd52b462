"""Reads counts in the background, one task per tracked key, so that no reconciliation ever waits for a pod.

Owns the tasks and the latest Samples of each key. A failed round leaves the last Samples as they are: their age tells. Decides nothing
and writes nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from modelcycle.metrics import runs
from modelcycle.metrics.port import CountSource, Samples, SourceUnavailable, Target

Key = TypeVar("Key", bound=Hashable)

ROUND_TIMEOUT: Final = 30.0
"""Seconds for one whole round; each pod has its own, shorter limit."""
FIRST_WAIT: Final = 1.0
"""Seconds from a round that found no counts to the next; twice as many each time, up to the interval."""

_log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The clock of a running operator."""
    return datetime.now(UTC)


class Sampler(Generic[Key]):
    """`track` and `forget` say whose counts are wanted; `latest` gives what is known; `run` does the reading until it is cancelled."""

    def __init__(self, source: CountSource, clock: Callable[[], datetime] = utc_now) -> None:
        self._source = source
        self._clock = clock
        self._targets: dict[Key, Target] = {}
        self._samples: dict[Key, Samples] = {}
        self._problems: dict[Key, str] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._enqueue: Callable[[Key], None] | None = None

    def track(self, key: Key, target: Target) -> None:
        """Read `target` for `key` from now on.

        Another deployment begins again; another interval, or a pod that has become Ready, is read at once and keeps what is known.
        """
        before = self._targets.get(key)
        if before and (before.namespace, before.deployment) != (target.namespace, target.deployment):
            self.forget(key)
        elif before and (before.interval != target.interval or target.ready - before.ready):
            self._stop(key)
        self._targets[key] = target
        self._start(key)

    def forget(self, key: Key) -> None:
        """Stop reading for `key` and drop what is known."""
        self._stop(key)
        for kept in (self._targets, self._samples, self._problems):
            kept.pop(key, None)

    def latest(self, key: Key) -> Samples | None:
        """The latest finished reading; None before the first."""
        return self._samples.get(key)

    def problem(self, key: Key) -> str | None:
        """Why the last round failed as a whole; None when it did not."""
        return self._problems.get(key)

    async def run(self, enqueue: Callable[[Key], None]) -> None:
        """Read until cancelled; after each round of a key call `enqueue(key)`."""
        self._enqueue = enqueue
        for key in list(self._targets):
            self._start(key)
        try:
            await asyncio.Event().wait()
        finally:
            self._enqueue = None
            tasks = list(self._tasks.values())
            self._tasks.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, key: Key) -> None:
        if self._enqueue is not None and key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._read_forever(key, self._enqueue), name=f"sampler {key}")

    def _stop(self, key: Key) -> None:
        if task := self._tasks.pop(key, None):
            task.cancel()

    async def _read_forever(self, key: Key, enqueue: Callable[[Key], None]) -> None:
        loop, without_counts = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            await self._read_once(key)
            enqueue(key)
            # At least a tenth of the interval of rest, so that slow pods cannot make a busy loop.
            without_counts = 0 if self._has_counts(key) else without_counts + 1
            interval = self._targets[key].interval
            if without_counts:
                interval = min(interval, FIRST_WAIT * 2 ** min(without_counts - 1, 16))
            await asyncio.sleep(max(interval - (loop.time() - began), interval / 10))

    def _has_counts(self, key: Key) -> bool:
        """Whether the last round read any pod."""
        samples = self._samples.get(key)
        return (
            key not in self._problems and samples is not None and any(r.gone_at is None for r in samples.runs.values())
        )

    async def _read_once(self, key: Key) -> None:
        target = self._targets[key]
        try:
            async with asyncio.timeout(ROUND_TIMEOUT):
                taken = await self._source.read(target, self._clock())
        except SourceUnavailable as error:
            self._problems[key] = str(error)
        except TimeoutError:
            self._problems[key] = f"reading the pods took longer than {ROUND_TIMEOUT:g} s"
        except Exception as error:
            # The task must outlive a defect: without it the monitor would go silent until a restart.
            _log.exception("reading counts failed", extra={"key": str(key)})
            self._problems[key] = f"reading counts failed: {type(error).__name__}"
        else:
            self._problems.pop(key, None)
            keep = self._targets[key].keep_gone_after
            self._samples[key] = runs.fold(self._samples.get(key), taken, keep)
