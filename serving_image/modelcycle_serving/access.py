"""Who may ask: a bearer token that every request on the serving port has to carry, but those for health.

Owns the token file and the comparison (RFC 6750). A request that another pod hands on is like any other: it carries its client's token.
Never logs a token, and takes as long for a wrong one as for a right one.
"""

from collections.abc import Callable
from hmac import compare_digest
from pathlib import Path
from typing import Final

from modelcycle_serving.logs import log
from modelcycle_serving.messages import Handler, Reply, Request, Response, problem

MIN_LENGTH: Final = 16
"""Bytes of a token."""
MAX_TOKENS: Final = 64
MAX_BYTES: Final = 16 * 1024
HEALTH: Final = b"/v2/health/"
"""Paths that probes ask for; nobody gives a kubelet a token."""
_SCHEME: Final = b"bearer "
_ASK: Final = ((b"WWW-Authenticate", b'Bearer realm="modelcycle"'),)
_REFUSE: Final = ((b"WWW-Authenticate", b'Bearer realm="modelcycle", error="invalid_token"'),)


class TokenFileError(ValueError):
    """The file holds no tokens. Says what was expected, never what was found."""


class TokenFile:
    """The tokens of one file, one a line; any of them is good, so that one can be replaced without a gap."""

    def __init__(self, path: Path) -> None:
        """Raises TokenFileError and OSError: a server told to ask for a token never goes without."""
        self._path: Final = path
        self._seen = self._read()
        self._tokens = _tokens(self._seen)

    def look(self) -> None:
        """Read the file again if it changed. What is no token file changes nothing: the last tokens stay."""
        try:
            text = self._read()
        except OSError:
            return
        if text == self._seen:
            return
        self._seen = text
        try:
            self._tokens = _tokens(text)
        except TokenFileError as error:
            log.warning("the token file is not valid; the last tokens stay", extra={"detail": str(error)})
        else:
            log.info("bearer tokens", extra={"accepted": len(self._tokens)})

    def allows(self, authorization: bytes) -> bool:
        """Whether this value of the header Authorization carries one of the tokens."""
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            return False
        given = authorization[len(_SCHEME) :].strip()
        # All are compared, whichever fits: the time tells nothing.
        return sum(compare_digest(given, token) for token in self._tokens) > 0

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            return file.read(MAX_BYTES + 1)


class Guard:
    """Hands requests with a token to `handler`, answers all others 401 and tells `refused`."""

    def __init__(self, tokens: TokenFile, handler: Handler, refused: Callable[[Request, Response], None]) -> None:
        self._tokens: Final = tokens
        self._handler: Final = handler
        self._refused: Final = refused

    def __call__(self, request: Request) -> Reply:
        """Answer one request."""
        given = request.headers.get(b"authorization")
        if given is not None and self._tokens.allows(given):
            request.authorization = given
            return self._handler(request)
        if request.path.startswith(HEALTH):
            return self._handler(request)
        response = problem(401, "a bearer token is needed: Authorization: Bearer <token>", _REFUSE if given else _ASK)
        self._refused(request, response)
        return response


def _tokens(text: bytes) -> tuple[bytes, ...]:
    tokens = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(text) > MAX_BYTES or not 1 <= len(tokens) <= MAX_TOKENS or min(map(len, tokens)) < MIN_LENGTH:
        raise TokenFileError(f"expected 1 to {MAX_TOKENS} lines, each a token of at least {MIN_LENGTH} bytes")
    return tokens
