"""The quick reader of JSON: arrays of numbers go from text to float32 without becoming Python numbers.

Owns where such an array begins and ends in a request's text, and its conversion by simdjson. Whatever is unusual, wrong
or not JSON it leaves to the careful reader of `datatypes`, which decides and finds the words. So its rule is never to
accept what that one would refuse, nor to read another value (tests/properties/test_oip_readers.py).
"""

from typing import Any, Final

import numpy as np
import simdjson
from numpy.typing import NDArray

from modelcycle_serving.oip.datatypes import NUMERIC, Kind, Values

REUSED_BYTES: Final = 1024 * 1024
"""A parser keeps buffers of about 14 times its largest text: a larger one gets a parser of its own."""
_KEY: Final = b'"data"'
_NUMBER: Final = Kind.NUMBER
"""An enum's members are found slowly."""
_NULL: Final = 9e307
_NULL_TEXT: Final = b" 9e307 "
"""Stands for null: no FP32, so no accepted text has that number; the spaces let it end no other token."""
_SQUARES: Final = float(np.finfo(np.float32).max) ** 2
"""A sum of squares below this has no term out of FP32's range."""
_NATIVE: Final = {"d": np.dtype(np.float64), "i": np.dtype(np.int64), "u": np.dtype(np.uint64)}
_COUNTED_BY_NUMPY: Final = 8192
_parser = simdjson.Parser()


class Unusual(ValueError):
    """The careful reader has to look."""


def cut(text: bytes, most: int) -> tuple[bytes, list[bytes]]:
    """Take the arrays under `"data"` out of a text: the rest, with 0, 1, ... in their places, and the arrays.

    Raises Unusual with more than `most` of them, or where one is not the list of numbers it seems. If the rest is JSON
    without a backslash, each occurrence of the key is one, for no string has a quote inside; then the whole text is
    JSON if and only if the rest and each array are.
    """
    pieces: list[bytes] = []
    arrays: list[bytes] = []
    done, brace = 0, -1
    at = text.find(_KEY)
    while at >= 0:
        after = at + len(_KEY)
        start = after + 1 if text.startswith(b":[", after) else after + 2 if text.startswith(b": [", after) else -1
        # Looked for anew only when passed, so that no text makes this quadratic.
        brace = brace if brace > start else text.find(b"}", start)
        if start < 0 or brace < 0 or len(arrays) == most:
            raise Unusual
        quote = text.find(b'"', start, brace)
        end = text.rfind(b"]", start, brace if quote < 0 else quote) + 1
        if not end:
            raise Unusual
        pieces += (text[done:start], b" %d " % len(arrays))
        arrays.append(text[start:end])
        done = end
        at = text.find(_KEY, end)
    pieces.append(text[done:])
    return b"".join(pieces), arrays


def read(array: bytes, datatype: str, rows: int, width: int) -> Values:
    """The rows * width values of one array's text. Raises Unusual where the careful reader has to look.

    Overflow in the sum of squares is expected: it is how a number out of FP32's range shows itself.
    """
    spec = NUMERIC[datatype]
    gaps = array.count(b"null") if b"n" in array else 0
    if spec.kind is _NUMBER:
        numbers = _numbers(array.replace(b"null", _NULL_TEXT) if gaps else array, "d", rows, width)
        if not gaps and numbers.dot(numbers) < _SQUARES:
            return numbers.astype(np.float32), False
        return _with_extremes(numbers, gaps)
    if spec.bounds is None:
        raise Unusual
    numbers = _numbers(array, "u" if datatype == "UINT64" else "i", rows, width)
    if int(numbers.min()) < spec.bounds[0] or int(numbers.max()) > spec.bounds[1]:
        raise Unusual
    # By way of doubles: an integer is rounded as the same number with a point is.
    return numbers.astype(np.float64).astype(np.float32), False


def _numbers(array: bytes, native: str, rows: int, width: int) -> NDArray[Any]:
    parser = _parser if len(array) <= REUSED_BYTES else simdjson.Parser()
    try:
        parsed: Any = parser.parse(array)
        # Flattening takes whatever depth it finds, so the shape is checked before.
        if array.find(b"[", 1) >= 0 and not _is_matrix(parsed, _lists(array), rows, width):
            raise Unusual
        numbers: NDArray[Any] = np.frombuffer(parsed.as_buffer(of_type=native), dtype=_NATIVE[native])
    except (ValueError, TypeError, RuntimeError):
        raise Unusual from None
    if len(numbers) != rows * width:
        raise Unusual
    return numbers


def _lists(array: bytes) -> int:
    """How many lists a text opens. numpy counts at four times the speed of bytes, but has to be called first."""
    if len(array) < _COUNTED_BY_NUMPY:
        return array.count(b"[")
    return int(np.count_nonzero(np.frombuffer(array, np.uint8) == ord("[")))


def _is_matrix(parsed: Any, lists: int, rows: int, width: int) -> bool:
    return len(parsed) == rows == lists - 1 and all(len(row) == width for row in parsed)


def _with_extremes(numbers: NDArray[Any], gaps: int) -> Values:
    if gaps:
        missing = numbers == _NULL
        if np.count_nonzero(missing) != gaps:
            raise Unusual
        numbers[missing] = np.nan
    with np.errstate(over="ignore"):
        values = numbers.astype(np.float32)
    if np.isinf(values).any():
        raise Unusual
    return values, gaps > 0
