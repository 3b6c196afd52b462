"""Metrics of the exported model on the hold-out rows, as decimal strings.

Owns the metric names and what "unavailable" means. The answers judged are those of the ONNX model, never of the estimator.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from modelcycle_bundle.contract import FailureClass, FailureReason
from modelcycle_bundle.outputs import ClassOutputs, Outputs, ValueOutputs
from modelcycle_training.failures import failed
from modelcycle_training.labels import Labels

Metrics = Mapping[str, str]
_Measure = Callable[[], Any]

FIT_SECONDS: Final = "fit_seconds"
"""Wall time of the fit; beside the others in the result, never inside the bundle."""


def default_objective(classes: int) -> str:
    """roc_auc for two classes, log_loss for more, r2 for a regression (no classes)."""
    if not classes:
        return "r2"
    return "roc_auc" if classes == 2 else "log_loss"


def measure(outputs: Outputs, labels: Labels, classes: Sequence[Any]) -> Metrics:
    """Every metric that these rows define; an undefined or infinite one is left out. `classes`: in the model's order."""
    if isinstance(outputs, ClassOutputs):
        return _defined(_classification(np.asarray(classes), outputs, labels))
    return _defined(_regression(outputs, labels))


def _defined(measures: Mapping[str, _Measure]) -> Metrics:
    return {name: text for name, run in sorted(measures.items()) if (text := _decimal(run)) is not None}


def require_objective(metrics: Metrics, objective: str, holdout_rows: int) -> None:
    """Raises TaskFailed with MetricUnavailable when the objective is not among the metrics."""
    if objective not in metrics:
        raise failed(
            FailureClass.METRICS,
            FailureReason.METRIC_UNAVAILABLE,
            f"objective {objective[:80]!r} is missing, undefined or not finite on the {holdout_rows} hold-out rows"
            f" (roc_auc needs both classes there); available: {', '.join(metrics) or 'none'}",
        )


def _decimal(run: _Measure) -> str | None:
    try:
        value = float(run())
    except ValueError:  # how scikit-learn says that a metric is undefined on these rows
        return None
    return repr(value) if math.isfinite(value) else None


def _classification(classes: Any, outputs: ClassOutputs, labels: Labels) -> dict[str, _Measure]:
    from sklearn import metrics

    answers = outputs.labels
    probabilities = outputs.probabilities.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)  # float32 rounding, else a warning
    common: dict[str, _Measure] = {
        "accuracy": lambda: metrics.accuracy_score(labels, answers),
        "log_loss": lambda: metrics.log_loss(labels, probabilities, labels=classes),
    }
    if len(classes) > 2:
        return common | {"f1_macro": lambda: metrics.f1_score(labels, answers, average="macro", zero_division=0.0)}
    return common | {
        "roc_auc": lambda: _roc_auc(labels == classes[1], probabilities[:, 1]),
        "f1": lambda: metrics.f1_score(labels == classes[1], answers == classes[1], zero_division=0.0),
    }


def _roc_auc(positive: Any, score: Any) -> float:
    from sklearn import metrics

    if positive.all() or not positive.any():
        return math.nan
    return float(metrics.roc_auc_score(positive, score))


def _regression(outputs: ValueOutputs, labels: Labels) -> dict[str, _Measure]:
    from sklearn import metrics

    answers = outputs.predictions.astype(np.float64)
    return {
        "r2": lambda: metrics.r2_score(labels, answers),
        "mae": lambda: metrics.mean_absolute_error(labels, answers),
        "rmse": lambda: math.sqrt(metrics.mean_squared_error(labels, answers)),
    }
