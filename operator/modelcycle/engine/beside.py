"""Runs pure functions on threads beside the event loop, one at a time per key: however long one takes, the loop goes on.

A thread shares the interpreter with the loop, which gets its turn every few milliseconds; watches, probes and other keys are served.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from modelcycle.engine.plan import Key

THREADS: Final = 32
"""More than workers: a decision whose worker has given up on it keeps its thread."""

P = ParamSpec("P")
R = TypeVar("R")


class StillDeciding(Exception):
    """The function that was started earlier for this key has not returned: nothing was started beside it."""


class Beside:
    """One for all kinds. Cancelling `run` leaves the function running; its result is dropped."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decision")
        self._running: dict[Key, Future[Any]] = {}

    async def run(self, key: Key, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `function` returns or raises. Raises StillDeciding."""
        before = self._running.get(key)
        if before is not None and not before.done():
            raise StillDeciding(f"an earlier decision about {key} goes on")
        future = self._running[key] = self._pool.submit(function, *args, **kwargs)
        try:
            return await asyncio.wrap_future(future)
        finally:
            if future.done():
                del self._running[key]
