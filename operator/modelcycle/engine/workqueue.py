"""The work queue: which key is worked on next. Semantics of client-go: dedupe, one key never twice at once, delays, backoff per key.

`KeyQueue` is the state machine: time and randomness come in as data, nothing waits. `WorkQueue` is its asyncio shell. Neither knows
what a key means.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from modelcycle.engine.plan import Key

FIRST_BACKOFF: Final = 0.005
LONGEST_BACKOFF: Final = 300.0


class QueueObserver(Protocol):
    """What the queue reports; `telemetry.Telemetry` is one."""

    def queued(self, depth: int) -> None:
        """A key was added."""

    def taken(self, depth: int) -> None:
        """A key was taken."""

    def retried(self) -> None:
        """A key was added after a failure."""


def backoff(failures: int, jitter: float) -> float:
    """Seconds to wait after the n-th failure in a row (from 1): doubles from 5 ms to 300 s; `jitter` in [0, 1) takes off up to half."""
    exponent = min(failures - 1, 32)
    return float(min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**exponent)) * (1.0 - jitter / 2)


class KeyQueue:
    """Keys that are ready (in order), being worked on, to be worked on again, or waiting for a moment. Times in seconds."""

    def __init__(self) -> None:
        self._ready: deque[Key] = deque()
        self._dirty: set[Key] = set()
        self._processing: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._serial = 0
        self._failures: dict[Key, int] = {}

    @property
    def depth(self) -> int:
        """Number of keys that are ready."""
        return len(self._ready)

    @property
    def busy(self) -> int:
        """Number of keys that are being worked on."""
        return len(self._processing)

    def add(self, key: Key) -> None:
        """Make `key` ready. While it is worked on it is only marked, and made ready when that ends."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._ready.append(key)

    def add_at(self, key: Key, when: float) -> None:
        """Make `key` ready at `when`; of two moments the earlier one counts."""
        if when >= self._due.get(key, float("inf")):
            return
        self._due[key] = when
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, key))

    def release(self, now: float) -> None:
        """Make every key ready whose moment has come."""
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == when:
                del self._due[key]
                self.add(key)

    def next_moment(self) -> float | None:
        """When `release` has something to do again."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self) -> Key | None:
        """The key that has been ready longest, now being worked on; its waiting moment is dropped, as this work covers it."""
        if not self._ready:
            return None
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        self._due.pop(key, None)
        return key

    def done(self, key: Key) -> None:
        """End of the work on `key`; ready again at once when it was added meanwhile."""
        self._processing.discard(key)
        if key in self._dirty:
            self._ready.append(key)

    def failed(self, key: Key) -> int:
        """Count a failure; the number of failures in a row."""
        self._failures[key] = self._failures.get(key, 0) + 1
        return self._failures[key]

    def forget(self, key: Key) -> None:
        """The key succeeded: its failures count no longer."""
        self._failures.pop(key, None)


class WorkQueue:
    """The queue for worker tasks of one event loop. After `shut_down`, `get` gives None and no key is handed out any more."""

    def __init__(self, observer: QueueObserver, jitter: Callable[[], float] = random.random) -> None:
        self._keys = KeyQueue()
        self._observer = observer
        self._jitter = jitter
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def depth(self) -> int:
        """Number of keys that are ready."""
        return self._keys.depth

    def add(self, key: Key) -> None:
        """See KeyQueue.add."""
        self._keys.add(key)
        self._observer.queued(self._keys.depth)
        self._wake()

    def add_after(self, key: Key, seconds: float) -> None:
        """Add `key` after a delay; of several delays the one that ends first counts."""
        self._keys.add_at(key, asyncio.get_running_loop().time() + seconds)
        self._arm()

    def add_rate_limited(self, key: Key, at_least: float = 0.0) -> float:
        """Add `key` after its backoff, which grows with every call until `forget`. Returns the delay in seconds."""
        delay = max(at_least, backoff(self._keys.failed(key), self._jitter()))
        self._observer.retried()
        self.add_after(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """See KeyQueue.forget."""
        self._keys.forget(key)

    def done(self, key: Key) -> None:
        """See KeyQueue.done."""
        self._keys.done(key)
        self._wake()

    def shut_down(self) -> None:
        """Hand out no more keys and wake every worker that waits for one."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        self._wake()

    async def get(self) -> Key | None:
        """The next key, or None after `shut_down`. Call `done` for every key."""
        while not self._closed:
            key = self._keys.take()
            if key is not None:
                self._observer.taken(self._keys.depth)
                return key
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
        return None

    def _wake(self) -> None:
        # All of them: workers are few, and a woken worker that was cancelled must not swallow the key.
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        moment = self._keys.next_moment()
        if moment is not None and not self._closed:
            self._timer = asyncio.get_running_loop().call_at(moment, self._tick)

    def _tick(self) -> None:
        # The loop may call a hair early; what is due within its resolution is due.
        self._keys.release(asyncio.get_running_loop().time() + 0.001)
        self._observer.queued(self._keys.depth)
        self._wake()
        self._arm()
