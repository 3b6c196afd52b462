"""The target column as numbers or classes, and the kind of learning task.

Owns when a target is usable for a task. Never lets a label into a message.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelcycle_bundle.contract import FailureReason
from modelcycle_training.failures import data_failed
from modelcycle_training.table import shown

MIN_LABELLED_ROWS: Final = 10
MAX_CLASSES: Final = 1000

Labels = npt.NDArray[Any]


class LearningTask(StrEnum):
    """What the model answers with."""

    CLASSIFICATION = "classification"
    """One of a finite set of classes, with probabilities."""
    REGRESSION = "regression"
    """One number."""


def parse_labels(cells: Sequence[str], task: LearningTask, target: str) -> Labels:
    """The labelled cells as float64 (regression), int64 (classes that are whole numbers) or text classes.

    Raises TaskFailed with TargetUnusable.
    """
    if len(cells) < MIN_LABELLED_ROWS:
        raise data_failed(
            FailureReason.TARGET_UNUSABLE,
            f"target {shown(target)} has {len(cells)} labelled rows; at least {MIN_LABELLED_ROWS} are needed",
        )
    if task is LearningTask.REGRESSION:
        return _numbers(cells, target)
    return _classes(cells, target)


def _numbers(cells: Sequence[str], target: str) -> Labels:
    try:
        values = np.array([float(cell) for cell in cells], dtype=np.float64)
    except ValueError:
        raise data_failed(
            FailureReason.TARGET_UNUSABLE,
            f"target {shown(target)} holds text; a regression needs numbers (or choose a classifier)",
        ) from None
    if not np.isfinite(values.astype(np.float32)).all():
        raise data_failed(
            FailureReason.TARGET_UNUSABLE, f"target {shown(target)} holds values that are infinite or beyond float32"
        )
    if values.min() == values.max():
        raise data_failed(
            FailureReason.TARGET_UNUSABLE, f"target {shown(target)} has the same value in every labelled row"
        )
    return values


def _classes(cells: Sequence[str], target: str) -> Labels:
    names = sorted(set(cells))
    if len(names) > MAX_CLASSES:
        raise data_failed(
            FailureReason.TARGET_UNUSABLE,
            f"target {shown(target)} has {len(names)} classes, more than {MAX_CLASSES}: is it a regression?",
        )
    numbers = {name: _whole(name) for name in names}
    if all(number is not None for number in numbers.values()):
        labels: Labels = np.array([numbers[cell] for cell in cells], dtype=np.int64)
    else:
        labels = np.array(cells, dtype=np.str_)
    if len(np.unique(labels)) < 2:
        raise data_failed(
            FailureReason.TARGET_UNUSABLE,
            f"target {shown(target)} has a single class in all {len(cells)} labelled rows; two are needed",
        )
    return labels


def _whole(name: str) -> int | None:
    """`1` and `1.0` (how tables with gaps write whole numbers) are the class 1; anything else is text."""
    try:
        value = float(name)
    except ValueError:
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else None
