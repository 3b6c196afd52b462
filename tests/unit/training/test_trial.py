"""`trial` on real tables: candidates that hold, and every documented way to fail."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from modelcycle_bundle import golden, layout, profile
from modelcycle_bundle.contract import JsonValue, Split, TrialResult, from_json
from modelcycle_training.candidate import manifest_of
from modelcycle_training.inference import OnnxModel
from unit.training.conftest import HISTOGRAM, Lab, Tables, write_csv

SCALED_LOGISTIC = (
    ("impute", "sklearn.impute.SimpleImputer"),
    ("scale", "sklearn.preprocessing.StandardScaler"),
    ("model", "sklearn.linear_model.LogisticRegression"),
)
SCALED_RIDGE = (("scale", "sklearn.preprocessing.StandardScaler"), ("model", "sklearn.linear_model.Ridge"))

MODELS: list[tuple[str, str | Sequence[tuple[str, str]], Mapping[str, JsonValue], str, float]] = [
    ("cancer", HISTOGRAM, {"max_iter": 20}, "roc_auc", 0.9),
    ("cancer_with_gaps", HISTOGRAM, {"max_iter": 20}, "roc_auc", 0.9),
    ("cancer_with_gaps", SCALED_LOGISTIC, {"model__C": 0.5}, "roc_auc", 0.95),
    ("cancer", "sklearn.ensemble.RandomForestClassifier", {"n_estimators": 10}, "roc_auc", 0.9),
    ("cancer", "sklearn.ensemble.GradientBoostingClassifier", {"n_estimators": 10}, "roc_auc", 0.9),
    ("iris", SCALED_LOGISTIC, {}, "accuracy", 0.8),
    ("iris", "sklearn.ensemble.RandomForestClassifier", {"n_estimators": 10}, "f1_macro", 0.8),
    ("diabetes", "sklearn.ensemble.HistGradientBoostingRegressor", {"max_iter": 20}, "r2", 0.2),
    ("diabetes", SCALED_RIDGE, {"model__alpha": 2}, "r2", 0.3),
    ("diabetes", "sklearn.ensemble.GradientBoostingRegressor", {"n_estimators": 20}, "r2", 0.2),
]


@pytest.mark.parametrize(("table", "estimator", "parameters", "metric", "least"), MODELS)
def test_trial_writes_a_whole_candidate_experiment_53(
    lab: Lab,
    tables: Tables,
    table: str,
    estimator: str | Sequence[tuple[str, str]],
    parameters: Mapping[str, JsonValue],
    metric: str,
    least: float,
) -> None:
    outcome = lab.run(lab.trial_task(getattr(tables, table), estimator, parameters))
    assert (outcome.exit_code, outcome.reason) == (0, None)
    result = outcome.result
    assert float(result.metrics[metric]) >= least
    assert result.objective_metric in result.metrics
    model_dir = lab.candidate() / layout.MODEL_DIR
    files = {path.name: path.read_bytes() for path in model_dir.iterdir()}
    assert set(files) == set(layout.MODEL_FILES)
    assert manifest_of(files).root == result.candidate_digest
    assert from_json(TrialResult, (lab.candidate() / "result.json").read_text()) == result
    replay = golden.Golden.parse(files[layout.GOLDEN_FILE].decode())
    assert replay.rows >= 12
    assert golden.compare(replay, OnnxModel(files[layout.MODEL_FILE]).answer(replay.inputs)).ok
    bins = profile.Profile.parse(files[layout.PROFILE_FILE].decode())
    card = json.loads(files[layout.CARD_JSON_FILE])
    assert card["artefact"]["profile"] == bins.hash
    assert card["evaluation"]["metrics"] == {
        name: text for name, text in result.metrics.items() if name != "fit_seconds"
    }
    assert card["model"]["features"] == [feature.name for feature in bins.features]


def test_default_objectives(lab: Lab, tables: Tables) -> None:
    tree = "sklearn.tree.DecisionTreeClassifier"
    cases = [
        (tables.cancer, tree, "roc_auc"),
        (tables.iris, tree, "log_loss"),
        (tables.diabetes, "sklearn.tree.DecisionTreeRegressor", "r2"),
    ]
    for index, (uri, estimator, metric) in enumerate(cases):
        result = lab.run(lab.trial_task(uri, estimator, {"max_depth": 3}, index=index)).result
        assert result.objective_metric == metric


def test_golden_rows_are_no_rows_of_the_data(lab: Lab, tables: Tables) -> None:
    lab.run(lab.trial_task(tables.cancer, parameters={"max_iter": 5}))
    text = (lab.candidate() / layout.MODEL_DIR / layout.GOLDEN_FILE).read_text()
    from modelcycle_training.table import read_table

    real = {
        tuple(row) for row in read_table(Path(tables.cancer.removeprefix("file://")).read_bytes(), "y").values.tolist()
    }
    assert not real & {tuple(row) for row in golden.Golden.parse(text).inputs.tolist()}


def test_unlabelled_rows_are_counted_and_not_fitted(lab: Lab, tmp_path: Path) -> None:
    rows = [[at, at % 7, "" if at % 4 == 0 else int(at > 50)] for at in range(100)]
    result = lab.run(
        lab.trial_task(write_csv(tmp_path / "t.csv", ["a", "b", "y"], rows), parameters={"max_iter": 5})
    ).result
    assert result.rows == 100
    card = json.loads((lab.candidate() / layout.MODEL_DIR / layout.CARD_JSON_FILE).read_text())
    assert card["data"]["rows"] == 75


def test_one_class_in_the_holdout_is_metric_unavailable_and_exit_0_experiment_22(lab: Lab, tmp_path: Path) -> None:
    uri = write_csv(tmp_path / "t.csv", ["a", "y"], [[at, int(at == 3)] for at in range(40)])
    outcome = lab.run(lab.trial_task(uri, "sklearn.tree.DecisionTreeClassifier"))
    assert (outcome.exit_code, outcome.reason) == (0, "MetricUnavailable")
    assert "roc_auc" not in outcome.result.metrics
    assert "accuracy" in outcome.result.metrics
    assert outcome.result.candidate_digest is None
    assert sorted(lab.files()) == ["candidates/uid-1/0/result.json"]


def test_unknown_objective_lists_the_metrics_experiment_21(lab: Lab, tables: Tables) -> None:
    outcome = lab.run(lab.trial_task(tables.diabetes, "sklearn.linear_model.Ridge", objective="roc_auc"))
    assert (outcome.exit_code, outcome.reason) == (0, "MetricUnavailable")
    assert "mae" in outcome.result.failure.message


def test_pinned_digest_must_be_the_bytes_read_experiment_44(lab: Lab, tables: Tables) -> None:
    outcome = lab.run(lab.trial_task(tables.cancer, digest="sha256:" + "0" * 64))
    assert (outcome.exit_code, outcome.reason) == (1, "DataChanged")
    assert outcome.result.data_digest in outcome.result.failure.message
    assert lab.files() == {}
    pinned = lab.run(lab.trial_task(tables.cancer, parameters={"max_iter": 5}, digest=outcome.result.data_digest))
    assert pinned.exit_code == 0


@pytest.mark.parametrize(
    ("change", "exit_code", "reason"),
    [
        ({"estimator": "os.system"}, 1, "EstimatorNotAllowed"),
        ({"estimator": "sklearn.cluster.KMeans"}, 1, "EstimatorNotAllowed"),
        ({"parameters": {"max_iter": -1}}, 1, "BadParameters"),
        ({"parameters": {"max_iter": "ten"}}, 1, "BadParameters"),
        ({"parameters": {"max_itre": 10}}, 1, "BadParameters"),
        ({"target": "scrap"}, 1, "TargetMissing"),
        ({"task": "regression"}, 1, "InvalidSpec"),
        ({"split": Split(1.5)}, 1, "TargetUnusable"),
        ({"uri": "file:///no/such/table.csv"}, 1, "DataNotFound"),
        ({"uri": "ftp://host/table.csv"}, 1, "DataNotFound"),
        ({"estimator": "sklearn.svm.LinearSVC"}, 1, "ConversionFailed"),
        ({"estimator": "sklearn.naive_bayes.MultinomialNB", "uri": "with gaps"}, 1, "TrainerRaised"),
    ],
)
def test_failures_have_a_documented_reason_and_leave_no_model(
    lab: Lab, tables: Tables, change: dict[str, object], exit_code: int, reason: str
) -> None:
    arguments: dict[str, object] = {"uri": tables.cancer, **change}
    if arguments["uri"] == "with gaps":
        arguments["uri"] = tables.cancer_with_gaps
    outcome = lab.run(lab.trial_task(**arguments))  # type: ignore[arg-type]
    assert (outcome.exit_code, outcome.reason) == (exit_code, reason)
    assert not any("/model/" in path for path in lab.files())


def test_bad_parameter_message_names_parameter_and_estimator(lab: Lab, tables: Tables) -> None:
    message = lab.run(lab.trial_task(tables.cancer, parameters={"max_iter": -1})).result.failure.message
    assert "max_iter" in message
    assert "HistGradientBoostingClassifier" in message


def test_unreachable_store_is_to_be_tried_again_experiment_43(lab: Lab, tables: Tables) -> None:
    blocked = lab.folder / "out"
    blocked.write_text("a file where the store's folder should be")
    outcome = lab.run(lab.trial_task(tables.cancer, parameters={"max_iter": 5}))
    assert (outcome.exit_code, outcome.reason) == (75, "StoreUnreachable")


def test_second_attempt_returns_the_first_result(lab: Lab, tables: Tables) -> None:
    task = lab.trial_task(tables.cancer, parameters={"max_iter": 5})
    first = lab.run(task)
    before = lab.files()
    second = lab.run(task)
    assert second.result == first.result
    assert "fitted" not in second.steps
    assert lab.files() == before


def test_crash_before_the_result_is_repaired_by_a_second_attempt_experiment_24(lab: Lab, tables: Tables) -> None:
    task = lab.trial_task(tables.cancer, parameters={"max_iter": 5})
    first = lab.run(task)
    (lab.candidate() / "result.json").unlink()
    (lab.candidate() / layout.MODEL_DIR / layout.GOLDEN_FILE).unlink()
    second = lab.run(task)
    assert second.exit_code == 0
    assert second.result.candidate_digest == first.result.candidate_digest


def test_candidate_of_another_run_is_never_mixed_with(lab: Lab, tables: Tables) -> None:
    task = lab.trial_task(tables.cancer, parameters={"max_iter": 5})
    lab.run(task)
    (lab.candidate() / "result.json").unlink()
    other = lab.trial_task(tables.cancer, parameters={"max_iter": 6})
    before = lab.files()
    outcome = lab.run(other)
    assert (outcome.exit_code, outcome.reason) == (1, "CandidateMismatch")
    assert lab.files() == before


def test_failed_trial_does_not_tell_cells_experiment_48(lab: Lab, tmp_path: Path) -> None:
    uri = write_csv(tmp_path / "t.csv", ["a", "y"], [[-918273, "Miller"], [5, "Smith"]] * 20)
    outcome = lab.run(lab.trial_task(uri, "sklearn.naive_bayes.CategoricalNB"))
    assert outcome.reason == "TrainerRaised"
    assert "918273" not in outcome.log + outcome.message.decode()
    assert "Miller" not in outcome.log + outcome.message.decode()


def test_trial_never_looks_at_the_key(lab: Lab, tables: Tables) -> None:
    lab.key_dir.mkdir()
    unreadable = lab.key_dir / layout.PRIVATE_KEY_FILE
    unreadable.mkdir()  # reading it would raise
    outcome = lab.run(lab.trial_task(tables.cancer, parameters={"max_iter": 5}))
    assert outcome.exit_code == 0


def test_trial_does_not_even_import_the_code_that_reads_keys() -> None:
    program = "import sys, modelcycle_training.trial; print('modelcycle_training.signing_key' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "False"
