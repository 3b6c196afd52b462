"""Open Inference Protocol v2 over JSON: request bodies to float32 rows, answers to bytes.

Owns the protocol's shapes and its error texts. Pure: no sockets, no session. An error names the field at fault and what was
expected there; it never quotes what the client sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Outputs = Mapping[str, NDArray[Any]]

INPUT: Final = "input"
PROTOCOL: Final = "v2"
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""HTTP header of the binary tensor extension, both ways: how many bytes of the body are JSON. The rest are tensors."""
_INTEGER_RANGES: Final = {
    name: (int(np.iinfo(name.lower()).min), int(np.iinfo(name.lower()).max))
    for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
}
_FLOATS: Final = frozenset({"FP16", "FP32", "FP64"})
_DATATYPES: Final = sorted(_FLOATS | {"BOOL"} | _INTEGER_RANGES.keys())
_NUMBERS: Final = frozenset({int, float, type(None)})
_INTEGERS: Final = frozenset({int, type(None)})
_BOOLS: Final = frozenset({bool, type(None)})
_ENCODE: Final = orjson.OPT_SERIALIZE_NUMPY


class BadInput(ValueError):
    """The client's mistake: `field` is a path into its JSON."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}")


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output of the model. `shape` uses -1 for the rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    """What the columns stand for, in their order."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What the model takes and gives. Features are in the order of the input's columns."""

    features: tuple[str, ...]
    outputs: tuple[OutputSpec, ...]
    accepts_missing: bool = False
    """The estimator itself answers rows with missing values, as the card says; else what ONNX makes of them means nothing."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in the model's order."""
        return tuple(output.name for output in self.outputs)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One output that the client asked for."""

    name: str
    binary: bool = False
    """Behind the answer's JSON as bytes, not in it."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A checked request: `rows` is [N, F] float32 with N >= 1, NaN where the client sent null."""

    rows: Rows
    request_id: str | None
    outputs: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """The body of a 200. With `header_length` its first bytes are JSON and tensors follow; None: all of it is JSON."""

    body: bytes
    header_length: int | None = None


def parse_infer(body: bytes, header_length: int | None, signature: Signature) -> InferRequest:
    """Check and convert one request body, of which `header_length` bytes are JSON (None: all). Raises BadInput."""
    if header_length is not None:
        raise BadInput(HEADER_LENGTH, "binary tensor data is not supported; send data as JSON")
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        hint = "NaN and Infinity are not JSON, null is a missing value"
        raise BadInput("body", f"not JSON from character {error.pos} on ({hint})") from None
    if not isinstance(raw, dict):
        raise BadInput("body", "expected a JSON object")
    request_id = raw.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise BadInput("id", "expected a string")
    if not isinstance(raw.get("parameters", {}), dict):
        raise BadInput("parameters", "expected an object")
    rows = _rows(raw.get("inputs"), signature)
    if not signature.accepts_missing:
        _refuse_missing(rows, signature.features)
    return InferRequest(rows, request_id, _selection(raw.get("outputs"), signature))


def _refuse_missing(rows: Rows, features: Sequence[str]) -> None:
    gaps = np.flatnonzero(np.isnan(rows).any(axis=0))
    if len(gaps):
        name = features[int(gaps[0])]
        raise BadInput("inputs", f"the model gives no answer where {name} is missing ({len(gaps)} features have nulls)")


def _selection(raw: Any, signature: Signature) -> tuple[Wanted, ...]:
    known = signature.output_names
    if raw is None or raw == []:
        return tuple(Wanted(name) for name in known)
    if not isinstance(raw, list):
        raise BadInput("outputs", "expected a list of objects with a name")
    chosen: list[str] = []
    for at, item in enumerate(raw):
        name = item.get("name") if isinstance(item, dict) else None
        if name not in known:
            raise BadInput(f"outputs[{at}].name", f"expected one of {', '.join(known)}")
        if name in chosen:
            raise BadInput(f"outputs[{at}].name", "named twice")
        chosen.append(name)
    return tuple(Wanted(name) for name in chosen)


def _rows(raw: Any, signature: Signature) -> Rows:
    if not isinstance(raw, list) or not raw:
        raise BadInput("inputs", f'expected one tensor named "{INPUT}", or one tensor per feature')
    names = [item.get("name") if isinstance(item, dict) else None for item in raw]
    if names == [INPUT]:
        return _whole(raw[0], len(signature.features))
    return _by_feature(raw, names, signature.features)


def _whole(tensor: Mapping[str, Any], features: int) -> Rows:
    shape = _shape(tensor, "inputs[0]")
    if len(shape) != 2 or shape[0] < 1 or shape[1] != features:
        raise BadInput("inputs[0].shape", f"expected [N, {features}] with N at least 1")
    return _values(tensor, "inputs[0]", shape[0], features).reshape(shape[0], features)


