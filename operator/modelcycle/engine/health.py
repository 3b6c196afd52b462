"""`/healthz`, `/readyz` and `/metrics` over HTTP. Owns the server and the loop-lag probe; judges only what it is handed.

`/healthz` fails when a restart would help: the event loop is stuck or a reconciliation overran its own time-out. An API server that is away
is no reason to restart.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

PROBE_SECONDS: Final = 1.0
LAG_LIMIT: Final = 10.0
BUSY_LIMIT: Final = 180.0

Check = Callable[[], str | None]
"""A problem in one sentence, or None."""


class LoopLag:
    """How late the event loop wakes a task that asked for PROBE_SECONDS."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._due: float | None = None

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._due = loop.time() + PROBE_SECONDS
            await asyncio.sleep(PROBE_SECONDS)
            self.worst = max(loop.time() - self._due, self.worst * 0.9)

    def check(self) -> str | None:
        """See Check."""
        return f"the event loop was {self.worst:.1f} s late" if self.worst > LAG_LIMIT else None


def busy_check(longest_running: Callable[[], float]) -> Check:
    """A check on the oldest unfinished reconciliation."""

    def check() -> str | None:
        seconds = longest_running()
        return f"a reconciliation has been running for {seconds:.0f} s" if seconds > BUSY_LIMIT else None

    return check


class HealthServer:
    """Serves until `stop`. All checks are called on each request, on the event loop."""

    def __init__(self, live: Sequence[Check], ready: Sequence[Check], exposition: Callable[[], bytes]) -> None:
        self._live = live
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

    async def start(self, port: int, host: str = "0.0.0.0") -> int:
        """Listen; the port listened on (`port` 0: any free one). Raises OSError when it is taken."""
        self._runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()

    async def _answer_live(self, request: web.Request) -> web.Response:
        return _answer(self._live)

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
