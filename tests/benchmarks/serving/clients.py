"""Clients of a Service: kept connections, endpoints that follow readiness with a delay, no retries. Whatever is not answered is lost.

Owns the client's side of a rolling restart, as connection pools behind a Kubernetes Service behave: a new connection goes to an endpoint;
an open one is used until it is told to close, also when its pod has left the endpoints. Runs on one event loop.
"""

import asyncio
from array import array
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final, cast

from benchmarks.serving.mixed import Answer, Ask, Mixed
from benchmarks.serving.wire import WrongAnswer

PROBE_SECONDS: Final = 0.5
"""Between two looks at a pod's readiness."""
ENDPOINT_DELAY: Final = 1.0
"""From a failed probe until no client opens a connection to that pod any more."""
PATIENCE_SECONDS: Final = 20.0
USES: Final = 20
"""Requests after which a client opens a new connection: pools do it seldom, but only a new one meets a pod that is gone."""
CHECKED: Final = 8
"""One answer in so many is compared with scikit-learn's; the others by their status."""


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, port: int) -> None:
        self.port: Final = port
        self.uses = 0
        self.closing = False
        """Nothing more may be asked on it."""
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._received = bytearray()

    def ask(self, raw: bytes) -> "asyncio.Future[Answer]":
        """Send a request; the answer, or ConnectionError when the connection ends before it."""
        assert self._transport is not None
        self.uses += 1
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(raw)
        return self._waiting

    def close(self) -> None:
        """Close it."""
        self.closing = True
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        """Settle the request when its answer is whole."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._waiting is None:
            return
        lines = bytes(self._received[:end]).lower().split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines[1:])
        size = int(headers[b"content-length"])
        if len(self._received) < end + 4 + size:
            return
        body = bytes(self._received[end + 4 :])
        self._received.clear()
        self.closing = self.closing or headers.get(b"connection") == b"close"
        length = headers.get(b"inference-header-content-length")
        waiting, self._waiting = self._waiting, None
        waiting.set_result(Answer(int(lines[0].split()[1]), body, None if length is None else int(length)))

    def connection_lost(self, error: Exception | None) -> None:
        """Closed by either side."""
        self.closing = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError(f"closed before the answer ({error!r})"))


class Endpoints:
    """The ports of pods that new connections may go to."""

    def __init__(self, is_ready: Callable[[int], bool]) -> None:
        self._is_ready: Final = is_ready
        self._ready: set[int] = set()
        self._known: set[int] = set()

    def add(self, port: int) -> None:
        """A pod exists; it becomes an endpoint when it is ready."""
        self._known.add(port)

    def remove(self, port: int) -> None:
        """A pod is gone."""
        self._known.discard(port)

    def ready(self) -> list[int]:
        """Where to connect to now."""
        return sorted(self._ready)

    async def until(self, count: int) -> None:
        """Wait until so many pods are ready."""
        while len(self._ready) < count:  # noqa: ASYNC110 - probes tell it, in time
            await asyncio.sleep(PROBE_SECONDS / 4)

    async def keep_probing(self) -> None:
        """Follow readiness."""
        loop = asyncio.get_running_loop()
        while True:
            for port in list(self._known | self._ready):
                if port in self._known and await loop.run_in_executor(None, self._is_ready, port):
                    self._ready.add(port)
                elif port in self._ready:
                    loop.call_later(ENDPOINT_DELAY, self._ready.discard, port)
            await asyncio.sleep(PROBE_SECONDS)


class Clients:
    """So many clients, each with one connection. `rate` is requests a second of all together; None: as fast as they are answered."""

    def __init__(self, endpoints: Endpoints, mixed: Mixed, count: int, seed: int) -> None:
        self.lost: Counter[str] = Counter()
        """Reason -> requests without the answer they had to get."""
        self.sent: Counter[str] = Counter()
        """Kind -> requests."""
        self.rows: Counter[int] = Counter()
        """Port -> rows that were answered there."""
        self.answers: Counter[tuple[int, int]] = Counter()
        """(port, status) -> answers to inference requests."""
        self.checked = 0
        self.milliseconds: array[float] = array("f")
        self.rate: float | None = None
        self._endpoints: Final = endpoints
        self._mixed: Final = mixed
        self._count: Final = count
        self._random: Final = Random(seed)
        self._opened = 0
        self._slot = 0.0

    @property
    def requests(self) -> int:
        """Asked so far."""
        return self.sent.total()

    async def run(self, enough: Callable[[], bool]) -> None:
        """Ask until it is enough, then wait for the last answers."""
        self._slot = asyncio.get_running_loop().time()
        await asyncio.gather(*(self._one(enough) for _ in range(self._count)))

    async def _one(self, enough: Callable[[], bool]) -> None:
        connection: Connection | None = None
        while not enough():
            await self._pace()
            ask = self._mixed.next()
            self.sent[ask.kind] += 1
            try:
                connection = await self._connection(connection)
                await self._exchange(connection, ask)
            except (OSError, TimeoutError, WrongAnswer) as error:
                self.lost[f"{ask.kind}: {error or type(error).__name__}"] += 1
                if connection is not None:
                    connection.close()
        if connection is not None:
            connection.close()

    async def _pace(self) -> None:
        if self.rate is None:
            return
        now = asyncio.get_running_loop().time()
        self._slot = max(self._slot + 1 / self.rate, now - 1.0)
        if self._slot > now:
            await asyncio.sleep(self._slot - now)

    async def _connection(self, kept: Connection | None) -> Connection:
        if kept is not None and not kept.closing and kept.uses < USES:
            return kept
        if kept is not None:
            kept.close()
        ready = self._endpoints.ready()
        self._opened += 1
        port = ready[self._opened % len(ready)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            made = await asyncio.get_running_loop().create_connection(lambda: Connection(port), "127.0.0.1", port)
        return made[1]

    async def _exchange(self, connection: Connection, ask: Ask) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await connection.ask(ask.raw)
        self.milliseconds.append((loop.time() - begun) * 1000)
        if ask.infers:
            self.answers[connection.port, answer.status] += 1
        if answer.status != ask.status:
            raise WrongAnswer(f"status {answer.status} instead of {ask.status}: {answer.body[:200]!r}")
        self.rows[connection.port] += ask.rows
        if self._random.randrange(CHECKED) == 0:
            self.checked += 1
            ask.check(answer)
