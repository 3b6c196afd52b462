"""A connection that compares a head with its last one gives, to any bytes, the answers of one that parses everything."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from budget import examples
from modelcycle_serving import http
from modelcycle_serving.connections import Connections, Limits
from modelcycle_serving.messages import Request, Response
from modelcycle_serving.repeated_head import MAX_MISSES, RepeatedHead
from unit.serving.test_http_fuzz import Wire

LIMITS = Limits(max_body=64, max_head=400, max_target=64, max_headers=8)
LINES = st.sampled_from(
    [
        *(b"Host: t", b"X: 1", b"X: 22", b"content-type: application/json", b"Connection: keep-alive"),
        *(b"Connection: close", b"Expect: 100-continue", b"Transfer-Encoding: chunked", b"Content-Encoding: gzip"),
        *(
            b"Content-Length: 3",
            b"content-length:3",
            b"Content-Length: 03",
            b"Content-Length:  3 ",
            b"Content-Length: 65",
        ),
        *(b"CONTENT-LENGTH: 0", b"X: \tContent-Length: 9", b"Upgrade: h2c", b"Trailer: X"),
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is mostly whole: its length fits, or it does not."""
    start = draw(
        st.sampled_from([b"POST /a HTTP/1.1", b"POST /a?x=1 HTTP/1.1", b"GET /b HTTP/1.1", b"POST /a HTTP/1.0"])
    )
    lines = draw(st.lists(LINES, max_size=4))
    body = draw(
        st.sampled_from([b"", b"abc", b"abcd", b"x" * 63, b"x" * 65, b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"])
    )
    if draw(st.booleans()):
        lines = [b"Host: t", *lines, b"Content-Length: %d" % len(body)]
    return b"\r\n".join((start, *lines, b"", b"")) + body


PLAIN = [
    b"POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body) for body in (b"abc", b"x" * 60)
]
STREAMS = st.lists(requests() | st.sampled_from(PLAIN) | st.binary(max_size=4) | st.just(b"\r\n"), max_size=6)


def answers(pieces: list[bytes], *, compare: bool) -> tuple[bytes, list[Any], bool]:
    """What is written, what the handler saw, and whether the connection is closed."""
    seen: list[Any] = []

    def handler(request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name != b"content-length"}
        seen.append((request.method, request.path, headers, request.body, request.keep_alive, request.http_1_0))
        return Response(200, request.body)

    connections = Connections(LIMITS, lambda: 0.0)
    connections.date = b"today"
    protocol = http.HttpProtocol(connections, handler, lambda request, response: None, lambda: 0.0)
    wire = Wire()
    protocol.connection_made(wire)
    for piece in pieces:
        if not compare:
            protocol._known = None
        protocol.data_received(piece)
    assert connections.buffered == protocol._held
    return bytes(wire.written), seen, wire.ended


@settings(deadline=None, max_examples=examples(300))
@given(pieces=STREAMS)
@example(pieces=[PLAIN[0], PLAIN[1], b"\r\n", PLAIN[0]])
@example(pieces=[PLAIN[0], PLAIN[0][:-1], b"c", PLAIN[0]])
@example(pieces=[PLAIN[0], PLAIN[0] + PLAIN[0]])
@example(pieces=[PLAIN[0], PLAIN[0].replace(b"Length: 3", b"Length: 65") + b"x" * 62])
def test_comparing_heads_changes_no_answer(pieces: list[bytes]) -> None:
    assert answers(pieces, compare=True) == answers(pieces, compare=False)


def test_repeated_head_spares_the_parser_and_only_a_repeated_one(monkeypatch: Any) -> None:
    parsed: list[bytes] = []
    monkeypatch.setattr(http.HttpProtocol, "_parse", parse_and_tell(parsed, http.HttpProtocol._parse))
    other = b"POST /a HTTP/1.1\r\nHost: u\r\nContent-Length: 3\r\n\r\nabc"
    written, seen, _ = answers([PLAIN[0], PLAIN[1], PLAIN[0], other, other], compare=True)
    assert [body for _, _, _, body, _, _ in seen] == [b"abc", b"x" * 60, b"abc", b"abc", b"abc"]
    assert parsed == [PLAIN[0], other]
    assert written.count(b"HTTP/1.1 200 OK\r\n") == 5


def test_client_whose_heads_always_differ_is_not_compared_for_ever(monkeypatch: Any) -> None:
    compared: list[bytes] = []
    real = RepeatedHead.of

    def of(data: bytes, request: Request) -> RepeatedHead | None:
        compared.append(data)
        return real(data, request)

    monkeypatch.setattr(RepeatedHead, "of", of)
    traced = [b"POST /a HTTP/1.1\r\nHost: t\r\nTrace: %d\r\nContent-Length: 3\r\n\r\nabc" % at for at in range(50)]
    _, seen, _ = answers(traced, compare=True)
    assert len(seen) == 50
    assert len(compared) == MAX_MISSES


def parse_and_tell(parsed: list[bytes], parse: Any) -> Any:
    def told(self: http.HttpProtocol, data: bytes) -> None:
        parsed.append(data)
        parse(self, data)

    return told
