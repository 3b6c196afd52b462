"""One inference request: body to checked float32 rows.

Owns the order in which a body is read, and the choice between the quick reader of JSON numbers and the careful one.
Both give the same rows; only the careful one refuses, so that an error has one wording.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson

from modelcycle_serving.oip import number_arrays
from modelcycle_serving.oip.datatypes import Values, from_bytes, from_json
from modelcycle_serving.oip.head import SIZE, UNUSED, Head, Tensor, read_head
from modelcycle_serving.oip.messages import HEADER_LENGTH, BadInput, InferRequest, Rows, Signature

_ID: Final = b'"id"'
REMEMBERED_HEADS: Final = 128
REMEMBERED_BYTES: Final = 16 * 1024
"""A longer head is checked each time: what clients send must not fill the memory."""
LONG: Final = 1024 * 1024
MAX_PARTS: Final = 1 << 19
"""Lists, objects and ends of strings in a text of more than LONG bytes: rows are the most that a request has many of. Each can become a
Python object, of up to forty times its bytes."""


def parse_infer(body: bytes, header_length: int | None, signature: Signature) -> InferRequest:
    """Check and convert one request body, of which `header_length` bytes are JSON (None: all). Raises BadInput."""
    if header_length is None:
        text = body
    elif header_length <= len(body):
        text = body[:header_length]
    else:
        raise BadInput(HEADER_LENGTH, "greater than the length of the body")
    if len(text) > LONG and _parts(text) > MAX_PARTS:
        raise BadInput("body", f"expected at most {MAX_PARTS} lists, objects and strings in the JSON")
    try:
        return quick(text, body, header_length, signature)
    except ValueError:
        return careful(text, body, header_length, signature)


def _parts(text: bytes) -> int:
    characters = np.frombuffer(text, np.uint8)
    return sum(int(np.count_nonzero(characters == each)) for each in b'[{"')


def quick(text: bytes, body: bytes, header_length: int | None, signature: Signature) -> InferRequest:
    """Rows of `text`, the JSON that `body` begins with. Raises ValueError, of no further meaning, where the careful
    reader has to look."""
    rest, arrays = number_arrays.cut(text, len(signature.inputs))
    rest, request_id = _without_id(rest)
    head_of = _remembered_head if len(rest) <= REMEMBERED_BYTES else _head
    head = head_of(rest, len(arrays), signature)

    def read(tensor: Tensor) -> Values:
        return number_arrays.read(arrays[tensor.data], tensor.datatype, tensor.rows, tensor.width)

    asked = _assembled(head, read, body, header_length, signature)
    if request_id is None:
        return asked
    if asked.request_id != "":
        raise number_arrays.Unusual
    return InferRequest(asked.rows, request_id, asked.outputs, asked.parameters)


def _without_id(rest: bytes) -> tuple[bytes, str | None]:
    """Empty the one string that follows the only "id" in a text, so that requests that differ in it alone have one head.

    None: left as it is. Whether that was the request's id shows in the head, where it must be empty then.
    """
    at = rest.find(_ID)
    if at < 0:
        return rest, None
    start = at + 6 if rest.startswith(b':"', at + 4) else at + 7 if rest.startswith(b': "', at + 4) else -1
    if start < 0 or rest.find(_ID, start) >= 0:
        return rest, None
    end = rest.find(b'"', start)
    text = rest[start:end]
    # The same bytes are valid inside a JSON string: neither a quote, an escape nor a control character is among them.
    if end < 0 or b"\\" in text or not text.isascii() or not (plain := text.decode("ascii")).isprintable():
        return rest, None
    return rest[:start] + rest[end:], plain


def careful(text: bytes, body: bytes, header_length: int | None, signature: Signature) -> InferRequest:
    """The same for whatever a body may be. Raises BadInput."""

    def read(tensor: Tensor) -> Values:
        return from_json(tensor.data, tensor.datatype, f"{tensor.field}.data", tensor.rows, tensor.width)

    return _assembled(read_head(_loaded(text), signature), read, body, header_length, signature)


def _loaded(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        hint = "NaN and Infinity are not JSON, null is a missing value"
        raise BadInput("body", f"not JSON from character {error.pos} on ({hint})") from None


def _head(rest: bytes, arrays: int, signature: Signature) -> Head:
    """The head of a request whose arrays were cut out. Raises ValueError where they are not the tensors' values one by
    one."""
    head = read_head(orjson.loads(rest), signature)
    places = [tensor.data for tensor in head.tensors if tensor.size is None]
    if b"\\" in rest or places != list(range(arrays)):
        raise number_arrays.Unusual
    return head


_remembered_head = lru_cache(REMEMBERED_HEADS)(_head)


def _assembled(
    head: Head, read: Callable[[Tensor], Values], body: bytes, header_length: int | None, signature: Signature
) -> InferRequest:
    """Read each tensor where it is; binary ones follow the JSON in the order of the inputs. Raises BadInput."""
    offset = len(body) if header_length is None else header_length
    parts: list[Rows] = []
    has_gaps = False
    for tensor in head.tensors:
        if tensor.size is None:
            values, gaps = read(tensor)
        else:
            values, gaps = _behind(body, offset, tensor, header_length)
            offset += tensor.size
        parts.append(values)
        has_gaps = has_gaps or gaps
    if offset != len(body):
        raise BadInput("body", f"{len(body) - offset} bytes follow the last tensor")
    rows = _table(head.tensors, parts, signature)
    if has_gaps and not signature.accepts_missing:
        _refuse_missing(rows, signature.features)
    return InferRequest(rows, head.request_id, head.outputs, head.parameters)


def _behind(body: bytes, offset: int, tensor: Tensor, header_length: int | None) -> Values:
    field = f"{tensor.field}.parameters.{SIZE}"
    if header_length is None:
        raise BadInput(field, f"needs the request header {HEADER_LENGTH}")
    if tensor.size is None or offset + tensor.size > len(body):
        raise BadInput(field, "the body ends before the tensor does")
    return from_bytes(body, offset, tensor.rows * tensor.width, tensor.datatype, tensor.field)


def _table(tensors: Sequence[Tensor], parts: Sequence[Rows], signature: Signature) -> Rows:
    first = tensors[0]
    columns = signature.columns
    if first.column is None:
        whole = parts[0].reshape(first.rows, first.width)
        return whole if columns is None else whole.take(columns, axis=1)
    table = np.empty((first.rows, len(signature.features)), dtype=np.float32)
    for tensor, values in zip(tensors, parts, strict=True):
        if tensor.column != UNUSED:
            table[:, tensor.column] = values
    return table


def _refuse_missing(rows: Rows, features: Sequence[str]) -> None:
    gaps = np.flatnonzero(np.isnan(rows).any(axis=0))
    if len(gaps):
        name = features[int(gaps[0])]
        raise BadInput("inputs", f"the model gives no answer where {name} is missing ({len(gaps)} features have nulls)")
