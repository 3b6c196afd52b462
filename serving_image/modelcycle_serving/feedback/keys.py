"""The keys of feedback tokens, read from a file and again when it changes.

Owns what such a file is: the text of a Secret, one key a line. The first signs, all are accepted, and so is the one that signed before a
change, so that a rotation loses no label. No file, no keys: then feedback is off. Never logs a key.
"""

from pathlib import Path
from typing import Final

from modelcycle_serving.feedback.tokens import Key
from modelcycle_serving.logs import log

MIN_LENGTH: Final = 32
"""Bytes of a key: `openssl rand -base64 32` gives 44."""
MAX_KEYS: Final = 4
MAX_BYTES: Final = 4096
_NEVER: Final = b"\0"
"""Seen before the first look: no key file begins so."""


class KeyFile:
    """One file. What is not a key file changes nothing; a file that is gone takes the keys with it."""

    def __init__(self, path: Path) -> None:
        self.signing: Key | None = None
        self.accepted: tuple[Key, ...] = ()
        self._path: Final = path
        self._seen: bytes | None = _NEVER
        self._before: bytes | None = None

    def look(self) -> None:
        """Read the file now."""
        text = self._text()
        if text == self._seen:
            return
        self._seen = text
        if text is None:
            self.signing, self.accepted = None, ()
            log.warning("no feedback key: answers carry no tokens and labels are refused")
            return
        secrets = [line.strip() for line in text.splitlines() if line.strip()]
        if len(text) > MAX_BYTES or not 1 <= len(secrets) <= MAX_KEYS or min(map(len, secrets)) < MIN_LENGTH:
            detail = f"expected 1 to {MAX_KEYS} lines, each a key of at least {MIN_LENGTH} bytes"
            log.warning("the feedback key file is not valid; the last keys stay", extra={"detail": detail})
            return
        self._use(secrets)

    def _text(self) -> bytes | None:
        try:
            # The kubelet swaps a link to a whole new folder, so one open sees one text.
            with self._path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError:
            return self._seen

    def _use(self, secrets: list[bytes]) -> None:
        if self.signing is not None and self.signing.secret != secrets[0]:
            self._before = self.signing.secret
        before = () if self._before is None else (self._before,)
        keys = {secret: Key(secret) for secret in (*secrets, *before)}
        self.signing, self.accepted = keys[secrets[0]], tuple(keys.values())
        log.info("feedback keys", extra={"accepted": len(keys)})
