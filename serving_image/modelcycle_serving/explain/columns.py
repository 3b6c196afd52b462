"""What happens to the features before the scoring operator: scaling, imputing, choosing columns.

Owns the operators that are known there. Each column must come from one feature, else nobody could say whose contribution it is; a matrix
product is kept apart, because only a linear model can hand its contributions back. Computes in float32 and in the graph's order,
as onnxruntime does, so that no value changes sides at a threshold.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelcycle_serving.explain.graph import DOUBLE, FLOAT, Array, Graph, Node, Unreadable

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Columns:
    """K columns made of the F features: `compute` takes [N, F] float32 and gives [N, K]."""

    source: tuple[int, ...]
    """Which feature each column comes from."""
    compute: Callable[[Float32], Float32]


@dataclass(frozen=True, slots=True)
class Dense:
    """T scores as a matrix product of columns: `columns @ matrix + bias`."""

    columns: Columns
    matrix: Float64
    """[K, T]."""
    bias: Float64
    """[T]."""


Value = Columns | Dense
_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
}


def trace(graph: Graph, features: int) -> tuple[Value, Node | None]:
    """What the scoring operator is given, and that operator; None when the scores are a matrix product themselves.

    Raises Unreadable when an operator before it is not known.
    """
    if len(graph.inputs) != 1:
        raise Unreadable(f"{len(graph.inputs)} inputs")
    known: dict[str, Value] = {graph.inputs[0]: Columns(tuple(range(features)), lambda rows: rows)}
    last: Dense | None = None
    for node in graph.nodes:
        given = next((known[name] for name in node.inputs if name in known), None)
        if given is None:
            continue
        if node.op.startswith(("TreeEnsemble", "Linear")):
            return given, node
        value = _apply(node, given, known, graph.constants)
        if value is None and last is not None:
            break
        if value is None:
            raise Unreadable(f"the operator {node.op}")
        known[node.outputs[0]] = value
        last = value if isinstance(value, Dense) else last
    if last is None:
        raise Unreadable("no operator that scores")
    return last, None


def _apply(node: Node, given: Value, known: Mapping[str, Value], constants: Mapping[str, Array]) -> Value | None:
    if node.op in ("Identity", "Cast") and node.attributes.get("to", FLOAT) in (FLOAT, DOUBLE):
        return given
    operands = [constants.get(name) for name in node.inputs]
    if isinstance(given, Dense):
        return _dense(node, given, operands)
    match node.op:
        case "Imputer":
            return _imputed(node, given)
        case "Scaler":
            offset, scale = node.array("offset", np.float32), node.array("scale", np.float32)
            return Columns(given.source, lambda rows: (given.compute(rows) - offset) * scale)
        case "Add" | "Sub" | "Mul" | "Div":
            return _arithmetic(_ARITHMETIC[node.op], given, operands)
        case "ArrayFeatureExtractor" | "Gather":
            return _chosen(operands[1], given)
        case "Concat":
            return _joined([known.get(name) for name in node.inputs])
        case "MatMul" | "Gemm":
            return _dense(node, Dense(given, np.eye(len(given.source)), np.zeros(len(given.source))), operands)
    return None


def _imputed(node: Node, given: Columns) -> Columns:
    fill = node.array("imputed_value_floats", np.float32)
    wanted = node.attributes.get("replaced_value_float", 0.0)

    def compute(rows: Float32) -> Float32:
        values = given.compute(rows)
        gaps = np.isnan(values) if np.isnan(wanted) else values == np.float32(wanted)
        return np.where(gaps, fill, values)

    return Columns(given.source, compute)


def _arithmetic(operate: Callable[[Any, Any], Any], given: Columns, operands: list[Array | None]) -> Columns | None:
    left, right = operands
    if right is not None and right.size in (1, len(given.source)):
        second = right.reshape(-1).astype(np.float32)
        return Columns(given.source, lambda rows: operate(given.compute(rows), second))
    if left is not None and left.size in (1, len(given.source)):
        first = left.reshape(-1).astype(np.float32)
        return Columns(given.source, lambda rows: operate(first, given.compute(rows)))
    return None


def _chosen(index: Array | None, given: Columns) -> Columns | None:
    if index is None:
        return None
    at = index.reshape(-1).astype(np.int64)
    if not ((at >= 0) & (at < len(given.source))).all():
        return None
    return Columns(tuple(given.source[int(each)] for each in at), lambda rows: given.compute(rows)[:, at])


def _joined(values: list[Value | None]) -> Columns | None:
    parts = [each for each in values if isinstance(each, Columns)]
    if len(parts) != len(values):
        return None
    source = tuple(at for part in parts for at in part.source)
    return Columns(source, lambda rows: np.concatenate([part.compute(rows) for part in parts], axis=1))


def _dense(node: Node, given: Dense, operands: list[Array | None]) -> Dense | None:
    if node.op in ("MatMul", "Gemm"):
        return _product(node, given, operands)
    constant = next((each for each in operands if each is not None), None)
    if node.op not in ("Add", "Sub") or constant is None or operands[0] is not None:
        return None
    shift = constant.reshape(-1).astype(np.float64)
    if shift.size not in (1, len(given.bias)):
        return None
    return Dense(given.columns, given.matrix, given.bias + (shift if node.op == "Add" else -shift))


def _product(node: Node, given: Dense, operands: list[Array | None]) -> Dense | None:
    matrix = operands[1]
    attributes = node.attributes
    if matrix is None or matrix.ndim != 2 or attributes.get("transA", 0):
        return None
    factor = (matrix.T if attributes.get("transB", 0) else matrix).astype(np.float64) * attributes.get("alpha", 1.0)
    if factor.shape[0] != len(given.bias):
        return None
    bias = given.bias @ factor
    if len(operands) > 2:
        if operands[2] is None:
            return None
        bias = bias + operands[2].reshape(-1).astype(np.float64) * attributes.get("beta", 1.0)
    return Dense(given.columns, given.matrix @ factor, bias)
