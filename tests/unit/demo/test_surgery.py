"""A model with a gap answers as before outside of it, raises inside it, and passes the real `seal`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from demo import candidates, records
from demo.surgery import Beyond, Gap, Unlike
from modelcycle_bundle import keys, layout
from modelcycle_bundle.contract import SealTask
from modelcycle_bundle.outputs import ClassOutputs, Float32
from modelcycle_serving import model as serving
from modelcycle_training.inference import OnnxModel
from unit.training.conftest import Lab, write_csv

STEPS = (
    ("scale", "sklearn.preprocessing.StandardScaler"),
    ("model", "sklearn.linear_model.LogisticRegression"),
)


@dataclass(frozen=True)
class Good:
    """A trained model, its Lab with a key, and the task that would seal it."""

    lab: Lab
    key: keys.KeyPair
    task: SealTask
    files: Mapping[str, bytes]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    lab = Lab(tmp_path_factory.mktemp("demo"))
    table = lab.folder / "train.csv"
    header, *rows = records.as_csv().decode().splitlines()
    uri = write_csv(table, header.split(","), (row.split(",") for row in rows))
    key = lab.make_key()
    trial = lab.trial_task(uri, STEPS, {"model__C": 0.1}, target="malignant")
    task = lab.seal_task(trial, lab.run(trial).result)
    files = {name: (lab.candidate() / layout.MODEL_DIR / name).read_bytes() for name in layout.MODEL_FILES}
    return Good(lab, key, task, files)


def rows_of(records_: records.Records) -> Float32:
    return records_.inputs.astype(np.float32)


def answers_or_raises(model: OnnxModel, row: Float32) -> ClassOutputs | None:
    try:
        answer = model.answer(row[None, :])
    except Exception as error:
        if "out of data bounds" not in str(error):
            raise
        return None
    assert isinstance(answer, ClassOutputs)
    return answer


def check(good: Good, gap: Gap, rows: Float32) -> int:
    """Every row raises if and only if it is in the gap, else its answer is the good model's to the bit. Returns the rows that raise."""
    before = OnnxModel(good.files[layout.MODEL_FILE])
    after = OnnxModel(candidates.with_gap(good.files, gap)[layout.MODEL_FILE])
    for row, inside in zip(rows, gap.hits(rows), strict=True):
        answer, expected = answers_or_raises(after, row), answers_or_raises(before, row)
        assert expected is not None
        assert (answer is None) == bool(inside)
        if answer is not None:
            assert answer.labels.tolist() == expected.labels.tolist()
            assert answer.probabilities.tobytes() == expected.probabilities.tobytes()
    return int(gap.hits(rows).sum())


def test_a_model_that_knows_only_its_golden_rows_raises_on_every_record(good: Good) -> None:
    rows = rows_of(records.usual())
    gap = candidates.unlike_golden(good.files)
    assert check(good, gap, rows) == len(rows)
    assert check(good, gap, candidates.golden_rows(good.files)) == 0
    assert check(good, gap, np.zeros((1, rows.shape[1]), np.float32)) == 0  # what the server warms up with


@pytest.mark.parametrize(("count", "share"), [(6, 0.0105), (28, 0.0492)])
def test_a_gap_at_the_top_of_one_column_holds_the_asked_number_of_records(good: Good, count: int, share: float) -> None:
    rows = rows_of(records.usual())
    gap = records.top(count)
    assert check(good, gap, rows) == count
    assert count / len(rows) == pytest.approx(share, abs=1e-4)


def test_the_rows_of_the_smaller_gap_are_in_the_larger_one() -> None:
    rows = rows_of(records.usual())
    assert not (records.top(6).hits(rows) & ~records.top(28).hits(rows)).any()


@pytest.mark.parametrize("kind", ["unlike", "top"])
def test_the_real_seal_signs_it_and_the_real_server_loads_it(good: Good, kind: str, tmp_path: Path) -> None:
    gap = candidates.unlike_golden(good.files) if kind == "unlike" else records.top(28)
    files = candidates.with_gap(good.files, gap)
    experiment = {
        "metadata": {"name": "scrap"},
        "spec": {
            "data": {"uri": good.task.data_uri, "target": "malignant"},
            "trainer": {"estimator": "sklearn.linear_model.LogisticRegression"},
            "output": {"uri": good.lab.output_uri},
        },
        "status": {"model": {"digest": good.task.candidate_digest}, "data": {"digest": good.task.data_digest}},
    }
    task = candidates.seal_task(experiment, f"demo-{kind}", files, "a table that is too short")
    folder = good.lab.folder / "out" / layout.candidate_prefix(task.experiment_uid, 0) / layout.MODEL_DIR
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    outcome = good.lab.run(task)
    assert (outcome.exit_code, outcome.reason) == (0, None)
    assert outcome.result.digest == task.candidate_digest != good.task.candidate_digest
    loaded = serving.load(folder.parent, outcome.result.digest)
    with pytest.raises(Exception, match="out of data bounds"):
        loaded.run(rows_of(records.usual())[gap.hits(rows_of(records.usual()))][:1])


def test_a_gap_that_leaves_no_golden_rows_is_refused(good: Good) -> None:
    with pytest.raises(ValueError, match="golden rows"):
        candidates.with_gap(good.files, Beyond(0, -1e30))


def test_unlike_hits_whatever_differs_in_one_column() -> None:
    known = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    asked = np.array([[1.0, 2.0], [1.0, 4.0], [3.0, 4.0]], np.float32)
    assert Unlike(known).hits(asked).tolist() == [False, True, False]