def _by_feature(raw: Sequence[Any], names: Sequence[Any], features: tuple[str, ...]) -> Rows:
    column_of = {name: at for at, name in enumerate(features)}
    columns: list[Rows | None] = [None] * len(features)
    rows: int | None = None
    for at, (tensor, name) in enumerate(zip(raw, names, strict=True)):
        field = f"inputs[{at}]"
        if not isinstance(name, str) or name not in column_of:
            raise BadInput(f"{field}.name", f'expected "{INPUT}" as the only tensor, or the name of a feature')
        if columns[column_of[name]] is not None:
            raise BadInput(f"{field}.name", f"feature {name} is given twice")
        shape = _shape(tensor, field)
        if shape[1:] not in ((), (1,)) or shape[0] < 1 or shape[0] != (rows or shape[0]):
            raise BadInput(
                f"{field}.shape", f"feature {name}: expected [N] or [N, 1], N at least 1 and equal for all features"
            )
        rows = shape[0]
        columns[column_of[name]] = _values(tensor, field, rows, 1)
    missing = [name for name, column in zip(features, columns, strict=True) if column is None]
    if missing:
        raise BadInput("inputs", f"feature {missing[0]} is missing ({len(missing)} of {len(features)} missing)")
    return np.stack([column for column in columns if column is not None], axis=1)


def _shape(tensor: Mapping[str, Any], field: str) -> tuple[int, ...]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not shape or any(type(size) is not int for size in shape):
        raise BadInput(f"{field}.shape", "expected a list of integers")
    return tuple(shape)


def _values(tensor: Mapping[str, Any], field: str, rows: int, width: int) -> Rows:
    parameters = tensor.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadInput(f"{field}.parameters", "expected an object")
    if "binary_data_size" in parameters:
        raise BadInput(f"{field}.parameters.binary_data_size", "binary tensor data is not supported; send data as JSON")
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in _DATATYPES:
        raise BadInput(f"{field}.datatype", f"expected one of {', '.join(_DATATYPES)}")
    flat = _flat(tensor.get("data"), f"{field}.data", rows, width)
    _check_types(flat, datatype, f"{field}.data")
    with np.errstate(over="ignore"):
        values = np.array(flat, dtype=np.float32)
    if np.isinf(values).any():
        raise BadInput(f"{field}.data[{int(np.isinf(values).argmax())}]", "out of the range of FP32")
    return values


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


def _check_types(flat: list[Any], datatype: str, field: str) -> None:
    allowed = _NUMBERS if datatype in _FLOATS else _BOOLS if datatype == "BOOL" else _INTEGERS
    if not set(map(type, flat)) <= allowed:
        at = next(at for at, value in enumerate(flat) if type(value) not in allowed)
        kind = "a number" if allowed is _NUMBERS else "true or false" if allowed is _BOOLS else "an integer"
        raise BadInput(f"{field}[{at}]", f"expected {kind} or null")
    if datatype in _INTEGER_RANGES:
        low, high = _INTEGER_RANGES[datatype]
        at = next((at for at, value in enumerate(flat) if value is not None and not low <= value <= high), -1)
        if at >= 0:
            raise BadInput(f"{field}[{at}]", f"out of the range of {datatype}")


def encode_answer(
    model_name: str, version: str, request: InferRequest, outputs: Outputs, signature: Signature
) -> Encoded:
    """The body of a 200. Data is flat, row-major."""
    answer: dict[str, Any] = {"model_name": model_name, "model_version": version}
    if request.request_id is not None:
        answer["id"] = request.request_id
    datatypes = {output.name: output.datatype for output in signature.outputs}
    answer["outputs"] = [_tensor(each.name, datatypes[each.name], outputs[each.name]) for each in request.outputs]
    return Encoded(orjson.dumps(answer, option=_ENCODE))


def _tensor(name: str, datatype: str, values: NDArray[Any]) -> dict[str, Any]:
    flat = values.reshape(-1)
    data: Any = flat.tolist() if datatype == "BYTES" else np.ascontiguousarray(flat)
    return {"name": name, "datatype": datatype, "shape": list(values.shape), "data": data}


def encode_error(message: str) -> bytes:
    """The body of every error."""
    return orjson.dumps({"error": message})


def encode_model(model_name: str, version: str, signature: Signature) -> bytes:
    """The metadata of the model: the whole-matrix input, its columns' names, and the outputs."""
    inputs = [
        {
            "name": INPUT,
            "datatype": "FP32",
            "shape": [-1, len(signature.features)],
            "parameters": {"features": list(signature.features)},
        }
    ]
    outputs = [_describe(output) for output in signature.outputs]
    return orjson.dumps(
        {"name": model_name, "versions": [version], "platform": "onnx_onnxv1", "inputs": inputs, "outputs": outputs}
    )


def _describe(output: OutputSpec) -> dict[str, Any]:
    plain = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
    return {**plain, "parameters": {"classes": list(output.classes)}} if output.classes else plain


def example_request(signature: Signature) -> bytes:
    """A valid first request: one row of zeros."""
    width = len(signature.features)
    tensor = {"name": INPUT, "shape": [1, width], "datatype": "FP32", "data": [0] * width}
    return orjson.dumps({"inputs": [tensor]})
