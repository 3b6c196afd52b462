"""The gate between scikit-learn and ONNX: the exported model answers as the fitted estimator does, or the trial has no candidate.

Owns the rows that are tried and the tolerances. Messages name differences, never values of rows.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelcycle_bundle.contract import FailureClass, FailureReason
from modelcycle_bundle.outputs import ClassOutputs, Outputs
from modelcycle_training.failures import failed
from modelcycle_training.inference import OnnxModel
from modelcycle_training.table import Float32Matrix

PROBABILITY_TOLERANCE: Final = 1e-5
"""Largest absolute difference of a class probability."""
REGRESSION_TOLERANCE: Final = 1e-4
"""Largest difference relative to the answer, or to the spread of the answers where those are larger."""
MAX_ROWS: Final = 2000
_TINY: Final = float(np.finfo(np.float32).tiny)
_STRETCHES: Final = (0.0, 2.0, 10.0)
"""How far beyond the range of each feature the made-up rows lie, in ranges."""


Float64Matrix = npt.NDArray[np.float64]


class Missing(StrEnum):
    """What becomes of a row with missing values."""

    ANSWERED = "answered"
    """scikit-learn and ONNX give the same answer."""
    REFUSED = "refused"
    """scikit-learn gives none, or another than ONNX: the server must not answer."""


@dataclass(frozen=True, slots=True)
class Parity:
    """What the gate saw, for the model card."""

    rows: int
    max_difference: float
    """Absolute for probabilities, relative for a regression."""
    edges: Float32Matrix
    """The made-up rows that the estimator answers: all or none."""
    missing: Missing


@dataclass(frozen=True, slots=True)
class _Seen:
    rows: int
    largest: float
    label_flips: int
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.label_flips == 0 and self.largest <= self.tolerance


def check(estimator: Any, model: OnnxModel, train: Float32Matrix, holdout: Float32Matrix) -> Parity:
    """Compare on hold-out and made-up rows. Raises TaskFailed with ConversionParityFailed."""
    edges = made_up_rows(train, holdout)
    if not _takes(estimator, edges):  # an estimator of counts or categories may refuse what lies outside of them
        edges = edges[:0]
    rows = np.concatenate([holdout[:MAX_ROWS], edges])
    if not takes_missing(estimator, holdout):
        complete = rows[~np.isnan(rows).any(axis=1)]
        return _require(_compare(estimator, model, complete), edges, Missing.REFUSED)
    gaps = rows_with_gaps(holdout)
    if np.isnan(train).any() or np.isnan(holdout).any():
        return _require(_compare(estimator, model, np.concatenate([rows, gaps])), edges, Missing.ANSWERED)
    # Forests take gaps that they were never trained on, and their converter does not. With complete data nobody asked for
    # that, so the model stands, and its card says that it does not answer gaps.
    missing = Missing.ANSWERED if _compare(estimator, model, gaps).holds else Missing.REFUSED
    return _require(_compare(estimator, model, rows), edges, missing)


def _require(seen: _Seen, edges: Float32Matrix, missing: Missing) -> Parity:
    if not seen.holds:
        raise failed(
            FailureClass.CONVERSION,
            FailureReason.CONVERSION_PARITY_FAILED,
            f"ONNX differs from scikit-learn by up to {seen.largest:.3g} (tolerance {seen.tolerance:.3g}),"
            f" {seen.label_flips} of {seen.rows} labels differ:"
            " scale the features, fill gaps with sklearn.impute.SimpleImputer, or choose another estimator",
        )
    return Parity(seen.rows, seen.largest, edges, missing)


def _compare(estimator: Any, model: OnnxModel, rows: Float32Matrix) -> _Seen:
    answers = _answers(model, rows)
    compare = _classification if isinstance(answers, ClassOutputs) else _regression
    return compare(estimator, answers, rows.astype(np.float64))


def _answers(model: OnnxModel, rows: Float32Matrix) -> Outputs:
    try:
        return model.answer(rows)
    except Exception as error:  # onnxruntime has an exception type per status code, without a common parent
        raise failed(
            FailureClass.CONVERSION,
            FailureReason.CONVERSION_FAILED,
            f"onnxruntime cannot run the converted model ({type(error).__name__}): choose another estimator",
        ) from error


def takes_missing(estimator: Any, rows: Float32Matrix) -> bool:
    """Whether `predict` takes rows with missing values, found by trying."""
    return _takes(estimator, rows_with_gaps(rows))


def _takes(estimator: Any, rows: Float32Matrix) -> bool:
    try:
        estimator.predict(rows.astype(np.float64))
    except (ValueError, IndexError):
        return False
    return True


def made_up_rows(train: Float32Matrix, holdout: Float32Matrix) -> Float32Matrix:
    """Rows at and beyond the edges of the data: all features low, all high, and one at a time in turns; no gaps."""
    low, high, middle = _range(np.concatenate([train, holdout]))
    span = high - low
    rows = []
    for stretch in _STRETCHES:
        below, above = low - stretch * span, high + stretch * span
        even = np.arange(len(low)) % 2 == 0
        rows += [below, above, np.where(even, below, above), np.where(even, above, middle)]
    limit = float(np.finfo(np.float32).max)
    return np.array(rows, dtype=np.float64).clip(-limit, limit).astype(np.float32)


def rows_with_gaps(rows: Float32Matrix) -> Float32Matrix:
    """Copies of the first rows in which one feature after another, then every second, then every one is missing."""
    features = rows.shape[1]
    count = min(features, 64)
    gaps = np.tile(rows[:1], (count + 2, 1))
    gaps[np.arange(count), np.arange(count)] = np.nan
    gaps[count, ::2] = np.nan
    gaps[count + 1, :] = np.nan
    return gaps


def _range(rows: Float32Matrix) -> tuple[Float64Matrix, Float64Matrix, Float64Matrix]:
    exact = rows.astype(np.float64)
    empty = np.isnan(exact).all(axis=0)
    exact[0, empty] = 0.0  # a column without any value has no range; nanmin would warn
    return np.nanmin(exact, axis=0), np.nanmax(exact, axis=0), np.nanmedian(exact, axis=0)


def _classification(estimator: Any, answers: Any, rows: Float64Matrix) -> _Seen:
    expected = np.asarray(estimator.predict_proba(rows), dtype=np.float64)
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > 2 * PROBABILITY_TOLERANCE  # at a tie both answers are right
    flips = clear & (answers.labels != np.asarray(estimator.predict(rows)))
    difference = float(np.abs(answers.probabilities - expected).max())
    return _Seen(len(rows), difference, int(flips.sum()), PROBABILITY_TOLERANCE)


def _regression(estimator: Any, answers: Any, rows: Float64Matrix) -> _Seen:
    expected: Float64Matrix = np.asarray(estimator.predict(rows), dtype=np.float64).reshape(-1)
    scale = np.maximum(np.abs(expected), max(float(np.std(expected)), _TINY))
    difference = float((np.abs(answers.predictions - expected) / scale).max())
    return _Seen(len(rows), difference, 0, REGRESSION_TOLERANCE)
