"""What the tests of `bundle import` stand on: a table, foreign models of many kinds, and the command as a user runs it."""

import contextlib
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from modelcycle_bundle import layout, oms
from modelcycle_training.__main__ import main

FEATURES = ("width", "height", "depth")
_RNG = np.random.default_rng(11)
TABLE = _RNG.normal(size=(300, 3)).astype(np.float32)
TARGET = np.where(TABLE.sum(axis=1) > 0.2, "scrap", "good")
NUMBERS = (TABLE @ np.array([1.0, -2.0, 0.5], dtype=np.float32)).astype(np.float64)


@dataclass(frozen=True)
class Run:
    """What the command left behind."""

    code: int
    said: str
    complained: str


def write_table(path: Path, table: NDArray[Any] = TABLE, target: Sequence[Any] | None = None) -> Path:
    """A CSV file; with a column `label` when there is a target."""
    header = [*FEATURES, *(["label"] if target is not None else [])]
    cells = [["" if np.isnan(cell) else repr(float(cell)) for cell in row] for row in table]
    if target is not None:
        cells = [[*row, str(label)] for row, label in zip(cells, target, strict=True)]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *cells])
    return path


def run(*arguments: object) -> Run:
    """`python -m modelcycle_training bundle import ...`, without the seconds that a process takes to import everything."""
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        try:
            code = main(["bundle", "import", *map(str, arguments)])
        except SystemExit as left:
            code = int(left.code or 0)
    return Run(code, said.getvalue(), complained.getvalue())


def imported(folder: Path, model: bytes, *more: object, table: NDArray[Any] = TABLE) -> Run:
    """Import one ONNX model with the plain table into `folder`/out."""
    (folder / "model.onnx").write_bytes(model)
    reference = write_table(folder / "table.csv", table)
    return run("--onnx", folder / "model.onnx", "--reference", reference, "--out", folder / "out", *more)


def digest(folder: Path) -> str:
    """Of an imported bundle."""
    return oms.digest_directory(folder / layout.MODEL_DIR).root


def from_sklearn(estimator: Any, **options: Any) -> bytes:
    """As people convert: skl2onnx with its defaults."""
    from skl2onnx import to_onnx

    raw: bytes = to_onnx(estimator, TABLE[:1], **options).SerializeToString()
    return raw


def graph(
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[int, Sequence[Any]]],
    outputs: Mapping[str, tuple[int, Sequence[Any]]],
    constants: Mapping[str, NDArray[Any]] | None = None,
) -> bytes:
    """A model made by hand."""

    def values(given: Mapping[str, tuple[int, Sequence[Any]]]) -> list[Any]:
        return [helper.make_tensor_value_info(name, kind, list(shape)) for name, (kind, shape) in given.items()]

    held = [numpy_helper.from_array(each, name) for name, each in (constants or {}).items()]
    made = helper.make_graph(nodes, "g", values(inputs), values(outputs), held)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=8, producer_name="by hand")
    onnx.checker.check_model(model)
    raw: bytes = model.SerializeToString()
    return raw


def network(activation: str | None, width: int, kind: int = TensorProto.FLOAT, batch: Any = None) -> bytes:
    """One layer, as other frameworks export it: numbers in, numbers out."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    weights = np.random.default_rng(width).normal(size=(3, width)).astype(dtype)
    nodes = [helper.make_node("MatMul", ["input.1", "w"], ["z" if activation else "out.7"])]
    if activation:
        nodes.append(helper.make_node(activation, ["z"], ["out.7"]))
    return graph(nodes, {"input.1": (kind, [batch, 3])}, {"out.7": (kind, [batch, width])}, {"w": weights})


def answers(model: bytes, rows: NDArray[Any], **inputs: NDArray[Any]) -> list[Any]:
    """What the given model answers by itself."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    result: list[Any] = session.run(None, inputs or {session.get_inputs()[0].name: rows})
    return result
