"""What a model answers, in the two shapes of the design: class labels with probabilities, or predictions.

Owns the mapping from the ONNX outputs' names to these shapes; profile, golden answers, trainer and server share it. Holds
no model and runs none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

INPUT_NAME: Final = "input"
LABEL_NAME: Final = "label"
PROBABILITIES_NAME: Final = "probabilities"
PREDICTION_NAME: Final = "prediction"

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


class OutputError(ValueError):
    """The arrays are not a classifier's or a regressor's answers of this design."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassOutputs:
    """N answers of a classifier: `labels` [N] int64 or str, `probabilities` [N, C] float32. Raises OutputError."""

    labels: NDArray[Any]
    probabilities: Float32

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        if labels.ndim != 1 or labels.dtype.kind not in "iuUO":
            raise OutputError(f"{LABEL_NAME}: expected [N] of int64 or string, got {labels.shape} of {labels.dtype}")
        probabilities = np.asarray(self.probabilities, dtype=np.float32)
        if probabilities.ndim != 2 or probabilities.shape[0] != labels.shape[0] or probabilities.shape[1] < 1:
            raise OutputError(f"{PROBABILITIES_NAME}: expected [{labels.shape[0]}, C], got {probabilities.shape}")
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "probabilities", probabilities)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class ValueOutputs:
    """N answers of a regressor: `predictions` [N] float32; [N, 1] is flattened. Raises OutputError."""

    predictions: Float32

    def __post_init__(self) -> None:
        predictions = np.asarray(self.predictions, dtype=np.float32)
        if predictions.ndim == 2 and predictions.shape[1] == 1:
            predictions = predictions[:, 0]
        if predictions.ndim != 1:
            raise OutputError(f"{PREDICTION_NAME}: expected [N, 1], got {predictions.shape}")
        object.__setattr__(self, "predictions", predictions)

    def __len__(self) -> int:
        return len(self.predictions)


Outputs = ClassOutputs | ValueOutputs


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Outputs:
    """The answers among a model's named output arrays. Raises OutputError."""
    if LABEL_NAME in arrays and PROBABILITIES_NAME in arrays:
        return ClassOutputs(arrays[LABEL_NAME], arrays[PROBABILITIES_NAME])
    if PREDICTION_NAME in arrays:
        return ValueOutputs(arrays[PREDICTION_NAME])
    wanted = f"{LABEL_NAME} and {PROBABILITIES_NAME}, or {PREDICTION_NAME}"
    raise OutputError(f"the model's outputs are {sorted(arrays)}; expected {wanted}")
