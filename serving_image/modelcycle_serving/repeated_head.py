"""The head that a client repeats: keep-alive clients send the same bytes again, but for the digits of Content-Length.

Owns the comparison. A head counts as known only after the parser has taken the very same bytes as one whole, ordinary request, so that
skipping the parser can change no answer. Anything else, however slightly different, is the parser's to judge.
"""

from typing import Final

from modelcycle_serving.messages import Request

MAX_HEAD: Final = 2048
"""Bytes of the longest head that is remembered; each connection remembers one."""
MAX_MISSES: Final = 8
"""A client whose heads differ this often in a row is no longer compared."""
_MAX_DIGITS: Final = 9
_LENGTH: Final = b"\r\ncontent-length:"
_UNUSUAL: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"content-encoding", b"trailer"})


class RepeatedHead:
    """The head of the last request that was read by the parser."""

    __slots__ = ("_headers", "_method", "_path", "_prefix", "_suffix")

    def __init__(self, prefix: bytes, suffix: bytes, request: Request) -> None:
        self._prefix = prefix
        self._suffix = suffix
        self._method = request.method
        self._path = request.path
        # The length is the body's, and the next body has another.
        self._headers = {name: value for name, value in request.headers.items() if name != b"content-length"}

    @staticmethod
    def of(data: bytes, request: Request) -> "RepeatedHead | None":
        """What to remember of `data`, which the parser took for exactly one request; None when it is not ordinary."""
        size = len(data) - len(request.body)
        if size > MAX_HEAD or not request.keep_alive or request.http_1_0 or not _UNUSUAL.isdisjoint(request.headers):
            return None
        raw = data[:size]
        lower = raw.lower()
        if lower.count(_LENGTH) != 1 or not raw.endswith(b"\r\n\r\n"):
            return None
        begin = lower.index(_LENGTH) + len(_LENGTH)
        end = raw.index(b"\r\n", begin)
        digits = raw[begin:end].lstrip(b" ")
        if not digits.isdigit() or int(digits) != len(request.body):
            return None
        return RepeatedHead(raw[: end - len(digits)], raw[end:], request)

    def request_in(self, data: bytes) -> Request | None:
        """The request that `data` is when it is this head, but for the length, and one whole body; None for anything else."""
        prefix, suffix = self._prefix, self._suffix
        if not data.startswith(prefix):
            return None
        begin = len(prefix)
        end = data.find(b"\r", begin, begin + _MAX_DIGITS + 1)
        if end < 0 or not data.startswith(suffix, end):
            return None
        digits = data[begin:end]
        body = data[end + len(suffix) :]
        if not digits.isdigit() or int(digits) != len(body):
            return None
        return Request(self._method, self._path, self._headers, body, True, False, len(body))
