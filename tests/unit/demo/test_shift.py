"""The shifted rows move two columns and nothing else, hurt a model that was trained before, and a retrain mends it."""

from pathlib import Path

import numpy as np
import pytest

from demo import records, shift
from modelcycle_bundle.bins import Feature
from modelcycle_bundle.contract import CompareTask, SealResult, TrialTask
from unit.training.conftest import Lab

STEPS = (("scale", "sklearn.preprocessing.StandardScaler"), ("model", "sklearn.linear_model.LogisticRegression"))


def test_only_the_two_gauges_move() -> None:
    usual, shifted = records.usual(), records.shifted()
    moved = [name for at, name in enumerate(records.columns()) if (usual.inputs[:, at] != shifted.inputs[:, at]).any()]
    assert sorted(moved) == sorted(records.SHIFTED)
    assert (usual.labels == shifted.labels).all()


def sealed(lab: Lab, task: TrialTask) -> SealResult:
    lab.make_key()
    result = lab.run(lab.seal_task(task, lab.run(task).result)).result
    assert isinstance(result, SealResult)
    return result


@pytest.mark.parametrize("c", [0.3, 1.0, 10.0])
def test_the_retrained_model_is_better_on_the_same_rows_whatever_the_search_chooses(tmp_path: Path, c: float) -> None:
    labs = {name: Lab(tmp_path / name) for name in ("old", "new")}
    tasks = {}
    for (name, lab), rows in zip(labs.items(), (records.usual(), records.shifted()), strict=True):
        lab.folder.mkdir()
        (lab.folder / "train.csv").write_bytes(records.as_csv(rows))
        uri = f"file://{lab.folder}/train.csv"
        tasks[name] = lab.trial_task(uri, STEPS, {"model__C": c}, target=records.TARGET, objective="accuracy")
    old, new = sealed(labs["old"], tasks["old"]), labs["new"].run(tasks["new"]).result
    told = labs["new"].run(
        CompareTask(
            "uid-1",
            0,
            tasks["new"].data,
            "accuracy",
            labs["new"].output_uri,
            new.candidate_digest,
            str(old.uri),
            str(old.digest),
        )
    )
    assert told.reason is None
    assert float(told.result.candidate) > float(told.result.deployed) + 0.05


def test_bins_of_a_window_become_shares_beside_those_of_the_profile() -> None:
    reference = Feature("x", 0.0, 9.0, (3.0, 6.0), (0, 5, 3, 2, 0, 0), 4.0, 2.0)
    counted = {"name": "x", "rows": 20, "missing": 0, "below": 0, "above": 10, "bins": "2,3,5"}
    found = shift.moved(reference, counted)
    assert found.reference == pytest.approx((0.0, 0.5, 0.3, 0.2, 0.0))
    assert found.current == pytest.approx((0.0, 0.1, 0.15, 0.25, 0.5))
    assert np.isclose(sum(found.current), 1.0)
