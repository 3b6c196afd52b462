"""What the server and its explaining process say to each other: a length, then bytes of a fixed form.

Owns the encoding of both directions. Neither side trusts a length: more than MAX_FRAME is an error.
"""

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LENGTH: Final = struct.Struct("<I")
MAX_FRAME: Final = 1 << 28
_SHAPE: Final = struct.Struct("<II")
_FAILED: Final = struct.Struct("<I").pack(0)


class Failed(Exception):
    """The explaining process could not explain. The text names the kind of error, never a value."""


@dataclass(frozen=True, slots=True)
class Explained:
    """N explained rows; see explainer.Explanation."""

    method: str
    space: str
    explained: NDArray[np.int64]
    score: NDArray[np.float64]
    base: NDArray[np.float64]
    contributions: NDArray[np.float64]


def frame(body: bytes) -> bytes:
    """A body as it is written to the pipe."""
    return LENGTH.pack(len(body)) + body


def rows_to_bytes(rows: NDArray[np.float32]) -> bytes:
    """Rows [N, F]."""
    return _SHAPE.pack(*rows.shape) + np.ascontiguousarray(rows, dtype="<f4").tobytes()


def rows_from_bytes(body: bytes) -> NDArray[np.float32]:
    """The reverse."""
    return np.frombuffer(body, "<f4", offset=_SHAPE.size).reshape(_SHAPE.unpack_from(body))


def explained_to_bytes(answer: Explained) -> bytes:
    """One answer."""
    count, features = answer.contributions.shape
    words = f"{answer.method}\n{answer.space}".encode()
    arrays: tuple[NDArray[Any], ...] = (
        answer.explained.astype("<i8"),
        answer.score.astype("<f8"),
        answer.base.astype("<f8"),
        answer.contributions.astype("<f8"),
    )
    return b"".join(
        (LENGTH.pack(len(words)), words, _SHAPE.pack(count, features), *(each.tobytes() for each in arrays))
    )


def failure_to_bytes(kind: str) -> bytes:
    """Instead of an answer."""
    return _FAILED + kind.encode()


def explained_from_bytes(body: bytes) -> Explained:
    """Raises Failed."""
    (size,) = LENGTH.unpack_from(body)
    if not size:
        raise Failed(body[LENGTH.size :].decode(errors="replace"))
    at = LENGTH.size + size
    method, space = body[LENGTH.size : at].decode().split("\n")
    count, features = _SHAPE.unpack_from(body, at)
    at += _SHAPE.size
    explained = np.frombuffer(body, "<i8", count, at)
    numbers = np.frombuffer(body, "<f8", offset=at + 8 * count)
    return Explained(
        method,
        space,
        explained,
        numbers[:count],
        numbers[count : 2 * count],
        numbers[2 * count :].reshape(count, features),
    )
