"""The seeded hold-out split. Pure: the seed comes with the data's spec, so that every trial is judged on the same rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelcycle_bundle.contract import FailureReason, Split
from modelcycle_training.failures import data_failed
from modelcycle_training.labels import Labels, LearningTask
from modelcycle_training.table import Float32Matrix


@dataclass(frozen=True, slots=True)
class Rows:
    """Labelled rows: inputs [N, F] and labels [N]."""

    inputs: Float32Matrix
    labels: Labels


@dataclass(frozen=True, slots=True)
class Parts:
    """What is fitted and what is judged; both in the table's order."""

    train: Rows
    holdout: Rows


def split(rows: Rows, how: Split, task: LearningTask) -> Parts:
    """Stratified by class where every class has enough rows. Raises TaskFailed with TargetUnusable."""
    if not 0.0 < how.holdout_fraction < 1.0:
        raise data_failed(
            FailureReason.TARGET_UNUSABLE, f"data.split.holdoutFraction {how.holdout_fraction} is not between 0 and 1"
        )
    train, holdout = _indices(rows.labels, how, task)
    parts = Parts(Rows(rows.inputs[train], rows.labels[train]), Rows(rows.inputs[holdout], rows.labels[holdout]))
    if len(np.unique(parts.train.labels)) < 2:
        raise data_failed(
            FailureReason.TARGET_UNUSABLE,
            f"the {len(train)} training rows of the split hold one class only: give more labelled rows or another data.split.seed",
        )
    return parts


def _indices(labels: Labels, how: Split, task: LearningTask) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    from sklearn.model_selection import train_test_split

    every = np.arange(len(labels))
    arguments: dict[str, Any] = {"test_size": how.holdout_fraction, "random_state": how.seed % 2**32}
    stratify = labels if task is LearningTask.CLASSIFICATION else None
    try:
        train, holdout = train_test_split(every, stratify=stratify, **arguments)
    except ValueError:
        train, holdout = _unstratified(every, arguments)
    return np.sort(train), np.sort(holdout)


def _unstratified(every: npt.NDArray[np.intp], arguments: dict[str, Any]) -> Any:
    """A class with a single row cannot be on both sides; the metrics then tell whether the split is of use."""
    from sklearn.model_selection import train_test_split

    try:
        return train_test_split(every, **arguments)
    except ValueError:
        raise data_failed(
            FailureReason.TARGET_UNUSABLE,
            f"{len(every)} labelled rows cannot be split with data.split.holdoutFraction {arguments['test_size']}",
        ) from None
