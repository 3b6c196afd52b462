"""Whatever bytes arrive in whatever pieces, the peer gets well-formed answers or a close, and the server lives on."""

import asyncio
from itertools import pairwise
from typing import Any

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from modelcycle_serving.connections import Connections, Limits
from modelcycle_serving.http import HttpProtocol
from modelcycle_serving.messages import Request, Response

LIMITS = Limits(max_body=64, max_head=256, max_target=64, max_headers=8)
GOOD = b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc"
TOKENS = st.sampled_from(
    [
        *(b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.1\r\n", b"Host: t\r\n", b"\r\n", b"Content-Length: 3\r\n", b"abc"),
        *(
            b"Transfer-Encoding: chunked\r\n",
            b"3\r\nabc\r\n",
            b"0\r\n\r\n",
            b"Expect: 100-continue\r\n",
            b"X: " + b"x" * 300,
        ),
        *(b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"\x00\xff", b"a" * 80, GOOD),
        *(
            b"HTTP/1.0\r\n",
            b"CONNECT t:1 HTTP/1.1\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"Content-Encoding: gzip\r\n",
        ),
    ]
)
PIECES = st.lists(st.one_of(TOKENS, st.binary(max_size=12)), max_size=14)


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.ended = False
        self.unsent = 0

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: Any) -> None:
        assert not self.ended, "written after the end"
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Seen:
    """Callbacks of httptools' response parser: collects status codes, fails on anything malformed."""

    def __init__(self) -> None:
        self.codes: list[int] = []

    def on_message_complete(self) -> None:
        self.codes.append(parser.get_status_code() if (parser := self.parser) else 0)

    parser: Any = None


def echo(request: Request) -> Response:
    if request.path == b"/raise":
        raise ValueError("a handler's defect")
    return Response(200, request.body)


def connect() -> tuple[HttpProtocol, Wire, Connections]:
    connections = Connections(LIMITS, lambda: 0.0)
    protocol = HttpProtocol(connections, echo, lambda request, response: None, lambda: 0.0)
    wire = Wire()
    protocol.connection_made(wire)
    return protocol, wire, connections


def codes(written: bytes) -> list[int]:
    seen = Seen()
    seen.parser = httptools.HttpResponseParser(seen)
    seen.parser.feed_data(written)
    return seen.codes


@settings(deadline=None, max_examples=examples(150))
@given(pieces=PIECES)
def test_any_bytes_get_answers_or_silence_and_leave_nothing_behind(pieces: list[bytes]) -> None:
    protocol, wire, connections = connect()
    for piece in pieces:
        protocol.data_received(piece)
    answered = codes(bytes(wire.written).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))
    assert set(answered) <= {200, 400, 413, 414, 415, 431, 501}
    assert all(code == 200 for code in answered[:-1]), "an error of the protocol is the last answer"
    assert wire.ended or not answered or answered[-1] == 200
    protocol.connection_lost(None)
    assert connections.buffered == 0
    assert len(connections) == 0


@settings(deadline=None, max_examples=examples(100))
@given(count=st.integers(1, 6), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_where_the_bytes_are_cut_does_not_matter(count: int, cuts: list[int]) -> None:
    protocol, wire, _ = connect()
    raw = GOOD * count
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    for start, end in pairwise(edges):
        protocol.data_received(raw[start:end])
    assert codes(bytes(wire.written)) == [200] * count
    assert not wire.ended


def test_handler_that_raises_is_500_and_the_connection_goes_on() -> None:
    protocol, wire, _ = connect()
    protocol.data_received(b"GET /raise HTTP/1.1\r\nHost: t\r\n\r\n" + GOOD)
    assert codes(bytes(wire.written)) == [500, 200]


def test_bodies_of_all_connections_together_are_bounded() -> None:
    connections = Connections(Limits(max_buffered=100), lambda: 0.0)
    wires = [Wire() for _ in range(3)]
    for wire in wires:
        protocol = HttpProtocol(connections, echo, lambda request, response: None, lambda: 0.0)
        protocol.connection_made(wire)
        protocol.data_received(b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 90\r\n\r\n" + b"x" * 40)
    assert [codes(bytes(wire.written)) for wire in wires] == [[], [], [503]]
    assert connections.buffered == 80


@pytest.mark.parametrize("ends", ["reads", "leaves"])
def test_what_a_client_does_not_read_is_held_against_the_limit_of_all(ends: str) -> None:
    connections = Connections(Limits(max_buffered=100), lambda: 0.0)
    deaf, other = (HttpProtocol(connections, echo, lambda request, response: None, lambda: 0.0) for _ in range(2))
    wire = Wire()
    wire.unsent = 90
    deaf.connection_made(wire)
    other.connection_made(again := Wire())
    deaf.data_received(GOOD)
    deaf.pause_writing()
    other.data_received(b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 20\r\n\r\n" + b"x" * 20)
    assert codes(bytes(again.written)) == [503]
    if ends == "reads":
        deaf.resume_writing()
    else:
        deaf.connection_lost(None)
    assert connections.buffered == 0


def test_connections_over_the_limit_are_told_so() -> None:
    connections = Connections(Limits(max_connections=1), lambda: 0.0)
    wires = [Wire(), Wire()]
    for wire in wires:
        HttpProtocol(connections, echo, lambda request, response: None, lambda: 0.0).connection_made(wire)
    assert [codes(bytes(wire.written)) for wire in wires] == [[], [503]]
    assert b"Retry-After: 1" in wires[1].written
