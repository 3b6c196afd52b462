"""What travels to the other revision with a request and comes back with its answer.

Owns the headers of a request that is handed on or copied: the marker, what the body cannot be read without, and the client's token where
this pod asks for one, since the others do so too. Never passes on anything else a client sent in its headers.
"""

from typing import Final

from modelcycle_bundle.traffic import MARKER, Traffic
from modelcycle_serving.bodies import HEADER_LENGTH, HEADER_LENGTH_KEY
from modelcycle_serving.messages import JSON, Request, Response
from modelcycle_serving.upstream import Answer

_MARKER: Final = MARKER.encode()
_COPIED: Final = (b"content-type", HEADER_LENGTH_KEY)


def marker(request: Request) -> str | None:
    """The marker of a request that says it was handed on; None without one. Any client can send one: look at what it names."""
    text = request.headers.get(_MARKER)
    return None if text is None else text.decode("latin-1")


def head(request: Request, traffic: Traffic) -> bytes:
    """The request's head, made anew."""
    copied = b"".join(b"%s: %s\r\n" % (name, request.headers[name]) for name in _COPIED if name in request.headers)
    if request.authorization:
        copied += b"Authorization: %s\r\n" % request.authorization
    return b"POST %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\nContent-Length: %d\r\n%s\r\n" % (
        request.path,
        traffic.target.encode(),
        _MARKER,
        traffic.rollout.encode(),
        len(request.body),
        copied,
    )


def response(answer: Answer) -> Response:
    """The other revision's answer as this pod gives it."""
    length = answer.headers.get(HEADER_LENGTH_KEY)
    headers = () if length is None else ((HEADER_LENGTH, length),)
    return Response(answer.status, answer.body, answer.headers.get(b"content-type", JSON), headers)
