"""The life of the explaining process as the server sees it: start, one job at a time, stop when idle or stuck.

Owns its time limit. Knows no protocol and no model. Whatever becomes of that process, the server's event loop only waits.
"""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelcycle_serving.explain import frames
from modelcycle_serving.logs import log

SECONDS: Final = 30.0
"""For one job, loading included; a process that takes longer is killed."""
IDLE_SECONDS: Final = 60.0
"""After this time without a job the process ends, and its memory is free again."""
_MODULE: Final = "modelcycle_serving.explain.worker"


class TooSlow(Exception):
    """No explanation within the time limit."""


class ExplainingProcess:
    """At most one child. Not for two jobs at once: the caller asks one after another through `explain`, which takes turns."""

    def __init__(self, bundle: Path, digest: str, *, seconds: float = SECONDS, idle: float = IDLE_SECONDS) -> None:
        self._command: Sequence[str] = (sys.executable, "-m", _MODULE, str(bundle), digest)
        self._seconds = seconds
        self._idle = idle
        self._turn = asyncio.Lock()
        self._child: asyncio.subprocess.Process | None = None
        self._rest: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """None while no process runs."""
        return None if self._child is None else self._child.pid

    async def explain(self, rows: NDArray[np.float32]) -> frames.Explained:
        """Explain rows [N, F]. Raises TooSlow, frames.Failed, and OSError when no process can be started."""
        async with self._turn:
            self._cancel_rest()
            try:
                async with asyncio.timeout(self._seconds):
                    answer = await self._ask(frames.rows_to_bytes(rows))
            except TimeoutError:
                await self.stop()
                raise TooSlow from None
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                await self.stop()
                raise frames.Failed("the explaining process died") from error
            except BaseException:  # a cancelled job would leave its answer to the next one
                self.kill()
                raise
            self._rest = asyncio.get_running_loop().call_later(self._idle, self.kill)
            return frames.explained_from_bytes(answer)

    def kill(self) -> None:
        """End the process, if there is one. It holds nothing that could be lost."""
        self._cancel_rest()
        child, self._child = self._child, None
        if child is not None and child.stdin is not None:
            child.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                child.kill()

    async def stop(self) -> None:
        """The same, and wait until it is gone."""
        child = self._child
        self.kill()
        if child is not None:
            await child.wait()

    async def _ask(self, body: bytes) -> bytes:
        child = self._child or await self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(frames.frame(body))
        await child.stdin.drain()
        (size,) = frames.LENGTH.unpack(await child.stdout.readexactly(frames.LENGTH.size))
        if size > frames.MAX_FRAME:
            raise ConnectionError("the explaining process answers with nonsense")
        return await child.stdout.readexactly(size)

    async def _start(self) -> asyncio.subprocess.Process:
        pipes: dict[str, Any] = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        # A session of its own: a Ctrl-C in the terminal is for the server, which then ends this one.
        self._child = await asyncio.create_subprocess_exec(
            *self._command, **pipes, stderr=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        log.info("explaining process started", extra={"pid": self._child.pid})
        return self._child

    def _cancel_rest(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
