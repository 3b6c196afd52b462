"""Requests to the pods of another revision: a small HTTP/1.1 client over kept connections, bounded in everything.

Owns connections, their reuse and what a well-formed answer is; knows no arm, no counter and no model. Never logs what it reads. The time
for an answer is the caller's: a cancelled exchange takes its connection with it, for nobody could tell a late answer from the next one.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import httptools


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of one pool. Sizes in bytes, times in seconds."""

    connections: int = 128
    connecting: float = 0.5
    """Until somebody accepts a connection. Where nobody is, nobody may say so: a kernel answers only some of the first packets to a Service
    without pods, and repeats one of its own after 1 s."""
    head: int = 16 * 1024
    answer: int = 64 * 1024 * 1024
    """One answer as it arrives: head, body and framing."""
    held: int = 128 * 1024 * 1024
    """Answers being received at one time, all connections together."""
    idle: float = 10.0
    """A connection unused for so long is closed: sooner than the server at its other end would."""
    age: float = 30.0
    """A connection older than this is not used again: a Service spreads connections, not requests, and pods come and go behind it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole and well-formed answer, whatever its status."""

    status: int
    content_type: bytes
    body: bytes


class NoAnswer(Exception):
    """The peer gave no answer that can be used. The text is one of few, all of them ours."""


class Unreached(NoAnswer):
    """Nobody accepted a connection: nothing is known about the model behind it."""


class _Stale(NoAnswer):
    """The peer closed a kept connection before the first byte of an answer, as it may at any time."""


class Crowded(Exception):
    """The limits of the pool are reached; nothing is known about the peer."""


class Pool:
    """The connections to one `address:port`. `clock` gives seconds."""

    def __init__(self, target: str, clock: Callable[[], float], limits: PoolLimits = PoolLimits()) -> None:
        host, _, port = target.rpartition(":")
        self.limits: Final = limits
        self.clock: Final = clock
        self._host: Final = host.removeprefix("[").removesuffix("]")
        self._port: Final = int(port)
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []
        """The one used last is at the end, and used first; so the one idle for longest is at the start."""
        self._opening = 0
        self.held = 0
        """Bytes of answers being received."""
        self._closed = False
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Connections, those being opened included."""
        return len(self._open) + self._opening

    async def exchange(self, head: bytes, body: bytes) -> Answer:
        """Send one idempotent request and receive its answer. Raises NoAnswer and Crowded."""
        if self._idle:
            try:
                return await self._idle.pop().exchange(head, body)
            except _Stale:
                pass
        return await (await self._connect()).exchange(head, body)

    async def _connect(self) -> "_Connection":
        if len(self) >= self.limits.connections:
            raise Crowded
        self._opening += 1
        try:
            async with asyncio.timeout(self.limits.connecting):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self), self._host, self._port
                )
        except OSError as error:  # a TimeoutError is one
            raise Unreached("no connection") from error
        finally:
            self._opening -= 1
        return connection

    def close(self) -> None:
        """Open no connection for reuse any more; exchanges under way end as they would."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        while self._idle:
            self._idle.pop().close()

    # The connections' side.

    def add(self, connection: "_Connection") -> None:
        """A connection was made."""
        self._open.add(connection)

    def forget(self, connection: "_Connection") -> None:
        """A connection is gone."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def release(self, connection: "_Connection") -> None:
        """A connection has had its answer and could serve another request."""
        now = self.clock()
        if self._closed or now - connection.made > self.limits.age:
            connection.close()
            return
        connection.idle_since = now
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweep_in(self.limits.idle)

    def _sweep_in(self, seconds: float) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        now = self.clock()
        while self._idle and now - self._idle[0].idle_since >= self.limits.idle:
            self._idle.pop(0).close()
        if self._idle:
            self._sweep_in(max(self.limits.idle - (now - self._idle[0].idle_since), 0.01))

    def hold(self, size: int) -> bool:
        """Account for bytes of an answer, negative ones when it is handed over. False: the pool holds too many."""
        self.held += size
        return self.held <= self.limits.held


class _Connection(asyncio.Protocol):
    """One connection: at most one request at a time, and no byte of an answer before it."""

    def __init__(self, pool: Pool) -> None:
        self.made: Final = pool.clock()
        self.idle_since = self.made
        self._pool: Final = pool
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[Answer] | None = None
        self._answered = False
        self._begin()

    def _begin(self) -> None:
        self._received = 0
        self._head_complete = False
        self._content_type = b""
        self._chunks: list[bytes] = []
        self._answer: Answer | None = None
        self._reusable = False

    async def exchange(self, head: bytes, body: bytes) -> Answer:
        """Send one request and receive its answer; afterwards the connection is back in its pool or closed."""
        self._begin()
        if self._transport.is_closing():
            raise self._closed_early()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(head)
            self._transport.write(body)
            answer = await self._waiter
        except BaseException:
            self._transport.abort()
            raise
        finally:
            self._waiter = None
            self._pool.hold(-self._received)
        self._answered = True
        # An answer that came before the request was sent whole leaves the rest of it on the wire.
        if self._reusable and not self._transport.is_closing() and not self._transport.get_write_buffer_size():
            self._pool.release(self)
        else:
            self._transport.abort()
        return answer

    def close(self) -> None:
        """Close an idle connection."""
        self._transport.close()

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register."""
        self._transport = cast(asyncio.Transport, transport)
        self._pool.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer still due will not come."""
        self._pool.forget(self)
        self._fail(self._closed_early())

    def data_received(self, data: bytes) -> None:
        """Parse; bytes that nobody asked for end the connection."""
        if self._waiter is None or self._waiter.done():
            self._reusable = False
            self._transport.abort()
            return
        limits = self._pool.limits
        self._received += len(data)
        if not self._pool.hold(len(data)):
            self._fail(Crowded())
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._reusable = False
            if self._answer is None:
                self._fail(NoAnswer("not HTTP/1.1"))
                return
        if self._answer is not None:
            self._waiter.set_result(self._answer)
        elif self._received > (limits.answer if self._head_complete else limits.head):
            self._fail(NoAnswer("answer too large"))

    def _closed_early(self) -> NoAnswer:
        stale = self._answered and not self._received
        return _Stale("closed before it was asked") if stale else NoAnswer("closed before its answer")

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    # The parser's side.

    def on_message_begin(self) -> None:
        """The first byte of an answer, of an interim one, or of one too many."""
        self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field; only the body's type travels on."""
        if self._answer is None and name.lower() == b"content-type":
            self._content_type = value

    def on_headers_complete(self) -> None:
        """From here on a body is due, unless the answer is an interim one."""
        self._head_complete = self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._answer is None:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole; after an interim one the real one follows."""
        if self._answer is None and self._head_complete:
            self._reusable = self._parser.should_keep_alive()
            self._answer = Answer(self._parser.get_status_code(), self._content_type, b"".join(self._chunks))
