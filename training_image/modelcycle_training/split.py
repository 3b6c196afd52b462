"""The seeded hold-out split. Pure: the seed comes with the data's spec, so that every trial, and every model that one is compared with,
is judged on the same rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelcycle_bundle.contract import DataRef, FailureReason, Split
from modelcycle_training.failures import TaskFailed, data_failed
from modelcycle_training.labels import Labels, LearningTask, parse_labels
from modelcycle_training.table import Float32Matrix, Table


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


def split_table(table: Table, ref: DataRef, task: LearningTask) -> Parts:
    """The labelled rows of a table in two parts, as `ref` says. Raises TaskFailed with TargetUnusable."""
    cells = [cell for cell in table.target if cell]
    return split(Rows(table.values[table.labelled], parse_labels(cells, task, ref.target)), ref.split, task)


def split(rows: Rows, how: Split, task: LearningTask) -> Parts:
    """Stratified by class where the classes have enough rows. Raises TaskFailed with TargetUnusable."""
    if not 0.0 < how.holdout_fraction < 1.0:
        raise data_failed(
            FailureReason.TARGET_UNUSABLE, f"data.split.holdoutFraction {how.holdout_fraction} is not between 0 and 1"
        )
    train, holdout = _indices(rows.labels, how, task)
    parts = Parts(Rows(rows.inputs[train], rows.labels[train]), Rows(rows.inputs[holdout], rows.labels[holdout]))
    if len(np.unique(parts.train.labels)) < 2:
        raise data_failed(
            FailureReason.TARGET_UNUSABLE,
            f"the {len(train)} training rows of the split hold one class or value only: give more labelled rows or another data.split.seed",
        )
    return parts


def _indices(labels: Labels, how: Split, task: LearningTask) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    arguments: dict[str, Any] = {"test_size": how.holdout_fraction, "random_state": how.seed % 2**32}
    every = np.arange(len(labels))
    if task is LearningTask.REGRESSION:
        train, holdout = _drawn(every, arguments)
        return np.sort(train), np.sort(holdout)
    # The only row of a class cannot be on both sides, and a model cannot answer a class it has not seen.
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    lonely = counts[inverse] == 1
    rest = every[~lonely]
    try:
        train, holdout = _drawn(rest, arguments | {"stratify": labels[rest]})
    except TaskFailed:
        train, holdout = _drawn(rest, arguments)
    return np.sort(np.concatenate([train, every[lonely]])), np.sort(holdout)


def _drawn(rows: npt.NDArray[np.intp], arguments: dict[str, Any]) -> Any:
    from sklearn.model_selection import train_test_split

    try:
        return train_test_split(rows, **arguments)
    except ValueError:
        raise data_failed(
            FailureReason.TARGET_UNUSABLE,
            f"{len(rows)} labelled rows cannot be split with data.split.holdoutFraction {arguments['test_size']}",
        ) from None
