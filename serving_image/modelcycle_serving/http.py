"""HTTP/1.1 on a bare asyncio protocol: parsing by httptools, keep-alive, pipelining, limits, orderly closing.

Owns everything between the socket and a `Request`; knows neither models nor paths. Requests of one connection are answered one
at a time in their order. Whatever bytes arrive, the peer gets an answer or a close, never an exception. Never logs what it reads.
"""

import asyncio
import select
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import httptools

from modelcycle_serving.connections import Connections, Fate, Limits, Stage
from modelcycle_serving.logs import log
from modelcycle_serving.messages import (
    FRAMING,
    JSON,
    RETRY_AFTER,
    Handler,
    Later,
    Request,
    Response,
    good_head,
    head,
    joined,
    problem,
)
from modelcycle_serving.repeated_head import MAX_MISSES, RepeatedHead
from modelcycle_serving.request_head import ONCE, origin_form, too_large, unacceptable, without_upgrade

MAX_PIPELINED: Final = 64
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

Refused = Callable[[Request, Response], None]


class HttpProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(
        self, connections: Connections, handler: Handler, refused: Refused, clock: Callable[[], float]
    ) -> None:
        self._connections = connections
        self._limits: Limits = connections.limits
        self._handler = handler
        self._refused = refused
        self._clock = clock
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._queue: deque[Request] = deque()
        self._working: Request | None = None
        self._stage = Stage.IDLE
        self._since = clock()
        self._stopped = False
        self._half_closed = False
        self._lost = False
        self._blocked_since: float | None = None
        self._unsent = 0
        self._reading_paused = False
        self._continue_due = False
        self._held = 0
        self._known: RepeatedHead | None = None
        self._misses = 0
        self._date = b""
        self._good_head = b""
        self._begin()

    def _begin(self) -> None:
        self._request = Request()
        self._target = b""
        self._head_bytes = 0
        self._header_count = 0
        self._raw_bytes = 0
        self._body: bytes | bytearray = b""

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register; over the limit of connections an idle one makes room, else answer 503 at once."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        if len(self._connections) > self._limits.max_connections and not self._connections.make_room():
            self._refuse(problem(503, "too many connections", RETRY_AFTER))
            self._turn()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back what the connection held."""
        self._lost = True
        self._stopped = True
        self._queue.clear()
        self._hold(-self._held)
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Parse, then answer what is complete."""
        if self._stage is Stage.LINGERING or self._stopped:
            return
        at_rest = self._stage is Stage.IDLE and self._working is None and not self._queue and not self._raw_bytes
        if at_rest and self._known is not None and self._is_repeated(self._known, data):
            return
        request = self._request
        self._parse(data)
        if request is self._request:
            self._bound_incomplete(len(data))
        elif at_rest and self._misses < MAX_MISSES and len(self._queue) == 1 and self._queue[0] is request:
            self._remember(data, request)
        self._turn()

    def _is_repeated(self, known: RepeatedHead, data: bytes) -> bool:
        """Answer a request that differs from the last one in its body only. False: the parser has to see it."""
        request = known.request_in(data)
        connections = self._connections
        if (
            request is None
            or request.held > self._limits.max_body
            or connections.buffered + request.held > self._limits.max_buffered
            or self._blocked_since is not None
        ):
            self._misses += 1
            self._known = None
            return False
        self._misses = 0
        self._held += request.held
        connections.buffered += request.held
        self._dispatch(request)
        return True

    def _remember(self, data: bytes, request: Request) -> None:
        ends_here = self._stage is Stage.IDLE and not self._stopped
        self._known = RepeatedHead.of(data, request) if ends_here else None

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._stopped:
                    return
                # The parser stops here for good, without the body: another one goes on with it.
                self._parser = httptools.HttpRequestParser(self)
                data = without_upgrade(self._request, self._target) + data[upgrade.args[0] :]
                self._begin()
            except httptools.HttpParserError:
                if not self._stopped:
                    self._refuse(problem(400, "malformed HTTP request"))
                return
            else:
                return

    def _bound_incomplete(self, size: int) -> None:
        """The parser keeps an unfinished header or trailer to itself: bound it by the bytes fed since the request began."""
        self._raw_bytes += size
        most = self._limits.max_head
        if self._stage is not Stage.BODY and self._raw_bytes > most:
            self._refuse(problem(431, "request header fields too large"))
        elif self._stage is Stage.BODY and self._raw_bytes > 2 * most + FRAMING * self._request.held:
            self._refuse(problem(431, "chunk extensions or trailers too large"))

    def eof_received(self) -> bool:
        """The peer sends no more; answers still due are written first."""
        self._half_closed = True
        self._stopped = True
        if self._stage in (Stage.HEAD, Stage.BODY):
            self._continue_due = False
            self._enter(Stage.IDLE)
        return self._stage is not Stage.LINGERING and (self._working is not None or bool(self._queue))

    def pause_writing(self) -> None:
        """The peer reads slower than we answer: take no further work from it. What it has yet to read counts as held for it."""
        self._blocked_since = self._clock()
        self._unsent = self._transport.get_write_buffer_size()
        self._hold(self._unsent)

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._blocked_since = None
        self._hold(-self._unsent)
        if self._stage is Stage.LINGERING:
            self._since = self._clock()
        self._turn()

    # The parser's side.

    def on_message_begin(self) -> None:
        """A first byte of a request."""
        if not self._stopped:
            self._enter(Stage.HEAD)

    def on_url(self, url: bytes) -> None:
        """The request target, possibly in pieces."""
        if not self._stopped:
            self._target += url
            if len(self._target) > self._limits.max_target:
                self._refuse(problem(414, "request target too long"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field, whole; also called for trailers, which are ignored."""
        if self._stopped or self._stage is not Stage.HEAD:
            return
        self._head_bytes += len(name) + len(value)
        self._header_count += 1
        if self._head_bytes > self._limits.max_head or self._header_count > self._limits.max_headers:
            self._refuse(problem(431, "request header fields too large"))
            return
        name = name.lower()
        if name in ONCE and name in self._request.headers:
            self._refuse(problem(400, f"more than one {name.decode()} header"))
            return
        self._request.headers[name] = value

    def on_headers_complete(self) -> None:
        """Decide from the headers alone whether the body is wanted."""
        if self._stopped:
            return
        request = self._request
        request.method = self._parser.get_method()
        request.path = origin_form(self._target)
        version = self._parser.get_http_version()
        request.http_1_0 = version == "1.0"
        request.keep_alive = self._parser.should_keep_alive()
        self._enter(Stage.BODY)
        refusal = unacceptable(request, version, self._limits.max_body)
        if refusal is not None:
            self._refuse(refusal)
        elif request.headers.get(b"expect", b"").lower() == b"100-continue" and not request.http_1_0:
            self._continue_due = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._stopped:
            return
        self._request.held += len(body)
        self._hold(len(body))
        if self._request.held > self._limits.max_body:
            self._refuse(too_large(self._limits.max_body))
        elif self._connections.buffered > self._limits.max_buffered:
            self._refuse(problem(503, "too many request bytes in flight", RETRY_AFTER))
        else:
            self._body = joined(self._body, body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._stopped or self._parser.should_upgrade():
            return
        self._request.body = bytes(self._body)
        self._continue_due = False
        self._stopped = not self._request.keep_alive
        self._queue.append(self._request)
        self._begin()
        self._enter(Stage.IDLE)

    # Answering.

    def _refuse(self, response: Response) -> None:
        """Read no further; this answer comes after those already due, and is the last."""
        self._stopped = True
        self._continue_due = False
        self._request.path = self._request.path or origin_form(self._target)
        self._request.refusal = response
        self._request.keep_alive = False
        self._queue.append(self._request)
        self._begin()
        self._enter(Stage.IDLE)

    def _hold(self, size: int) -> None:
        self._held += size
        self._connections.buffered += size

    def _turn(self) -> None:
        while self._queue and self._working is None and self._blocked_since is None and not self._lost:
            self._dispatch(self._queue.popleft())
        if self._lost:
            return
        if self._continue_due and self._working is None and not self._queue:
            self._continue_due = False
            self._transport.write(_CONTINUE)
        self._set_reading()

    def _dispatch(self, request: Request) -> None:
        if request.refusal is not None:
            self._refused(request, request.refusal)
            self._write(request, request.refusal)
            return
        try:
            answer = self._handler(request)
        except Exception as error:
            # Only the type: the text of an exception may quote the payload.
            log.error("a request handler raised", extra={"exception": type(error).__name__})
            answer = problem(500, "internal error")
        if isinstance(answer, Response):
            self._write(request, answer)
        else:
            self._working = request
            answer.add_done_callback(self._worked)

    def _worked(self, done: Later) -> None:
        request, self._working = self._working, None
        if request is None or self._lost:
            return
        self._write(request, _outcome(done))
        if self._queue or self._reading_paused or self._continue_due or self._stopped:
            self._turn()

    def _write(self, request: Request, response: Response) -> None:
        connections = self._connections
        self._held -= request.held
        connections.buffered -= request.held
        last = not self._queue and self._stage is Stage.IDLE
        closing = not request.keep_alive or (last and (self._half_closed or connections.closing))
        body = response.body if request.method != b"HEAD" else b""
        if (
            response.status == 200
            and response.content_type is JSON
            and not (closing or response.headers or request.http_1_0)
        ):
            if connections.date is not self._date:
                self._date = connections.date
                self._good_head = good_head(self._date)
            self._transport.write(b"%b%d\r\n\r\n%b" % (self._good_head, len(response.body), body))
        else:
            self._transport.write(head(request, response, connections.date, closing=closing) + body)
        if closing:
            self._close_orderly()
        elif last:
            self._since = self._clock()

    def _close_orderly(self) -> None:
        """Half-close and drop what still arrives: closing with unread bytes would reset the connection and lose the answer."""
        self._stopped = True
        self._queue.clear()
        self._enter(Stage.LINGERING)
        if self._half_closed or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()

    def _set_reading(self) -> None:
        waiting = self._working is not None or self._blocked_since is not None
        crowded = len(self._queue) >= MAX_PIPELINED or (waiting and self._held > self._limits.max_body)
        full = crowded and self._stage is not Stage.LINGERING
        if full != self._reading_paused and not self._transport.is_closing():
            self._reading_paused = full
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _enter(self, stage: Stage) -> None:
        self._stage = stage
        self._since = self._clock()

    # The sweep's side.

    def stage(self) -> tuple[Stage, float]:
        """What this connection is doing, and since when."""
        if self._blocked_since is not None:
            return Stage.BLOCKED, self._blocked_since
        if self._stage is not Stage.LINGERING and (self._working is not None or self._queue):
            return Stage.WORKING, self._since
        return self._stage, self._since

    def apply(self, fate: Fate) -> None:
        """Carry out the sweep's decision."""
        match fate:
            case Fate.CLOSE:
                if not self._has_unread():
                    self._transport.close()
            case Fate.CUT:
                self._transport.abort()
            case Fate.TIME_OUT:
                self._refuse(problem(408, "the request did not arrive in time"))
                self._turn()
            case Fate.KEEP:
                pass

    def _has_unread(self) -> bool:
        """Whether bytes wait in the kernel: a request that has arrived is answered, however late."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))


def _outcome(done: Later) -> Response:
    if isinstance(done, asyncio.Future) and (done.cancelled() or done.exception() is not None):
        return problem(500, "internal error")
    return done.result()
