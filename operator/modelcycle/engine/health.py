"""`/healthz`, `/readyz` and `/metrics` over HTTP. Owns the server and the loop-lag probe; judges only what it is handed.

`/healthz` says that the event loop moved, and nothing else: an answer is the proof. A process that is late on a crowded node is no better
off after a restart, which costs more of what it lacks; an API server that is away is no reason either.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from modelcycle_bundle.listening import EVERYWHERE, listening

BACKLOG: Final = 128
PROBE_SECONDS: Final = 1.0
LAG_LIMIT: Final = 10.0

_log = logging.getLogger(__name__)

Check = Callable[[], str | None]
"""A problem in one sentence, or None."""


async def watch_lag(late: Callable[[float], None], clock: Callable[[], float]) -> None:
    """Until cancelled: report how late the event loop wakes a task that asked for PROBE_SECONDS, and log what is beyond LAG_LIMIT."""
    while True:
        due = clock() + PROBE_SECONDS
        await asyncio.sleep(PROBE_SECONDS)
        seconds = max(clock() - due, 0.0)
        late(seconds)
        if seconds > LAG_LIMIT:
            _log.warning("the event loop was %.1f s late: the node gives the operator too little CPU", seconds)


class HealthServer:
    """Serves until `stop`. The checks of `ready` are called on each request, on the event loop."""

    def __init__(self, ready: Sequence[Check], exposition: Callable[[], bytes]) -> None:
        self._ready = ready
        self._exposition = exposition
        self._runner: web.AppRunner | None = None

    def application(self) -> web.Application:
        """The three routes."""
        app = web.Application()
        app.router.add_get("/healthz", self._answer_live)
        app.router.add_get("/readyz", self._answer_ready)
        app.router.add_get("/metrics", self._answer_metrics)
        return app

    async def start(self, port: int) -> int:
        """Listen; the port listened on (`port` 0: any free one). Raises OSError when it is taken."""
        self._runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.SockSite(self._runner, listening(EVERYWHERE, port, BACKLOG)).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()

    async def _answer_live(self, request: web.Request) -> web.Response:
        return _answer(())

    async def _answer_ready(self, request: web.Request) -> web.Response:
        return _answer(self._ready)

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=self._exposition(), headers=headers)


def _answer(checks: Sequence[Check]) -> web.Response:
    problems = [problem for problem in (check() for check in checks) if problem]
    if problems:
        return web.Response(status=503, text="\n".join(problems) + "\n")
    return web.Response(text="ok\n")
