"""What a request's head says beyond its syntax: which path is asked for, and what is refused because two readers could read it differently.

Pure. The rules are those of RFC 9112, where it leaves a server a choice the strict one.
"""

from typing import Final

from modelcycle_serving.messages import Request, Response, problem

ONCE: Final = frozenset({b"host", b"transfer-encoding", b"authorization", b"inference-header-content-length"})
"""Header fields that may not occur twice."""


def unacceptable(request: Request, version: str, max_body: int) -> Response | None:
    """The refusal of a request whose head is read; None when its body is wanted."""
    headers = request.headers
    coding = headers.get(b"transfer-encoding")
    if version not in ("1.1", "1.0"):
        return problem(400, "HTTP/1.1 or HTTP/1.0 is spoken here")
    if request.method == b"CONNECT":
        return problem(501, "this is no proxy")
    if version == "1.1" and b"host" not in headers:
        return problem(400, "a request needs a Host header")
    if coding is not None and (version == "1.0" or coding.lower() != b"chunked"):
        # The parser takes any list that ends in chunked, and hands over as the body what is still coded.
        return problem(400, "Transfer-Encoding: only chunked, and only in HTTP/1.1")
    if headers.get(b"content-encoding", b"identity") != b"identity":
        return problem(415, "Content-Encoding: compressed bodies are not accepted")
    if int(headers.get(b"content-length") or 0) > max_body:
        return too_large(max_body)
    return None


def too_large(max_body: int) -> Response:
    """413."""
    return problem(413, f"the body is larger than {max_body} bytes")


def origin_form(target: bytes) -> bytes:
    """The path of a request target. A target that names scheme and host, as to a proxy, every server has to take (RFC 9112, 3.2.2)."""
    path = target.partition(b"?")[0]
    if path[:1] == b"/":
        return path
    scheme, _, rest = path.partition(b"://")
    authority, _, rest = rest.partition(b"/")
    return b"/" + rest if authority and scheme.lower() in (b"http", b"https") else path


def without_upgrade(request: Request, target: bytes) -> bytes:
    """The head of `request` once more, without its offer of another protocol: a server may ignore that (RFC 9110, 7.8), not the body.

    Java's HttpClient makes the offer with every first request of a connection, those with a body among them.
    """
    connection = b"keep-alive" if request.keep_alive else b"close"
    fields = {**request.headers, b"connection": connection}
    del fields[b"upgrade"]
    lines = [b"%b: %b\r\n" % field for field in fields.items()]
    version = b"1.0" if request.http_1_0 else b"1.1"
    return b"%b %b HTTP/%b\r\n%b\r\n" % (request.method, target, version, b"".join(lines))
