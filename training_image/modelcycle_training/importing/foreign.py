"""A foreign ONNX file to the graph that the server takes, proven on the reference table.

Owns the order: readable, inputs, outputs, answers that do not depend on the batch. Never changes what the model computes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelcycle_training.importing import graph_inputs, graph_outputs
from modelcycle_training.importing.failures import cannot
from modelcycle_training.inference import open_session
from modelcycle_training.table import Float32Matrix

SAMPLE: Final = 256
_ALONE: Final = 8
_BATCH_TOLERANCE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Unified:
    """The graph as the server takes it. `classes` are in the order of the probabilities, empty for a regression."""

    model: bytes
    classes: tuple[str, ...]
    operators: tuple[str, ...]
    """Of the graph as it was given, in order, each once."""
    opset: int
    ir_version: int
    producer: str


def unify(data: bytes, features: Sequence[str], table: Float32Matrix, classes: Sequence[str]) -> Unified:
    """`table` [N, F] holds rows that the model is made for. Raises TaskFailed naming what cannot be taken over."""
    import onnx

    try:
        proto = onnx.load_from_string(data)
    except Exception as error:  # protobuf raises whatever its implementation likes
        raise cannot("the file given is not an ONNX model") from error
    if any(each.data_location == onnx.TensorProto.EXTERNAL for each in proto.graph.initializer):
        raise cannot(
            "its weights lie in another file: save it as one file (onnx.save with save_as_external_data=False)"
        )
    operators = tuple(dict.fromkeys(node.op_type for node in proto.graph.node))
    graph_inputs.unify(proto.graph, features)
    graph_outputs.drop_zipmaps(proto.graph)
    rows = _sample(table)
    arrays = _answers(proto, rows)
    found = graph_outputs.recognise(arrays, len(rows), classes)
    names: tuple[str, ...] = ()
    if found.columns:
        numbers = arrays[found.numbers].reshape(len(rows), -1)
        graph_outputs.require_probabilities(found.numbers, numbers, found.columns)
        labels = None if found.label is None else arrays[found.label]
        names = graph_outputs.class_names(proto.graph, labels, numbers, classes)
    graph_outputs.unify(proto.graph, found, names)
    _require_independent_rows(proto, rows[:_ALONE])
    opsets = {each.domain: each.version for each in proto.opset_import}
    producer = f"{proto.producer_name} {proto.producer_version}".strip() or "unknown"
    return Unified(
        proto.SerializeToString(deterministic=True),
        names,
        operators,
        opsets.get("", 0),
        proto.ir_version,
        producer,
    )


def _sample(table: Float32Matrix) -> Float32Matrix:
    complete = table[~np.isnan(table).any(axis=1)]
    if not len(complete):
        raise cannot("every row of the reference table has gaps: at least one complete row is needed")
    return complete[np.unique(np.linspace(0, len(complete) - 1, min(len(complete), SAMPLE)).astype(np.int64))]


def _answers(proto: Any, rows: Float32Matrix) -> dict[str, NDArray[Any]]:
    session = _session(proto)
    names = [output.name for output in session.get_outputs()]
    try:
        answers = session.run(names, {session.get_inputs()[0].name: rows})
    except Exception as error:  # onnxruntime has an exception type per status code, without a common parent
        raise cannot(
            f"onnxruntime cannot run it on {len(rows)} rows of the reference table ({type(error).__name__}):"
            " was it exported for one batch size? Export it with a dynamic first dimension"
        ) from error
    return {name: np.asarray(each) for name, each in zip(names, answers, strict=True)}


def _session(proto: Any) -> Any:
    import onnxruntime

    try:
        return open_session(proto.SerializeToString())
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise cannot(f"onnxruntime {onnxruntime.__version__} does not load it: {reason}") from error


def _require_independent_rows(proto: Any, rows: Float32Matrix) -> None:
    together = _answers(proto, rows)
    for at in range(len(rows)):
        alone = _answers(proto, rows[at : at + 1])
        for name, values in together.items():
            one, same = alone[name][0], values[at]
            if values.dtype.kind != "f":
                equal = bool(np.all(one == same))
            else:
                equal = bool(np.allclose(one, same, rtol=_BATCH_TOLERANCE, atol=_BATCH_TOLERANCE, equal_nan=True))
            if not equal:
                raise cannot(
                    f"the answer {name!r} to a row depends on the rows beside it: export the model for inference"
                )
