"""Golden answers: inputs and the outputs a model gave for them when it was made, replayed wherever the model is loaded.

Owns the file format and the comparison with its tolerances. Runs no model.
"""

import json
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelcycle_bundle.outputs import ClassOutputs, Float32, OutputError, Outputs, ValueOutputs

VERSION: Final = 1
PROBABILITY_TOLERANCE: Final = 1e-5
"""Largest absolute difference of a probability."""
PREDICTION_TOLERANCE: Final = 1e-4
"""Largest difference of a prediction, relative to the larger of its own and the golden predictions' mean magnitude."""
TIE_MARGIN: Final = 1e-4
"""Labels must be equal where the two largest expected probabilities differ by more."""

_SPECIAL: Final = {None: math.nan, "inf": math.inf, "-inf": -math.inf}


class GoldenError(ValueError):
    """The text is not a golden file, or the arrays cannot make one. Never names a value."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Outcome of one replay. `max_difference` is in the tolerance's unit (probability: absolute; prediction: relative)."""

    ok: bool
    max_difference: float
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Inputs [N, F] float32 (NaN and infinities allowed) and the finite answers expected. Raises GoldenError."""

    inputs: Float32
    outputs: Outputs
    tolerance: float
    tie_margin: float = TIE_MARGIN

    def __post_init__(self) -> None:
        inputs = np.asarray(self.inputs)
        if inputs.dtype != np.float32 or inputs.ndim != 2 or not inputs.size:
            raise GoldenError(f"inputs: expected float32 [N, F] with rows, got {inputs.dtype} {list(inputs.shape)}")
        if len(self.outputs) != len(inputs):
            raise GoldenError(f"{len(inputs)} inputs but {len(self.outputs)} outputs")
        if not np.isfinite(_numbers(self.outputs)).all():
            raise GoldenError("an expected output is not finite")
        if not (0 < self.tolerance < 1 and 0 <= self.tie_margin < 1):
            raise GoldenError("tolerance must be in (0, 1), tie_margin in [0, 1)")

    @property
    def rows(self) -> int:
        """Number of golden rows."""
        return len(self.inputs)

    def to_json(self) -> str:
        """Canonical JSON, one line; float32 values read back to the bit."""
        plain: dict[str, Any] = {
            "version": VERSION,
            "inputs": [[_plain(value) for value in row] for row in self.inputs.tolist()],
            "tolerance": self.tolerance,
            "tieMargin": self.tie_margin,
        }
        if isinstance(self.outputs, ClassOutputs):
            plain["labels"] = self.outputs.labels.tolist()
            plain["probabilities"] = self.outputs.probabilities.tolist()
        else:
            plain["predictions"] = self.outputs.predictions.tolist()
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"

    @staticmethod
    def parse(text: str) -> "Golden":
        """Raises GoldenError for anything that is not a well-formed golden file."""
        try:
            plain = json.loads(text)
            if plain["version"] != VERSION:
                raise GoldenError(f"golden version {plain['version']!r} is not {VERSION}")
            inputs = _array([[_value(value) for value in row] for row in plain["inputs"]])
            return Golden(inputs, _outputs(plain), float(plain["tolerance"]), float(plain["tieMargin"]))
        except GoldenError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise GoldenError(f"not a golden file: {type(error).__name__}") from error


def make(inputs: Float32, outputs: Outputs) -> Golden:
    """Golden answers with the default tolerance of their kind. Raises GoldenError."""
    tolerance = PROBABILITY_TOLERANCE if isinstance(outputs, ClassOutputs) else PREDICTION_TOLERANCE
    return Golden(inputs, outputs, tolerance)


def compare(golden: Golden, outputs: Outputs) -> Comparison:
    """Compare a replay's outputs with the golden ones. Never raises; a NaN answer is a difference."""
    expected = golden.outputs
    if type(expected) is not type(outputs) or _numbers(expected).shape != _numbers(outputs).shape:
        shapes = f"{type(outputs).__name__} {list(_numbers(outputs).shape)}"
        wanted = f"{type(expected).__name__} {list(_numbers(expected).shape)}"
        return Comparison(ok=False, max_difference=math.inf, message=f"expected {wanted}, got {shapes}")
    differences = _differences(expected, outputs)
    largest = float(differences.max())
    if not largest <= golden.tolerance:
        row = int(differences.argmax())
        message = f"row {row} of {golden.rows} differs by {largest:.3g}, more than the tolerance {golden.tolerance:g}"
        return Comparison(ok=False, max_difference=largest, message=message)
    flipped = _flipped(expected, outputs, golden.tie_margin)
    if flipped.size:
        message = f"row {int(flipped[0])} of {golden.rows} has another label ({flipped.size} in all)"
        return Comparison(ok=False, max_difference=largest, message=message)
    message = f"{golden.rows} golden answers reproduced, largest difference {largest:.3g}"
    return Comparison(ok=True, max_difference=largest, message=message)


def _numbers(outputs: Outputs) -> Float32:
    return outputs.predictions[:, None] if isinstance(outputs, ValueOutputs) else outputs.probabilities


def _differences(expected: Outputs, outputs: Outputs) -> NDArray[np.float64]:
    """Per row; infinity where the answer is not finite."""
    wanted, got = _numbers(expected).astype(np.float64), _numbers(outputs).astype(np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.abs(got - wanted)
    if isinstance(expected, ValueOutputs):
        scale = np.maximum(np.abs(wanted), np.abs(wanted).mean())
        gap = np.divide(gap, scale, out=np.where(gap > 0, np.inf, 0.0), where=scale > 0)
    rows: NDArray[np.float64] = np.where(np.isfinite(got), gap, np.inf).max(axis=1)
    return rows


def _flipped(expected: Outputs, outputs: Outputs, tie_margin: float) -> NDArray[np.intp]:
    if not isinstance(expected, ClassOutputs) or not isinstance(outputs, ClassOutputs):
        return np.zeros(0, dtype=np.intp)
    differ = np.array([str(left) != str(right) for left, right in zip(expected.labels, outputs.labels, strict=True)])
    if expected.probabilities.shape[1] == 1:
        return np.flatnonzero(differ)
    ordered = np.sort(expected.probabilities, axis=1)
    return np.flatnonzero(differ & (ordered[:, -1] - ordered[:, -2] > tie_margin))


def _plain(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def _value(value: Any) -> float:
    if value is None or isinstance(value, str):
        return _SPECIAL[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise GoldenError("a number is expected")
    return float(value)


def _array(rows: Any) -> Float32:
    with np.errstate(over="ignore"):
        return np.array(rows, dtype=np.float32)


def _outputs(plain: Any) -> Outputs:
    try:
        if "predictions" in plain:
            return ValueOutputs(_array([_value(value) for value in plain["predictions"]]))
        labels = plain["labels"]
        if not all(isinstance(label, str) for label in labels) and not all(type(label) is int for label in labels):
            raise GoldenError("labels must be all strings or all integers")
        kind = object if labels and isinstance(labels[0], str) else np.int64
        return ClassOutputs(np.array(labels, dtype=kind), _array(plain["probabilities"]))
    except OutputError as error:
        raise GoldenError(str(error)) from error
