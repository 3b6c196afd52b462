"""What a feedback token says, its bytes and its signature.

Owns the wire form: a token is URL-safe base64 without padding of the fields below and a keyed BLAKE2b of them. Signed, not secret: who
holds one can read it, and learns nothing that the answer did not say but revision and rollout. Holds no input, and of an answer only what
a label is compared with.

    kind      1   "C" classes, "V" values
    minute    4   of the answer, Unix time / 60
    id        8   random: equal answers of one minute stay apart
    profile   6   of the model that answered
    rows      2
    revision, rollout       each one byte of length and UTF-8
    C: count (2) of classes, each two bytes of length and UTF-8; per row the class's place among them (1 byte, 2 above 256 classes); per row
       the confidence bin (1)
    V: per row the prediction (4, float32)
    signature 16

Numbers are big-endian.
"""

import binascii
import hashlib
import hmac
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

MAX_ROWS: Final = 4096
"""An answer of more rows carries no token: that would be longer than most requests."""
MAX_BINS: Final = 256
SIGNATURE: Final = 16
"""Bytes: 128 bits, what a forger would have to guess in one try."""
_KEY_BYTES: Final = 64
_PERSON: Final = b"modelcycle/token"
"""The same Secret used for anything else gives other signatures."""
_HEAD: Final = struct.Struct(">BIQ6sH")
_COUNT: Final = struct.Struct(">H")
_CLASSES: Final = ord("C")
_VALUES: Final = ord("V")
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_PLAIN: Final = bytes.maketrans(b"-_", b"+/")


class Forged(ValueError):
    """The text is no token, or signed by none of the keys."""


@dataclass(frozen=True, slots=True)
class PredictedClasses:
    """A classifier's answers: for each row the place of its class among `classes`, and the confidence bin by the profile that answered."""

    classes: tuple[str, ...]
    rows: Sequence[int]
    confidence: Sequence[int]


@dataclass(frozen=True, slots=True)
class PredictedValues:
    """A regression's answers, float32."""

    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """What one answer was. `minute` is Unix time / 60, `profile` twelve hex digits."""

    minute: int
    identity: int
    profile: str
    revision: str
    rollout: str
    answers: PredictedClasses | PredictedValues

    def __len__(self) -> int:
        """Rows."""
        answers = self.answers
        return len(answers.rows) if isinstance(answers, PredictedClasses) else len(answers.values)


class Key:
    """Signs and checks. `secret` is any text of a Secret's file, hashed to the key."""

    __slots__ = ("_keyed", "secret")

    def __init__(self, secret: bytes) -> None:
        self.secret: Final = secret
        key = hashlib.blake2b(secret, digest_size=_KEY_BYTES, person=_PERSON).digest()
        self._keyed = hashlib.blake2b(key=key, digest_size=SIGNATURE, person=_PERSON)

    def signature(self, fields: bytes) -> bytes:
        """SIGNATURE bytes."""
        keyed = self._keyed.copy()
        keyed.update(fields)
        return keyed.digest()


def sealed(fields: bytes, key: Key) -> str:
    """The token of encoded fields."""
    return _text(fields + key.signature(fields))


def opened(text: str, keys: Iterable[Key]) -> Token:
    """What a token says. Raises Forged unless one of `keys` signed exactly this text."""
    try:
        # The one text of these bytes: a token with other idle bits, padding or alphabet is another text.
        raw = binascii.a2b_base64(text.encode("ascii").translate(_PLAIN) + b"=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise Forged("no token") from None
    fields, signature = raw[:-SIGNATURE], raw[-SIGNATURE:]
    if _text(raw) != text or not any(hmac.compare_digest(key.signature(fields), signature) for key in keys):
        raise Forged("signed by none of the keys")
    return _decoded(fields)


def named(text: str) -> bytes:
    """A revision or a rollout as the fields have it. Raises ValueError above 255 bytes of UTF-8."""
    raw = text.encode()
    return bytes((len(raw),)) + raw


def class_name(text: str) -> bytes:
    """A class as the fields have it. Raises struct.error above 65,535 bytes of UTF-8."""
    raw = text.encode()
    return _COUNT.pack(len(raw)) + raw


def class_fields(
    minute: int, identity: int, profile: bytes, about: bytes, classes: Sequence[bytes], rows: Sequence[int], bins: bytes
) -> bytes:
    """Encoded fields of a classifier's answers; `about` is revision and rollout, each `named`, `classes` are `class_name`s."""
    head = _HEAD.pack(_CLASSES, minute, identity, profile, len(rows))
    places = bytes(rows) if len(classes) <= MAX_BINS else struct.pack(f">{len(rows)}H", *rows)
    return b"".join((head, about, _COUNT.pack(len(classes)), *classes, places, bins))


def value_fields(minute: int, identity: int, profile: bytes, about: bytes, values: Sequence[float]) -> bytes:
    """Encoded fields of a regression's answers."""
    head = _HEAD.pack(_VALUES, minute, identity, profile, len(values))
    return head + about + struct.pack(f">{len(values)}f", *values)


def _text(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).translate(_URL_SAFE).rstrip(b"=").decode("ascii")


def _decoded(fields: bytes) -> Token:
    """Of signed fields, so they are of our own making: no length is checked against what is there."""
    kind, minute, identity, profile, rows = _HEAD.unpack_from(fields)
    revision, at = _name(fields, _HEAD.size)
    rollout, at = _name(fields, at)
    answers = _values(fields, at, rows) if kind == _VALUES else _classes(fields, at, rows)
    return Token(minute, identity, profile.hex(), revision, rollout, answers)


def _name(fields: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + fields[at]
    return fields[at + 1 : end].decode(), end


def _values(fields: bytes, at: int, rows: int) -> PredictedValues:
    return PredictedValues(struct.unpack_from(f">{rows}f", fields, at))


def _classes(fields: bytes, at: int, rows: int) -> PredictedClasses:
    (count,) = _COUNT.unpack_from(fields, at)
    at += _COUNT.size
    classes: list[str] = []
    for _ in range(count):
        (size,) = _COUNT.unpack_from(fields, at)
        at += _COUNT.size + size
        classes.append(fields[at - size : at].decode())
    width = 1 if count <= MAX_BINS else 2
    places = struct.unpack_from(f">{rows}{'B' if width == 1 else 'H'}", fields, at)
    at += rows * width
    return PredictedClasses(tuple(classes), places, fields[at : at + rows])
