"""What passes between the HTTP layer and who answers: requests, responses, and responses still to come.

Owns these types, how a response's head is written and how a body that comes in pieces is kept. No sockets, no paths, no models.
"""

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import orjson

JSON: Final = b"application/json"
RETRY_AFTER: Final = ((b"Retry-After", b"1"),)
FRAMING: Final = 8
"""Chunked framing may cost this many bytes for each of the body that has arrived."""
_STATUS_LINE: Final = {status: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


@dataclass(slots=True)
class Response:
    """One answer. `body` is already encoded; `headers` are extra ones. Nobody changes one: it is not frozen because making a
    frozen one takes three times as long, and one is made for every request."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(slots=True)
class Request:
    """One request, complete when the handler sees it. Header names are lower case; requests may share one dict of them, and
    then Content-Length is not in it."""

    method: bytes = b""
    path: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    keep_alive: bool = True
    http_1_0: bool = False
    held: int = 0
    """Bytes of the body as counted against the limit of all connections together."""
    authorization: bytes = b""
    """The header's value, where a token was asked for and this is one."""
    refusal: Response | None = None
    """Set when the request may not reach the handler; the connection closes after this answer."""


class Pending:
    """A response still to come, set on the loop's thread: a future without the turn of the loop between result and callback."""

    __slots__ = ("_callbacks", "_response")

    def __init__(self) -> None:
        self._response: Response | None = None
        self._callbacks: tuple[Callable[[Pending], object], ...] = ()

    def add_done_callback(self, callback: "Callable[[Pending], object]") -> None:
        """Call `callback` when the response is there; at once when it is."""
        if self._response is None:
            self._callbacks = (*self._callbacks, callback)
        else:
            callback(self)

    def set_result(self, response: Response) -> None:
        """The response is there; the first one counts."""
        if self._response is not None:
            return
        self._response = response
        for callback in self._callbacks:
            callback(self)

    def result(self) -> Response:
        """Raises InvalidStateError before the response is there."""
        if self._response is None:
            raise asyncio.InvalidStateError("no response yet")
        return self._response

    def __await__(self) -> Generator[Any, None, Response]:
        if self._response is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.add_done_callback(lambda _: None if waiter.done() else waiter.set_result(None))
            yield from waiter
        return self.result()


Later = Pending | asyncio.Future[Response]
Reply = Response | Later
Handler = Callable[[Request], Reply]


def problem(status: int, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Response:
    """An error as the protocol writes it. `message` is ours."""
    return Response(status, orjson.dumps({"error": message}), headers=headers)


def joined(body: bytes | bytearray, piece: bytes) -> bytes | bytearray:
    """A body with one more piece. Joined at once: kept apart, pieces of two bytes would take thirty times what is counted for them."""
    if not body:
        return piece
    whole = bytearray(body) if isinstance(body, bytes) else body
    whole += piece
    return whole


def head(request: Request, response: Response, date: bytes, *, closing: bool) -> bytes:
    """The head of `response`, Content-Length of its whole body, as `request` understands it."""
    connection = b"Connection: close\r\n" if closing else b"Connection: keep-alive\r\n" if request.http_1_0 else b""
    extra = b"".join(b"%s: %s\r\n" % pair for pair in response.headers)
    return b"%sContent-Type: %s\r\nDate: %s\r\n%s%sContent-Length: %d\r\n\r\n" % (
        _STATUS_LINE[HTTPStatus(response.status)],
        response.content_type,
        date,
        connection,
        extra,
        len(response.body),
    )


def good_head(date: bytes) -> bytes:
    """All of the head of a 200 in JSON that keeps its connection, up to the value of Content-Length."""
    return b"%sContent-Type: %s\r\nDate: %s\r\nContent-Length: " % (_STATUS_LINE[HTTPStatus.OK], JSON, date)
