"""Requests to the pods of another revision: a small HTTP/1.1 client over kept connections, bounded in everything.

Owns connections, how requests spread over them, and what a well-formed answer is; knows no arm, no counter and no model. Never logs what it
reads. Callbacks and no tasks: a hop has to cost little more than an answer of this pod's own.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

import httptools

from modelcycle_serving.bodies import HEADER_LENGTH_KEY
from modelcycle_serving.messages import FRAMING, joined
from modelcycle_serving.tls import Tls

JOINED: Final = 64 * 1024
"""Bytes of a body up to which head and body are copied into one packet."""
_GOLDEN: Final = 0.6180339887498949
RETURNED: Final = frozenset((b"content-type", HEADER_LENGTH_KEY))
"""Answer headers, in lower case, that the body cannot be read without."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of one pool. Sizes in bytes, times in seconds."""

    connections: int = 128
    spread: int = 16
    """Connections that a pool in use grows to, one at a time beside the requests: behind a Service each may end at another pod, so that of
    three pods one is without a connection once in 220 times, and a pod that hangs holds its own connections and no others."""
    connecting: float = 0.5
    """Until somebody accepts a connection. Where nobody is, nobody may say so: a kernel answers only some of the first packets to a Service
    without pods, and repeats one of its own after 1 s."""
    head: int = 16 * 1024
    answer: int = 32 * 1024 * 1024
    """One answer as it arrives: head, body and framing."""
    held: int = 64 * 1024 * 1024
    """Answers being received at one time, all connections together."""
    idle: float = 10.0
    """A connection unused for so long is closed: sooner than the server at its other end would."""
    age: float = 30.0
    """A connection is used for this long at most, and for half of it at least, so that not all are renewed at once: a Service spreads
    connections, not requests, and pods come and go behind it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole and well-formed answer, whatever its status. `headers` are those of RETURNED that it has."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Kind(StrEnum):
    """Why there is no answer."""

    CROWDED = "crowded"
    """The limits of the pool are reached, or nothing was sent in time; nothing is known about the peer."""
    UNREACHED = "unreached"
    """Nobody accepted a connection: nothing is known about the model behind it."""
    LATE = "late"
    """No whole answer within the time."""
    BROKEN = "broken"
    """Closed, reset, too large or not HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """There is no answer that can be used. `detail` is one of few texts, all of them ours."""

    kind: Kind
    detail: str


Answered = Callable[[Answer | NoAnswer], None]


class _Exchange:
    """One request on its way. `due` is loop time in seconds."""

    __slots__ = ("answered", "body", "connection", "due", "head")

    def __init__(self, head: bytes, body: bytes, due: float, answered: Answered) -> None:
        self.head = head
        self.body = body
        self.due = due
        self.answered = answered
        self.connection: _Connection | None = None


