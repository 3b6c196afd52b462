"""When a target is usable, and as what it is read."""

import numpy as np
import pytest

from modelcycle_bundle.contract import FailureReason, Split
from modelcycle_training.failures import TaskFailed
from modelcycle_training.labels import LearningTask, parse_labels
from modelcycle_training.split import Rows, split


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0", "1"] * 5, [0, 1]),
        (["0.0", "1.0"] * 5, [0, 1]),
        (["-1", "+1"] * 5, [-1, 1]),
        (["ok", "scrap"] * 5, ["ok", "scrap"]),
        (["0.5", "1"] * 5, ["0.5", "1"]),
    ],
)
def test_whole_numbers_are_integer_classes_and_the_rest_is_text(cells: list[str], expected: list[object]) -> None:
    assert np.unique(parse_labels(cells, LearningTask.CLASSIFICATION, "y")).tolist() == expected


@pytest.mark.parametrize(
    ("cells", "task", "told"),
    [
        (["1"] * 9, LearningTask.CLASSIFICATION, "9 labelled rows"),
        (["1"] * 20, LearningTask.CLASSIFICATION, "single class"),
        (["1", "1.0"] * 10, LearningTask.CLASSIFICATION, "single class"),
        ([f"c{at}" for at in range(2000)], LearningTask.CLASSIFICATION, "2000 classes"),
        (["1", "Miller"] * 10, LearningTask.REGRESSION, "holds text"),
        (["1", "inf"] * 10, LearningTask.REGRESSION, "infinite"),
        (["3"] * 20, LearningTask.REGRESSION, "same value"),
    ],
)
def test_unusable_targets_say_why_without_a_value(cells: list[str], task: LearningTask, told: str) -> None:
    with pytest.raises(TaskFailed) as caught:
        parse_labels(cells, task, "y")
    assert caught.value.failure.reason is FailureReason.TARGET_UNUSABLE
    assert told in caught.value.failure.message
    assert "Miller" not in caught.value.failure.message


def rows(labels: list[int]) -> Rows:
    return Rows(np.arange(len(labels), dtype=np.float32)[:, None], np.array(labels))


def test_split_is_stratified_seeded_and_a_partition() -> None:
    table = rows([0] * 80 + [1] * 20)
    parts = split(table, Split(0.2, seed=3), LearningTask.CLASSIFICATION)
    assert parts.holdout.labels.sum() == 4
    assert sorted([*parts.train.inputs[:, 0], *parts.holdout.inputs[:, 0]]) == list(range(100))
    again = split(table, Split(0.2, seed=3), LearningTask.CLASSIFICATION)
    other = split(table, Split(0.2, seed=4), LearningTask.CLASSIFICATION)
    assert np.array_equal(again.holdout.inputs, parts.holdout.inputs)
    assert not np.array_equal(other.holdout.inputs, parts.holdout.inputs)


@pytest.mark.parametrize("seed", range(5))
def test_the_only_row_of_a_class_is_trained_on_and_the_rest_stays_stratified(seed: int) -> None:
    parts = split(rows([0] * 15 + [1] * 10 + [2]), Split(0.2, seed=seed), LearningTask.CLASSIFICATION)
    assert 2 in parts.train.labels
    assert sorted(parts.holdout.labels) == [0, 0, 0, 1, 1]


def test_one_value_left_for_training_is_unusable() -> None:
    values = Rows(np.zeros((10, 1), dtype=np.float32), np.array([0.0] * 9 + [1.0]))
    reasons = set()
    for seed in range(60):  # the only other value falls into the hold-out for some of them
        try:
            split(values, Split(0.2, seed=seed), LearningTask.REGRESSION)
        except TaskFailed as error:
            reasons.add(error.failure.reason)
    assert reasons == {FailureReason.TARGET_UNUSABLE}


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, 0.999])
def test_fractions_that_leave_nothing_are_refused(fraction: float) -> None:
    with pytest.raises(TaskFailed, match="holdoutFraction"):
        split(rows([0, 1] * 5), Split(fraction), LearningTask.CLASSIFICATION)
