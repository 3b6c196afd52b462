"""The few parts of an ONNX file that an explanation needs: nodes, their attributes, constants.

Owns the field numbers, which are those of onnx.proto (frozen by its compatibility rules). Read by the protobuf runtime that onnxruntime
brings along; the onnx package would add 33 MB to the image. Fields that are not named here are skipped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

_PACKAGE: Final = "modelcycle.onnx"
_MESSAGES: Final[Mapping[str, Mapping[str, tuple[int, str, str]]]] = {
    "Model": {"graph": (7, "optional", "Graph")},
    "Graph": {
        "node": (1, "repeated", "Node"),
        "initializer": (5, "repeated", "Tensor"),
        "input": (11, "repeated", "ValueInfo"),
        "output": (12, "repeated", "ValueInfo"),
    },
    "ValueInfo": {"name": (1, "optional", "string")},
    "Node": {
        "input": (1, "repeated", "string"),
        "output": (2, "repeated", "string"),
        "op_type": (4, "optional", "string"),
        "attribute": (5, "repeated", "Attribute"),
        "domain": (7, "optional", "string"),
    },
    "Attribute": {
        "name": (1, "optional", "string"),
        "f": (2, "optional", "float"),
        "i": (3, "optional", "int64"),
        "s": (4, "optional", "bytes"),
        "t": (5, "optional", "Tensor"),
        "floats": (7, "repeated", "float"),
        "ints": (8, "repeated", "int64"),
        "strings": (9, "repeated", "bytes"),
    },
    "Tensor": {
        "dims": (1, "repeated", "int64"),
        "data_type": (2, "optional", "int32"),
        "float_data": (4, "repeated", "float"),
        "int32_data": (5, "repeated", "int32"),
        "string_data": (6, "repeated", "bytes"),
        "int64_data": (7, "repeated", "int64"),
        "name": (8, "optional", "string"),
        "raw_data": (9, "optional", "bytes"),
        "double_data": (10, "repeated", "double"),
        "data_location": (14, "optional", "int32"),
    },
}
_ELEMENTS: Final[Mapping[int, tuple[str, str]]] = {
    1: ("<f4", "float_data"),
    2: ("u1", "int32_data"),
    3: ("i1", "int32_data"),
    6: ("<i4", "int32_data"),
    7: ("<i8", "int64_data"),
    9: ("?", "int32_data"),
    11: ("<f8", "double_data"),
}
"""TensorProto.DataType to dtype and the field that holds values which are not in raw_data."""
FLOAT: Final = 1
DOUBLE: Final = 11

Array = NDArray[Any]


class Unreadable(ValueError):
    """The graph holds something that this reader does not know. The text says what, never a value."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. Attribute values are arrays (numbers), tuples of bytes (strings), or single int, float, bytes."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(repr=False)

    def array(self, name: str, dtype: Any = np.float64) -> Array:
        """An attribute given as numbers or, by newer writers, as the tensor `<name>_as_tensor`; empty when absent."""
        raw = self.attributes.get(name, self.attributes.get(f"{name}_as_tensor", ()))
        return np.asarray(raw, dtype=dtype).reshape(-1)

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        raw = self.attributes.get(name)
        return raw.decode(errors="replace") if isinstance(raw, bytes) else default


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in their order, which is topological, and constants by name."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array] = field(repr=False)
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read(data: bytes) -> Graph:
    """Raises Unreadable when the bytes are no ONNX model, or keep their tensors in other files."""
    model = _message_class("Model")()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise Unreadable("not an ONNX file") from error
    constants = {each.name: _array(each) for each in model.graph.initializer}
    nodes = []
    for raw in model.graph.node:
        node = Node(raw.op_type, tuple(raw.input), tuple(raw.output), _attributes(raw))
        if node.op == "Constant" and isinstance(node.attributes.get("value"), np.ndarray):
            constants[node.outputs[0]] = node.attributes["value"]
        else:
            nodes.append(node)
    inputs = tuple(each.name for each in model.graph.input if each.name not in constants)
    return Graph(tuple(nodes), constants, inputs, tuple(each.name for each in model.graph.output))


def _attributes(raw: Any) -> dict[str, Any]:
    return {each.name: _value(each) for each in raw.attribute}


def _value(attribute: Any) -> Any:
    if attribute.HasField("t"):
        return _array(attribute.t)
    if attribute.strings:
        return tuple(attribute.strings)
    if attribute.floats:
        return np.array(attribute.floats, dtype=np.float32)
    if attribute.ints:
        return np.array(attribute.ints, dtype=np.int64)
    for name in ("f", "i", "s"):
        if attribute.HasField(name):
            return getattr(attribute, name)
    return np.zeros(0, dtype=np.float32)


def _array(tensor: Any) -> Array:
    if tensor.data_location:
        raise Unreadable("a tensor lies in another file")
    if tensor.data_type not in _ELEMENTS:
        return np.array(list(tensor.string_data), dtype=object)
    dtype, values = _ELEMENTS[tensor.data_type]
    flat: Array = (
        np.frombuffer(tensor.raw_data, dtype=dtype)
        if tensor.raw_data
        else np.array(getattr(tensor, values)).astype(dtype)
    )
    try:
        return flat.reshape(tuple(tensor.dims))
    except ValueError as error:
        raise Unreadable("a tensor has another number of values than its shape says") from error


@cache
def _message_class(name: str) -> Any:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="modelcycle/onnx.proto", package=_PACKAGE, syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field_name, (number, label, kind) in fields.items():
            scalar = kind not in _MESSAGES
            described.field.add(
                name=field_name,
                number=number,
                label=kinds.LABEL_REPEATED if label == "repeated" else kinds.LABEL_OPTIONAL,
                type=getattr(kinds, f"TYPE_{kind.upper()}") if scalar else kinds.TYPE_MESSAGE,
                type_name=None if scalar else f".{_PACKAGE}.{kind}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
