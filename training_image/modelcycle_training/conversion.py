"""A fitted scikit-learn estimator to ONNX bytes that are the same in every run.

Owns the pinned opsets and the names of inputs and outputs. Never evaluates the result: parity does.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelcycle_bundle import outputs
from modelcycle_bundle.contract import FailureClass, FailureReason
from modelcycle_training.failures import failed
from modelcycle_training.inference import OnnxModel
from modelcycle_training.labels import LearningTask

OPSET: Final = 18
ML_OPSET: Final = 3
IR_VERSION: Final = 8
"""The newest that every onnxruntime since 1.14 reads."""
_GRAPH_NAME: Final = "modelcycle"
_OUTPUTS: Final = {
    LearningTask.CLASSIFICATION: (outputs.LABEL_NAME, outputs.PROBABILITIES_NAME),
    LearningTask.REGRESSION: (outputs.PREDICTION_NAME,),
}


@dataclass(frozen=True, slots=True)
class Exported:
    """ONNX bytes and what the model card records of them."""

    model: bytes
    opsets: tuple[tuple[str, int], ...]
    """(domain, version), sorted; the domain of the standard operators is the empty text."""
    ir_version: int


def export(estimator: Any, task: LearningTask, features: int) -> Exported:
    """Convert: one float32 input [N, features]; no ZipMap. Raises TaskFailed with ConversionFailed."""
    if task is LearningTask.CLASSIFICATION and not hasattr(estimator, "predict_proba"):
        raise failed(
            FailureClass.CONVERSION,
            FailureReason.CONVERSION_FAILED,
            f"{type(estimator).__name__} gives no class probabilities: choose an estimator or parameters with predict_proba",
        )
    _round_thresholds(estimator)
    try:
        proto = _convert(estimator, task, features)
    except Exception as error:  # converters raise whatever they like
        raise failed(
            FailureClass.CONVERSION,
            FailureReason.CONVERSION_FAILED,
            f"{type(estimator).__name__} cannot be converted to ONNX ({type(error).__name__})",
        ) from error
    opsets = _normalise(proto, _OUTPUTS[task])
    return Exported(proto.SerializeToString(deterministic=True), opsets, proto.ir_version)


def load(exported: Exported) -> OnnxModel:
    """The exported model as the server would load it. Raises TaskFailed with ConversionFailed."""
    try:
        return OnnxModel(exported.model)
    except Exception as error:  # onnxruntime has an exception type per status code, without a common parent
        raise failed(
            FailureClass.CONVERSION,
            FailureReason.CONVERSION_FAILED,
            f"onnxruntime does not load the converted model ({type(error).__name__}): choose another estimator",
        ) from error


def _convert(estimator: Any, task: LearningTask, features: int) -> Any:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    return convert_sklearn(
        estimator,
        name=_GRAPH_NAME,
        initial_types=[(outputs.INPUT_NAME, FloatTensorType([None, features]))],
        options={id(estimator): {"zipmap": False}} if task is LearningTask.CLASSIFICATION else None,
        target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
    )


def _round_thresholds(estimator: Any) -> None:
    """Round the split thresholds of histogram trees down to float32, which changes no answer to float32 inputs.

    The converter rounds them to the nearest, so that of two neighbouring float32 values both may end on one side.
    """
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    for predictor in (tree for iteration in getattr(last, "_predictors", ()) for tree in iteration):
        exact = predictor.nodes["num_threshold"]
        with np.errstate(over="ignore"):
            nearest = exact.astype(np.float32)
        below = np.nextafter(nearest, np.float32(-np.inf))
        predictor.nodes["num_threshold"] = np.where(nearest > exact, below, nearest)


def _normalise(proto: Any, names: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Give outputs their contract names and imports a fixed order: skl2onnx takes the order from a set, with duplicates."""
    newest: dict[str, int] = {}
    for opset in proto.opset_import:
        newest[opset.domain] = max(opset.version, newest.get(opset.domain, 0))
    opsets = tuple(sorted(newest.items()))
    del proto.opset_import[:]
    for domain, version in opsets:
        proto.opset_import.add(domain=domain, version=version)
    renamed = {new: f"{new}_inner" for new in names}  # an inner result may have taken a contract name
    renamed |= {old.name: new for old, new in zip(proto.graph.output, names, strict=True)}
    for output in proto.graph.output:
        output.name = renamed[output.name]
    for node in proto.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    proto.ir_version = IR_VERSION
    proto.graph.doc_string = proto.doc_string = ""
    return opsets
