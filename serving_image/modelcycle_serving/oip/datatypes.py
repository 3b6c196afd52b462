"""The protocol's datatypes: which values each holds, as JSON and as little-endian bytes.

Owns the table and the conversions of one tensor between float32 and either form. Every conversion is careful: it says
which value is at fault.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelcycle_serving.oip.messages import BadInput, Rows

Values = tuple[Rows, bool]
"""Float32 values of one tensor, [N], and whether some may be missing."""


class Kind(Enum):
    """What a datatype's values are in JSON."""

    NUMBER = "a number"
    INTEGER = "an integer"
    BOOLEAN = "true or false"


_TYPES: Final = {
    Kind.NUMBER: frozenset({int, float, type(None)}),
    Kind.INTEGER: frozenset({int, type(None)}),
    Kind.BOOLEAN: frozenset({bool, type(None)}),
}


@dataclass(frozen=True, slots=True)
class Datatype:
    """One datatype that holds numbers. `wire` is its form in binary tensors."""

    kind: Kind
    wire: np.dtype[Any]
    bounds: tuple[int, int] | None = None
    """Least and greatest integer."""


def _integer(name: str) -> Datatype:
    info = np.iinfo(name.lower())
    return Datatype(Kind.INTEGER, info.dtype.newbyteorder("<"), (int(info.min), int(info.max)))


BYTES: Final = "BYTES"
BF16: Final = "BF16"
NUMERIC: Final = {
    "BOOL": Datatype(Kind.BOOLEAN, np.dtype(np.uint8)),
    **{name: _integer(name) for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")},
    "FP16": Datatype(Kind.NUMBER, np.dtype("<f2")),
    "FP32": Datatype(Kind.NUMBER, np.dtype("<f4")),
    "FP64": Datatype(Kind.NUMBER, np.dtype("<f8")),
    # numpy has no such type: the upper halves of float32 values.
    BF16: Datatype(Kind.NUMBER, np.dtype("<u2")),
}


def from_json(raw: Any, datatype: str, field: str, rows: int, width: int) -> Values:
    """What orjson made of a tensor's `data`, flat or nested by rows, to rows * width values; null is NaN.

    Decimal text becomes the nearest double first and float32 from that, as it does in clients that compute in doubles.
    Raises BadInput.
    """
    flat = _flat(raw, field, rows, width)
    _check_types(flat, NUMERIC[datatype], datatype, field)
    with np.errstate(over="ignore"):
        values = np.array(flat, dtype=np.float32)
    _refuse_infinite(values, field)
    return values, True


def _flat(raw: Any, field: str, rows: int, width: int) -> list[Any]:
    if not isinstance(raw, list):
        raise BadInput(field, "expected a list")
    data: list[Any] = raw
    if len(data) == rows and data and type(data[0]) is list:
        for at, row in enumerate(data):
            if type(row) is not list or len(row) != width:
                raise BadInput(f"{field}[{at}]", f"expected a list of {width} numbers, as the shape says")
        data = list(chain.from_iterable(data))
    if len(data) != rows * width:
        raise BadInput(field, "the number of values differs from what the shape says")
    return data


def _check_types(flat: Sequence[Any], datatype: Datatype, name: str, field: str) -> None:
    allowed = _TYPES[datatype.kind]
    if not set(map(type, flat)) <= allowed:
        at = next(at for at, value in enumerate(flat) if type(value) not in allowed)
        raise BadInput(f"{field}[{at}]", f"expected {datatype.kind.value} or null")
    if datatype.bounds is not None:
        low, high = datatype.bounds
        at = next((at for at, value in enumerate(flat) if value is not None and not low <= value <= high), -1)
        if at >= 0:
            raise BadInput(f"{field}[{at}]", f"out of the range of {name}")


def _refuse_infinite(values: Rows, field: str) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        raise BadInput(f"{field}[{int(infinite.argmax())}]", "out of the range of FP32")


def from_bytes(body: bytes, offset: int, count: int, datatype: str, field: str) -> Values:
    """`count` values of a binary tensor to float32; NaN is a missing value. Raises BadInput.

    FP32 is not copied: the values are a read-only view of `body`, unless they lie where a float32 may not. Overflow in the
    sum of squares is expected.
    """
    raw: NDArray[Any] = np.frombuffer(body, NUMERIC[datatype].wire, count, offset)
    if datatype == "BOOL" and count and int(raw.max()) > 1:
        raise BadInput(f"{field}[{int((raw > 1).argmax())}]", "expected the byte 0 or 1")
    if datatype == BF16:
        values = (raw.astype(np.uint32) << 16).view(np.float32)
    elif datatype == "FP64":
        with np.errstate(over="ignore"):
            values = raw.astype(np.float32)
    elif datatype == "FP32":
        values = raw if raw.flags.aligned and raw.dtype.isnative else raw.astype(np.float32)
    else:
        # By way of doubles, as the same numbers in JSON go.
        values = raw.astype(np.float64).astype(np.float32)
    # A third of the time of isfinite and all; where squares overflow, those have to look.
    if math.isfinite(values.dot(values)) or np.isfinite(values).all():
        return values, False
    _refuse_infinite(values, field)
    return values, True


def to_bytes(values: NDArray[Any], datatype: str) -> bytes:
    """An output as a binary tensor: little-endian, row-major; strings as a 4-byte length and UTF-8 each."""
    if datatype == BYTES:
        texts = [str(value).encode() for value in values.reshape(-1).tolist()]
        return b"".join(part for text in texts for part in (len(text).to_bytes(4, "little"), text))
    return values.astype(NUMERIC[datatype].wire, copy=False).tobytes()
