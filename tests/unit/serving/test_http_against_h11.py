"""HTTP edge cases beside h11, a strict parser that nobody here wrote: what is taken for a request must be the same request to both.

Two parsers in a row that disagree about where a request ends are how requests are smuggled. Ours may refuse more than h11, never read more.
"""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from corpus.corpus import files, mutated
from modelcycle_serving.connections import Connections, Limits
from modelcycle_serving.http import HttpProtocol
from modelcycle_serving.messages import Request, Response

CORPUS = files("serving/http")
TOKENS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\x00",
        b":",
        b",",
        b";",
        b"0",
        b"chunked",
        b"identity",
        b"\x0b",
        b"HTTP/1.1",
        b"HTTP/1.0",
    ),
    *(
        b"Content-Length: 3\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Host: b\r\n",
        b"Connection: close\r\n",
    ),
    *(
        b"Connection: keep-alive\r\n",
        b"Expect: 100-continue\r\n",
        b"0\r\n\r\n",
        b"3\r\nabc\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    ),
]

Taken = tuple[bytes, bytes, bytes]
"""Method, path and body."""


class Wire(asyncio.Transport):
    """A transport that swallows what is written."""

    def write(self, data: Any) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def close(self) -> None: ...

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@dataclass
class Read:
    """What h11 read."""

    requests: list[Taken] = field(default_factory=list)
    error: str = ""


def ours(raw: bytes) -> list[Taken]:
    """Requests that reach the handler."""
    taken: list[Taken] = []

    def handle(request: Request) -> Response:
        taken.append((request.method, request.path, request.body))
        return Response(200, b"")

    protocol = HttpProtocol(
        Connections(Limits(), lambda: 0.0), handler=handle, refused=lambda *_: None, clock=lambda: 0.0
    )
    protocol.connection_made(Wire())
    protocol.data_received(raw)
    return taken


def strict(raw: bytes) -> Read:
    """Requests until h11 refuses, the connection has to close, or the bytes end."""
    read = Read()
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    try:
        while (request := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED) and isinstance(
            request, h11.Request
        ):
            body = b""
            while isinstance(event := connection.next_event(), h11.Data):
                body += bytes(event.data)
            if not isinstance(event, h11.EndOfMessage):
                break
            path = re.sub(rb"(?i)^https?://[^/]+", b"", request.target.partition(b"?")[0]) or b"/"
            read.requests.append((request.method, path, body))
            if request.method == b"CONNECT":
                break
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                break
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        read.error = str(error)
    return read


def reads_more(raw: bytes) -> str:
    """What is wrong with how we read this; empty when nothing is."""
    taken, read = ours(raw), strict(raw)
    for at, request in enumerate(taken):
        if at < len(read.requests):
            if request != read.requests[at]:
                return f"request {at}: {request}, and to h11 {read.requests[at]}"
        elif not harmless(raw, read.error):
            return f"request {at}: {request} is none to h11: {read.error}"
        else:
            break
    return ""


def harmless(raw: bytes, error: str) -> bool:
    """Line ends before a request (RFC 9112, 2.2: ignore them) and several spaces in its line (3: may be accepted), which h11 refuses."""
    if error == "no request line received" or error.startswith("illegal request line: bytearray(b'\\r"):
        return True
    return "illegal request line" in error and re.search(rb"[A-Z]  +\S+ |\S  +HTTP/1", raw) is not None


@pytest.mark.parametrize("name", CORPUS)
def test_a_known_trap_is_read_as_h11_reads_it_or_refused(name: str) -> None:
    assert reads_more(CORPUS[name]) == ""


@settings(deadline=None, max_examples=examples(80))
@given(raw=mutated(list(CORPUS.values()), TOKENS))
def test_what_is_taken_for_a_request_is_that_request_to_h11(raw: bytes) -> None:
    assert reads_more(raw) == ""


NAMES = st.from_regex(rb"X-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True)
VALUES = st.from_regex(rb"([!-~]([ \t!-~]{0,20}[!-~])?)?", fullmatch=True)


@st.composite
def ordinary(draw: st.DrawFn) -> bytes:
    """One request by the grammar, with a body by length or in chunks."""
    target = draw(st.from_regex(rb"/[a-z0-9/._~%-]{0,20}(\?[a-z=&]{0,9})?", fullmatch=True))
    lines = [draw(st.sampled_from([b"GET", b"POST", b"PUT"])) + b" " + target + b" HTTP/1.1", b"Host: t"]
    lines += [name + b": " + value for name, value in draw(st.dictionaries(NAMES, VALUES, max_size=4)).items()]
    body = draw(st.binary(max_size=40))
    if draw(st.booleans()):
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", b""]) + body
    cut = draw(st.integers(0, len(body)))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part)
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""]) + chunks + b"0\r\n\r\n"


@settings(deadline=None, max_examples=examples(80))
@given(requests=st.lists(ordinary(), min_size=1, max_size=4))
def test_ordinary_requests_are_taken_by_both_alike(requests: list[bytes]) -> None:
    raw = b"".join(requests)

    assert len(ours(raw)) == len(requests)
    assert ours(raw) == strict(raw).requests
