"""The shifted rows move two columns and nothing else, hurt a model that was trained before, and a retrain mends it."""

from typing import Any

import numpy as np
import pytest

from demo import records, shift
from modelcycle_bundle.bins import Feature
from modelcycle_training.inference import OnnxModel
from unit.training.conftest import Lab

STEPS = (("scale", "sklearn.preprocessing.StandardScaler"), ("model", "sklearn.linear_model.LogisticRegression"))


def test_only_the_two_gauges_move() -> None:
    usual, shifted = records.usual(), records.shifted()
    moved = [name for at, name in enumerate(records.columns()) if (usual.inputs[:, at] != shifted.inputs[:, at]).any()]
    assert sorted(moved) == sorted(records.SHIFTED)
    assert (usual.labels == shifted.labels).all()


def test_the_next_data_version_and_the_rows_kept_aside_share_no_row() -> None:
    fresh, aside = records.labelled_later()
    assert len(fresh) + len(aside) == len(records.usual())
    assert {tuple(row) for row in fresh.inputs}.isdisjoint({tuple(row) for row in aside.inputs})


def trained(folder: Any, table: bytes, c: float) -> OnnxModel:
    folder.mkdir()
    lab = Lab(folder)
    (folder / "train.csv").write_bytes(table)
    task = lab.trial_task(f"file://{folder}/train.csv", STEPS, {"model__C": c}, target=records.TARGET)
    assert lab.run(task).exit_code == 0
    return OnnxModel((lab.candidate() / "model" / "model.onnx").read_bytes())


@pytest.mark.parametrize("c", [0.3, 1.0, 10.0])
def test_the_retrained_model_is_better_on_the_shifted_rows_whatever_the_search_chooses(tmp_path: Any, c: float) -> None:
    fresh, aside = records.labelled_later()
    old = trained(tmp_path / "old", records.as_csv(), c)
    new = trained(tmp_path / "new", records.as_csv(fresh), c)
    for rows in (fresh, aside):
        compared = shift.compare(old, new, rows)
        assert compared.is_better
        assert compared.new_right > compared.old_right + 0.05


def test_bins_of_a_window_become_shares_beside_those_of_the_profile() -> None:
    reference = Feature("x", 0.0, 9.0, (3.0, 6.0), (0, 5, 3, 2, 0, 0), 4.0, 2.0)
    counted = {"name": "x", "rows": 20, "missing": 0, "below": 0, "above": 10, "bins": "2,3,5"}
    found = shift.moved(reference, counted)
    assert found.reference == pytest.approx((0.0, 0.5, 0.3, 0.2, 0.0))
    assert found.current == pytest.approx((0.0, 0.1, 0.15, 0.25, 0.5))
    assert np.isclose(sum(found.current), 1.0)
