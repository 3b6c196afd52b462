"""`compare`: two models, the same hold-out rows; or why the deployed one cannot be measured on them."""

import csv
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelcycle_bundle import layout
from modelcycle_bundle.contract import CompareTask, SealResult, TrialTask
from unit.training.conftest import Lab, Outcome, Tables, write_csv

TREE = "sklearn.tree.DecisionTreeClassifier"
SCALED = (("scale", "sklearn.preprocessing.StandardScaler"), ("model", "sklearn.linear_model.LogisticRegression"))
Row = list[Any]


@pytest.fixture
def deployed(make_lab: Callable[[str], Lab]) -> Lab:
    """Another Experiment's store, whose model serves."""
    lab = make_lab("deployed")
    lab.make_key()
    return lab


def sealed(lab: Lab, task: TrialTask) -> SealResult:
    result = lab.run(lab.seal_task(task, lab.run(task).result)).result
    assert isinstance(result, SealResult)
    assert result.uri is not None
    return result


def against(lab: Lab, trial: TrialTask, model: SealResult) -> CompareTask:
    """The comparison of a trial's candidate with a sealed model, as the operator asks for it."""
    told = lab.run(trial).result
    assert (told.failure, model.uri is None) == (None, False)
    assert (told.candidate_digest, told.data_digest) != (None, None)
    return CompareTask(
        experiment_uid=trial.experiment_uid,
        index=trial.index,
        data=replace(trial.data, digest=told.data_digest),
        metric=str(told.objective_metric),
        output_uri=lab.output_uri,
        candidate_digest=str(told.candidate_digest),
        deployed_uri=str(model.uri),
        deployed_digest=str(model.digest),
    )


def rewritten(uri: str, path: Path, change: Callable[[list[str], list[Row]], tuple[list[str], list[Row]]]) -> str:
    """A table made from another one."""
    header, *rows = csv.reader(Path(uri.removeprefix("file://")).read_text().splitlines())
    return write_csv(path, *change(header, list(rows)))


def refused(outcome: Outcome, words: str) -> None:
    assert (outcome.exit_code, outcome.reason) == (1, "NotComparable")
    assert words in outcome.result.failure.message
    assert outcome.result.candidate is outcome.result.deployed is None


@pytest.mark.parametrize(("table", "metric"), [("cancer", "roc_auc"), ("iris", "log_loss"), ("diabetes", "r2")])
def test_both_are_measured_on_the_rows_of_the_trial(
    lab: Lab, deployed: Lab, tables: Tables, table: str, metric: str
) -> None:
    uri = getattr(tables, table)
    kind = "Regressor" if metric == "r2" else "Classifier"
    old = deployed.trial_task(uri, f"sklearn.tree.DecisionTree{kind}", {"max_depth": 2})
    new = lab.trial_task(uri, f"sklearn.ensemble.HistGradientBoosting{kind}", {"max_iter": 20})
    outcome = lab.run(against(lab, new, sealed(deployed, old)))
    assert (outcome.exit_code, outcome.reason) == (0, None)
    told = outcome.result
    # What each trial reported of the same split is the oracle: not a digit may differ.
    assert (told.metric, told.candidate) == (metric, lab.run(new).result.metrics[metric])
    assert told.deployed == deployed.run(old).result.metrics[metric]
    assert told.candidate != told.deployed
    assert told.rows == {"cancer": 114, "iris": 30, "diabetes": 89}[table]


def test_columns_are_matched_by_name(lab: Lab, deployed: Lab, tables: Tables, tmp_path: Path) -> None:
    def turned(header: list[str], rows: list[Row]) -> tuple[list[str], list[Row]]:
        return ["extra", *header[::-1]], [["7", *row[::-1]] for row in rows]

    old = deployed.trial_task(tables.cancer, SCALED)
    new = lab.trial_task(rewritten(tables.cancer, tmp_path / "turned.csv", turned), TREE, {"max_depth": 1})
    told = lab.run(against(lab, new, sealed(deployed, old))).result
    assert told.deployed == deployed.run(old).result.metrics["roc_auc"]


def test_a_candidate_of_scrambled_labels_has_the_lower_figure(
    lab: Lab, deployed: Lab, tables: Tables, tmp_path: Path
) -> None:
    def half_scrambled(header: list[str], rows: list[Row]) -> tuple[list[str], list[Row]]:
        draw = random.Random(3)
        return header, [[*row[:-1], draw.choice("01") if draw.random() < 0.7 else row[-1]] for row in rows]

    old = deployed.trial_task(tables.cancer, SCALED)
    new = lab.trial_task(rewritten(tables.cancer, tmp_path / "scrambled.csv", half_scrambled), TREE)
    told = lab.run(against(lab, new, sealed(deployed, old))).result
    assert float(told.candidate) < float(told.deployed) - 0.05


# What the deployed model cannot answer --------------------------------------------------------------------------------


def test_a_feature_that_is_missing(lab: Lab, deployed: Lab, tables: Tables, tmp_path: Path) -> None:
    fewer = rewritten(tables.cancer, tmp_path / "t.csv", lambda h, rows: (h[2:], [row[2:] for row in rows]))
    task = against(lab, lab.trial_task(fewer, TREE), sealed(deployed, deployed.trial_task(tables.cancer, TREE)))
    refused(lab.run(task), "2 of its features are not in these data: 'f0', 'f1'")


def relabelled(**names: str) -> Callable[[list[str], list[Row]], tuple[list[str], list[Row]]]:
    return lambda header, rows: (header, [[*row[:-1], names[f"c{row[-1]}"]] for row in rows])


