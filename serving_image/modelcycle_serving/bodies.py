"""Where the protocol meets HTTP: the header that tells the JSON of a body from the tensors behind it.

Owns that header in requests and answers of this process. No sockets, no paths, no models.
"""

from typing import Final

from modelcycle_serving import oip
from modelcycle_serving.messages import Request, Response

HEADER_LENGTH: Final = oip.HEADER_LENGTH.encode()
HEADER_LENGTH_KEY: Final = HEADER_LENGTH.lower()
"""As a request's headers have it."""
BINARY: Final = b"application/octet-stream"


def header_length(request: Request) -> int | None:
    """How many bytes of the body are JSON, when tensors follow it. Raises BadInput."""
    text = request.headers.get(HEADER_LENGTH_KEY)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 10 or int(text) > len(request.body):
        raise oip.BadInput(oip.HEADER_LENGTH, "expected the number of bytes of the JSON that the body begins with")
    return int(text)


def good(encoded: oip.Encoded) -> Response:
    """A 200 with this body."""
    if encoded.header_length is None:
        return Response(200, encoded.body)
    return Response(200, encoded.body, BINARY, ((HEADER_LENGTH, b"%d" % encoded.header_length),))