class Pool:
    """The connections to one `address:port`, of the running loop.

    Every request has `timeout` seconds: for connecting, sending, receiving and a second try.
    """

    def __init__(self, target: str, timeout: float, limits: PoolLimits = PoolLimits(), tls: Tls | None = None) -> None:
        host, _, port = target.rpartition(":")
        self.limits: Final = limits
        self.timeout: Final = timeout
        self.loop: Final = asyncio.get_running_loop()
        """Kept, since asking for it costs a system call."""
        self._tls: Final = tls
        self._host: Final = host.removeprefix("[").removesuffix("]")
        self._port: Final = int(port)
        self._waiting: dict[_Exchange, None] = {}
        """In the order of their time: all have the same."""
        self._alarm: asyncio.TimerHandle | None = None
        self._open: set[_Connection] = set()
        self._idle: deque[_Connection] = deque()
        """The one unused for longest is first, and used first: so requests go round all connections."""
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._made = 0
        self.held = 0
        """Bytes of answers of which a part has arrived."""
        self._closed = False
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Connections, those being opened included."""
        return len(self._open) + self._opening

    def ask(self, head: bytes, body: bytes, answered: Answered) -> None:
        """Send one idempotent request. `answered` is called once, for a crowded pool before this returns."""
        now = self.loop.time()
        exchange = _Exchange(head, body, now + self.timeout, answered)
        self._waiting[exchange] = None
        if self._alarm is None:
            self._alarm = self.loop.call_later(self.timeout, self._wake)
        while self._idle:
            connection = self._idle.popleft()
            if connection.is_usable(now):
                connection.send(exchange)
                break
            connection.close()
        else:
            self._send_on_new(exchange)
        if len(self) < self.limits.spread and not self._opening and not self._closed:
            self._connect(None)

    def close(self) -> None:
        """Keep no connection any more; exchanges under way end as they would."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        while self._idle:
            self._idle.popleft().close()

    def _send_on_new(self, exchange: _Exchange) -> None:
        if len(self) >= self.limits.connections:
            self.end(exchange, NoAnswer(Kind.CROWDED, "too many connections"))
        else:
            self._connect(exchange)

    def _connect(self, exchange: _Exchange | None) -> None:
        """Open a connection: for a request, or for those to come."""
        self._opening += 1
        task = self.loop.create_task(self._make(_Connection(self), exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make(self, connection: "_Connection", exchange: _Exchange | None) -> None:
        try:
            # Sooner than late: that nobody is there is another thing than that somebody does not answer.
            async with asyncio.timeout(min(self.limits.connecting, self.timeout / 2)):
                await self.loop.create_connection(
                    lambda: connection, self._host, self._port, ssl=None if self._tls is None else self._tls.hop
                )
        except OSError:  # a TimeoutError is one
            self._opening -= not connection.is_made
            if exchange is not None:
                self.end(exchange, NoAnswer(Kind.UNREACHED, "no connection"))
            return
        if exchange is not None and exchange in self._waiting:
            connection.send(exchange)
        else:
            self.release(connection)

    def _wake(self) -> None:
        """After one more turn of the loop: a process that was stopped finds its timers before the answers that came meanwhile."""
        self.loop.call_soon(self.loop.call_soon, self._look)

    def _look(self) -> None:
        """End what is late."""
        self._alarm = None
        while self._waiting:
            first = next(iter(self._waiting))
            if first.due > self.loop.time():
                self._alarm = self.loop.call_at(first.due, self._wake)
                return
            if first.connection is None:
                # Connecting ends sooner, unless this process stood still.
                self.end(first, NoAnswer(Kind.CROWDED, "not sent in time"))
                continue
            first.connection.abort()
            self.end(first, NoAnswer(Kind.LATE, "late"))

    # The connections' side.

    def add(self, connection: "_Connection") -> float:
        """A connection was made. Returns the seconds for which it may be used: spread evenly over half of the limit."""
        self._opening -= 1
        self._open.add(connection)
        self._made += 1
        return self.limits.age * (1 - self._made * _GOLDEN % 1 / 2)

    def forget(self, connection: "_Connection") -> None:
        """A connection is gone."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def release(self, connection: "_Connection") -> None:
        """A connection could serve another request."""
        now = self.loop.time()
        if self._closed or not connection.is_usable(now):
            connection.close()
            return
        connection.keep(now)
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweep_in(self.limits.idle)

    def end(self, exchange: _Exchange, outcome: Answer | NoAnswer) -> None:
        """What became of a request; what comes after the first of these is nobody's any more."""
        if exchange in self._waiting:
            del self._waiting[exchange]
            exchange.answered(outcome)

    def retry(self, exchange: _Exchange) -> None:
        """The peer closed a kept connection before the first byte of an answer, as it may at any time."""
        if exchange in self._waiting:
            exchange.connection = None
            self._send_on_new(exchange)

    def _sweep_in(self, seconds: float) -> None:
        self._sweeping = self.loop.call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        now = self.loop.time()
        while self._idle and now - self._idle[0].idle_since >= self.limits.idle:
            self._idle.popleft().close()
        if self._idle:
            self._sweep_in(max(self.limits.idle - (now - self._idle[0].idle_since), 0.01))


class _Connection(asyncio.Protocol):
    """One connection: at most one request at a time, and no byte of an answer before it."""

    def __init__(self, pool: Pool) -> None:
        self.is_made = False
        self.idle_since = 0.0
        self._pool: Final = pool
        self._until = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._exchange: _Exchange | None = None
        self._is_kept = False
        self._begin()

    def _begin(self) -> None:
        self._received = 0
        self._head_complete = False
        self._headers: dict[bytes, bytes] = {}
        self._body: bytes | bytearray = b""
        self._answer: Answer | None = None
        self._reusable = False

    def is_usable(self, now: float) -> bool:
        """Whether a request may be sent on it."""
        return now < self._until and not self._transport.is_closing()

    def keep(self, now: float) -> None:
        """From here on the peer may close it at any time, and nobody is to blame."""
        self._is_kept = True
        self.idle_since = now

    def send(self, exchange: _Exchange) -> None:
        """Send one request; with its answer the connection is back in its pool or closed."""
        self._begin()
        self._exchange = exchange
        exchange.connection = self
        if len(exchange.body) <= JOINED:
            self._transport.write(exchange.head + exchange.body)
        else:
            self._transport.write(exchange.head)
            self._transport.write(exchange.body)

    def close(self) -> None:
        """Close an idle connection."""
        self._transport.close()

    def abort(self) -> None:
        """Nobody waits any more: who could tell a late answer from the next one?"""
        self._take()
        self._transport.abort()

    def _take(self) -> _Exchange | None:
        """The request, which is no longer this connection's."""
        exchange, self._exchange = self._exchange, None
        self._pool.held -= self._received
        self._received = 0
        return exchange

    def _fail(self, kind: Kind, detail: str) -> None:
        exchange = self._take()
        self._transport.abort()
        if exchange is not None:
            self._pool.end(exchange, NoAnswer(kind, detail))

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register."""
        self._transport = cast(asyncio.Transport, transport)
        self.is_made = True
        self._until = self._pool.loop.time() + self._pool.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer still due will not come; on a kept connection of which nothing came at all it is asked for anew."""
        self._pool.forget(self)
        is_stale = self._is_kept and not self._received
        exchange = self._take()
        if exchange is None:
            return
        if is_stale:
            self._pool.retry(exchange)
        else:
            self._pool.end(exchange, NoAnswer(Kind.BROKEN, "closed before its answer"))

    def data_received(self, data: bytes) -> None:
        """Parse; bytes that nobody asked for end the connection."""
        if self._exchange is None:
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._reusable = False
            if self._answer is None:
                self._fail(Kind.BROKEN, "not HTTP/1.1")
                return
        if self._answer is None:
            self._hold(len(data))
        else:
            self._settle(self._answer)

    def _hold(self, size: int) -> None:
        limits = self._pool.limits
        self._received += size
        self._pool.held += size
        # A parser keeps an unfinished header or trailer to itself: beside the body there is room for its framing only.
        most = min(limits.answer, 2 * limits.head + FRAMING * len(self._body)) if self._head_complete else limits.head
        if self._received > most:
            self._fail(Kind.BROKEN, "answer too large")
        elif self._pool.held > limits.held:
            self._fail(Kind.CROWDED, "too many bytes of answers")

    def _settle(self, answer: Answer) -> None:
        exchange = self._take()
        # An answer that came before the request was sent whole leaves the rest of it on the wire.
        if self._reusable and not self._transport.get_write_buffer_size():
            self._pool.release(self)
        else:
            self._transport.abort()
        if exchange is not None:
            self._pool.end(exchange, answer)

    # The parser's side.

    def on_message_begin(self) -> None:
        """The first byte of an answer, of an interim one, or of one too many."""
        self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field; few travel on."""
        if (lower := name.lower()) in RETURNED and self._answer is None:
            self._headers[lower] = value

    def on_headers_complete(self) -> None:
        """From here on a body is due, unless the answer is an interim one."""
        self._head_complete = self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._answer is None:
            self._body = joined(self._body, body)

    def on_message_complete(self) -> None:
        """The answer is whole; after an interim one the real one follows."""
        if self._answer is None and self._head_complete:
            self._reusable = self._parser.should_keep_alive()
            self._answer = Answer(self._parser.get_status_code(), self._headers, bytes(self._body))