def test_classes_that_are_text(lab: Lab, deployed: Lab, tables: Tables, tmp_path: Path) -> None:
    words = rewritten(tables.cancer, tmp_path / "t.csv", relabelled(c0="good", c1="scrap"))
    task = against(lab, lab.trial_task(words, TREE), sealed(deployed, deployed.trial_task(tables.cancer, TREE)))
    outcome = lab.run(task)
    refused(outcome, "its classes are whole numbers and those of these data text")
    assert b"scrap" not in outcome.message


def test_a_class_that_it_does_not_know(lab: Lab, deployed: Lab, tables: Tables, tmp_path: Path) -> None:
    other = rewritten(tables.cancer, tmp_path / "t.csv", relabelled(c0="0", c1="2"))
    task = against(lab, lab.trial_task(other, TREE), sealed(deployed, deployed.trial_task(tables.cancer, TREE)))
    refused(lab.run(task), "it does not know 1 of the classes in these data")


def test_another_kind_of_answer(lab: Lab, deployed: Lab, tables: Tables) -> None:
    regressor = deployed.trial_task(tables.cancer, "sklearn.tree.DecisionTreeRegressor")
    task = against(lab, lab.trial_task(tables.cancer, TREE), sealed(deployed, regressor))
    refused(lab.run(task), "it answers numbers, but the target of these data is a class")


def test_a_classifier_where_a_number_is_asked_for(lab: Lab, deployed: Lab, tables: Tables) -> None:
    regressor = lab.trial_task(tables.cancer, "sklearn.tree.DecisionTreeRegressor")
    task = against(lab, regressor, sealed(deployed, deployed.trial_task(tables.cancer, TREE)))
    refused(lab.run(task), "it answers classes, but the target of these data is a number")


def test_rows_with_gaps(lab: Lab, deployed: Lab, tables: Tables) -> None:
    forest = deployed.trial_task(tables.cancer, "sklearn.neighbors.KNeighborsClassifier")
    task = against(lab, lab.trial_task(tables.cancer_with_gaps), sealed(deployed, forest))
    refused(lab.run(task), "hold-out rows have missing values, which it does not answer")


def test_a_metric_that_its_answers_do_not_define(lab: Lab, deployed: Lab, tables: Tables, tmp_path: Path) -> None:
    two = rewritten(tables.iris, tmp_path / "t.csv", lambda h, rows: (h, [r for r in rows if r[-1] != "setosa"]))
    task = against(lab, lab.trial_task(two, TREE), sealed(deployed, deployed.trial_task(tables.iris, TREE)))
    refused(lab.run(task), "roc_auc is not defined for its answers to the 20 hold-out rows")


def test_a_metric_that_no_answers_define(lab: Lab, deployed: Lab, tables: Tables) -> None:
    timed = lab.trial_task(tables.cancer, TREE, objective="fit_seconds")
    task = against(lab, timed, sealed(deployed, deployed.trial_task(tables.cancer, TREE)))
    refused(lab.run(task), "the candidate: fit_seconds is not defined")


# Bytes that are not what they should be -------------------------------------------------------------------------------


@pytest.fixture
def asked(lab: Lab, deployed: Lab, tables: Tables) -> CompareTask:
    old = deployed.trial_task(tables.cancer, TREE, {"max_depth": 2})
    return against(lab, lab.trial_task(tables.cancer, TREE), sealed(deployed, old))


def model_of(lab: Lab, task: CompareTask, name: str) -> Path:
    return lab.folder / "out" / layout.sealed_prefix(task.deployed_digest) / layout.MODEL_DIR / name


def test_deployed_model_that_was_changed(lab: Lab, deployed: Lab, asked: CompareTask) -> None:
    path = model_of(deployed, asked, layout.MODEL_FILE)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    refused(lab.run(asked), "it was changed since it was sealed")


@pytest.mark.parametrize("name", [layout.MODEL_FILE, layout.CARD_JSON_FILE])
def test_deployed_model_that_is_not_whole(lab: Lab, deployed: Lab, asked: CompareTask, name: str) -> None:
    model_of(deployed, asked, name).unlink()
    refused(lab.run(asked), f"model/{name} is missing there")


def test_deployed_model_that_is_gone(lab: Lab, asked: CompareTask) -> None:
    refused(lab.run(replace(asked, deployed_uri="file:///nowhere/at/all")), "/nowhere/at/all")


def test_candidate_that_was_changed_is_no_matter_of_the_deployed_model(lab: Lab, asked: CompareTask) -> None:
    path = lab.candidate() / layout.MODEL_DIR / layout.CARD_MD_FILE
    path.write_text(path.read_text() + " ")
    outcome = lab.run(asked)
    assert (outcome.exit_code, outcome.reason) == (1, "CandidateMismatch")


def test_other_data_than_the_trial_read(lab: Lab, asked: CompareTask, tables: Tables) -> None:
    outcome = lab.run(replace(asked, data=replace(asked.data, uri=tables.cancer_with_gaps)))
    assert (outcome.exit_code, outcome.reason) == (1, "DataChanged")


def test_neither_key_nor_user_code_is_in_reach(lab: Lab, asked: CompareTask) -> None:

    program = (
        "import sys, modelcycle_training.comparing;"
        "print(sorted(m for m in ('estimators', 'fitting', 'signing_key') if f'modelcycle_training.{m}' in sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "[]"
    before = lab.files()
    assert lab.run(asked).exit_code == 0
    assert lab.files() == before
