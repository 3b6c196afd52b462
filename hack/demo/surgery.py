"""Models with a gap: a good ONNX model whose graph also looks each row up in a table that is too short.

Owns the graph surgery and which rows fall into the gap. Inside its table the model answers bit for bit as before; outside,
onnxruntime's Gather raises, which no check of the sealer's or the server's can see beforehand. Reads no store and signs nothing.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from modelcycle_bundle.outputs import INPUT_NAME, Float32

OUT_OF_RANGE: Final = 1_000_000
"""The index that is looked up for a row in the gap; the table has one entry."""
_LOOKED_UP: Final = "lookup_row"


@dataclass(frozen=True, slots=True)
class Beyond:
    """The table ends at a value of one column: rows above it are in the gap."""

    column: int
    limit: float
    """A float32 number."""

    def hits(self, rows: Float32) -> NDArray[np.bool_]:
        """Of rows [N, F], which are in the gap: [N]."""
        return np.asarray(rows[:, self.column] > np.float32(self.limit))


@dataclass(frozen=True, slots=True, eq=False)
class Unlike:
    """The table knows these rows [K, F] and no other."""

    known: Float32

    def hits(self, rows: Float32) -> NDArray[np.bool_]:
        """Of rows [N, F], which are in the gap: [N]."""
        return np.asarray(~(rows[:, None, :] == self.known[None, :, :]).all(axis=2).any(axis=1))


Gap = Beyond | Unlike


def with_gap(model: bytes, gap: Gap) -> bytes:
    """The same model, but onnxruntime raises on a batch with a row in the gap. `model` has the one input [N, F] of this project."""
    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    for node in graph.node:
        node.input[:] = [_LOOKED_UP if name == INPUT_NAME else name for name in node.input]
    condition, constants = _beyond(gap) if isinstance(gap, Beyond) else _unlike(gap)
    lookup = [
        helper.make_node("Cast", ["lookup_outside"], ["lookup_whole"], to=TensorProto.INT64),
        helper.make_node("Mul", ["lookup_whole", "lookup_far"], ["lookup_index"]),
        helper.make_node("Gather", ["lookup_table", "lookup_index"], ["lookup_correction"], name="lookup"),
        helper.make_node("Add", [INPUT_NAME, "lookup_correction"], [_LOOKED_UP]),
    ]
    constants |= {"lookup_far": np.array([OUT_OF_RANGE], np.int64), "lookup_table": np.zeros(1, np.float32)}
    nodes = [*condition, *lookup, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(proto)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _beyond(gap: Beyond) -> tuple[list[Any], dict[str, NDArray[Any]]]:
    nodes = [
        helper.make_node("Gather", [INPUT_NAME, "lookup_column"], ["lookup_value"], axis=1),
        helper.make_node("Greater", ["lookup_value", "lookup_limit"], ["lookup_outside"]),
    ]
    return nodes, {
        "lookup_column": np.array([gap.column], np.int64),
        "lookup_limit": np.array([gap.limit], np.float32),
    }


def _unlike(gap: Unlike) -> tuple[list[Any], dict[str, NDArray[Any]]]:
    """Distance to the nearest known row: largest difference in any column, [N, 1]."""
    nodes = [
        helper.make_node("Unsqueeze", [INPUT_NAME, "lookup_middle"], ["lookup_rows"]),
        helper.make_node("Sub", ["lookup_rows", "lookup_known"], ["lookup_differences"]),
        helper.make_node("Abs", ["lookup_differences"], ["lookup_sizes"]),
        helper.make_node("ReduceMax", ["lookup_sizes", "lookup_last"], ["lookup_distances"], keepdims=0),
        helper.make_node("ReduceMin", ["lookup_distances", "lookup_middle"], ["lookup_distance"], keepdims=1),
        helper.make_node("Greater", ["lookup_distance", "lookup_nothing"], ["lookup_outside"]),
    ]
    return nodes, {
        "lookup_middle": np.array([1], np.int64),
        "lookup_last": np.array([2], np.int64),
        "lookup_known": gap.known[None, :, :].astype(np.float32),
        "lookup_nothing": np.zeros(1, np.float32),
    }
