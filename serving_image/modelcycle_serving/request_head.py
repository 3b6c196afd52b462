"""What is refused from a request's head alone, beyond what the parser refuses: whatever two readers could read differently.

Pure. The rules are those of RFC 9112, where it leaves a server a choice the strict one.
"""

from collections.abc import Mapping
from typing import Final

from modelcycle_serving.messages import Response, problem

ONCE: Final = frozenset({b"host", b"transfer-encoding"})
"""Header fields that may not occur twice."""


def unacceptable(headers: Mapping[bytes, bytes], version: str, max_body: int) -> Response | None:
    """The refusal of a request with these fields, names in lower case; None when its body is wanted."""
    coding = headers.get(b"transfer-encoding")
    if version not in ("1.1", "1.0"):
        return problem(400, "HTTP/1.1 or HTTP/1.0 is spoken here")
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
