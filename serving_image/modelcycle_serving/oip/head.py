"""What a request's JSON says apart from its numbers: the tensors' places and forms, the outputs wanted, the parameters.

Owns the structure of a request and every rule about it. A head depends on the JSON around the numbers and on the
signature only, so that a client which sends the same again and again is checked once. Never touches a value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelcycle_serving.oip.datatypes import BYTES, NUMERIC
from modelcycle_serving.oip.messages import INPUT, BadInput, Signature, Wanted

SIZE: Final = "binary_data_size"
ALL_BINARY: Final = "binary_data_output"
BINARY: Final = "binary_data"
UNUSED: Final = -1
_OTHER_EXTENSIONS: Final = ("shared_memory_region", "classification")
"""Parameters that change where data is or what it means: an answer without regard to them would be a wrong one."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input: `rows` values of one column, or of `width` columns in row-major order. Its values are left where
    they are."""

    field: str
    datatype: str
    rows: int
    width: int
    column: int | None
    """The feature's place; None: all inputs; UNUSED: one that the model does not need."""
    data: Any
    """As it stands under the key."""
    size: int | None
    """Bytes behind the JSON; None: the values are in it."""


@dataclass(frozen=True, slots=True)
class Head:
    """A checked request without its values. The tensors hold every feature once, perhaps others that clients are known
    to send, and all have the same number of rows, at least 1."""

    request_id: str | None
    parameters: Mapping[str, Any]
    outputs: tuple[Wanted, ...]
    tensors: tuple[Tensor, ...]


def read_head(raw: Any, signature: Signature) -> Head:
    """Check what orjson made of a request. Raises BadInput."""
    if not isinstance(raw, dict):
        raise BadInput("body", "expected a JSON object")
    request_id = raw.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise BadInput("id", "expected a string")
    parameters = _parameters(raw, "parameters")
    all_binary = _flag(parameters, ALL_BINARY, "parameters", default=False)
    tensors = _tensors(raw.get("inputs"), signature)
    outputs = _outputs(raw.get("outputs"), signature.output_names, all_binary=all_binary)
    return Head(request_id, parameters, outputs, tensors)


def _parameters(owner: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    parameters = owner.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadInput(field, "expected an object")
    for name in _OTHER_EXTENSIONS:
        if name in parameters:
            raise BadInput(f"{field}.{name}", "this extension of the protocol is not supported")
    return parameters


def _flag(parameters: Mapping[str, Any], name: str, field: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadInput(f"{field}.{name}", "expected true or false")
    return value


def _outputs(raw: Any, known: Sequence[str], *, all_binary: bool) -> tuple[Wanted, ...]:
    if raw is None or raw == []:
        return tuple(Wanted(name, all_binary) for name in known)
    if not isinstance(raw, list):
        raise BadInput("outputs", "expected a list of objects with a name")
    chosen: dict[str, Wanted] = {}
    for at, item in enumerate(raw):
        field = f"outputs[{at}]"
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or name not in known:
            raise BadInput(f"{field}.name", f"expected one of {', '.join(known)}")
        if name in chosen:
            raise BadInput(f"{field}.name", "named twice")
        parameters = _parameters(item, f"{field}.parameters")
        chosen[name] = Wanted(name, _flag(parameters, BINARY, f"{field}.parameters", default=all_binary))
    return tuple(chosen.values())


def _tensors(raw: Any, signature: Signature) -> tuple[Tensor, ...]:
    if not isinstance(raw, list) or not raw:
        raise BadInput("inputs", f'expected one tensor named "{INPUT}", or one tensor per feature')
    names = [item.get("name") if isinstance(item, dict) else None for item in raw]
    if names == [INPUT]:
        return (_whole(raw[0], len(signature.inputs), signature.max_rows),)
    return _by_feature(raw, names, signature)


def _whole(tensor: Mapping[str, Any], width: int, most: int) -> Tensor:
    shape = _shape(tensor, "inputs[0]")
    if len(shape) != 2 or not 1 <= shape[0] <= most or shape[1] != width:
        raise BadInput("inputs[0].shape", f"expected [N, {width}] with N from 1 to {most}")
    return _tensor(tensor, "inputs[0]", shape[0], width, None)


def _by_feature(raw: Sequence[Any], names: Sequence[Any], signature: Signature) -> tuple[Tensor, ...]:
    features, most = signature.features, signature.max_rows
    column_of = {} if signature.columns is None else dict.fromkeys(signature.inputs, UNUSED)
    column_of |= {name: at for at, name in enumerate(features)}
    tensors: dict[str, Tensor] = {}
    rows: int | None = None
    for at, (tensor, name) in enumerate(zip(raw, names, strict=True)):
        field = f"inputs[{at}]"
        if not isinstance(name, str) or name not in column_of:
            raise BadInput(f"{field}.name", f'expected "{INPUT}" as the only tensor, or the name of a feature')
        if name in tensors:
            raise BadInput(f"{field}.name", f"feature {name} is given twice")
        shape = _shape(tensor, field)
        if shape[1:] not in ((), (1,)) or not 1 <= shape[0] <= most or shape[0] != (rows or shape[0]):
            expected = f"expected [N] or [N, 1], N from 1 to {most} and equal for all features"
            raise BadInput(f"{field}.shape", f"feature {name}: {expected}")
        rows = shape[0]
        tensors[name] = _tensor(tensor, field, rows, 1, column_of[name])
    missing = [name for name in features if name not in tensors]
    if missing:
        raise BadInput("inputs", f"feature {missing[0]} is missing ({len(missing)} of {len(features)} missing)")
    return tuple(tensors.values())


def _shape(tensor: Mapping[str, Any], field: str) -> tuple[int, ...]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not shape or any(type(size) is not int for size in shape):
        raise BadInput(f"{field}.shape", "expected a list of integers")
    return tuple(shape)


def _tensor(raw: Mapping[str, Any], field: str, rows: int, width: int, column: int | None) -> Tensor:
    parameters = _parameters(raw, f"{field}.parameters")
    datatype = raw.get("datatype")
    if datatype == BYTES:
        raise BadInput(f"{field}.datatype", "the model takes numbers; BYTES has no place in it")
    if not isinstance(datatype, str) or datatype not in NUMERIC:
        raise BadInput(f"{field}.datatype", f"expected one of {', '.join(sorted(NUMERIC))}")
    size = parameters.get(SIZE)
    if SIZE in parameters:
        if "data" in raw:
            raise BadInput(f"{field}.parameters.{SIZE}", "expected no data beside it")
        expected = rows * width * NUMERIC[datatype].wire.itemsize
        if type(size) is not int or size != expected:
            raise BadInput(f"{field}.parameters.{SIZE}", f"expected {expected}, as the shape and the datatype say")
    return Tensor(field, datatype, rows, width, column, raw.get("data"), size)
