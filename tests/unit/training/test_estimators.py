"""The allow-list against scikit-learn's own list, and how parameters are refused."""

import sys

import pytest
from sklearn.utils import all_estimators

from modelcycle_bundle.contract import FailureReason, JsonValue, PipelineStep, Trainer
from modelcycle_training.estimators import build, learning_task, resolve
from modelcycle_training.failures import TaskFailed

FOREST = "sklearn.ensemble.RandomForestClassifier"


def one(path: str, **fixed: JsonValue) -> Trainer:
    return Trainer((PipelineStep("model", path, fixed),))


def refusal(trainer: Trainer, parameters: dict[str, JsonValue] | None = None) -> TaskFailed:
    with pytest.raises(TaskFailed) as caught:
        build(trainer, parameters or {}, 0)
    return caught.value


def public_path(found: type) -> str:
    parts = found.__module__.split(".")
    public = next((parts[:at] for at, part in enumerate(parts) if part.startswith("_")), parts)
    return ".".join([*public, found.__name__])


def test_every_listed_estimator_resolves_by_public_and_by_full_path() -> None:
    for name, found in all_estimators():
        assert resolve(public_path(found)) is found
        assert resolve(f"{found.__module__}.{name}") is found


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.Popen",
        "sklearn.base.BaseEstimator",
        "sklearn.externals.joblib.Memory",
        "sklearn.utils.Bunch",
        "sklearn.utils.estimator_checks.check_estimator",
        "sklearn.tests.test_base.MyEstimator",
        "sklearn.ensemble.numpy.ndarray",
        "sklearn.linear_model._base.LinearModel",
        "sklearn.ensemble._forest.BaseForest",
        "sklearn.ensemble.NoSuchThing",
        "sklearn.svm._base.SVC",
        "sklearn",
        "sklearn..SVC",
        "",
        "RandomForestClassifier",
        "sklearn.ensemble.RandomForestClassifier.fit",
    ],
)
def test_everything_else_is_refused(path: str) -> None:
    error = refusal(one(path))
    assert error.failure.reason is FailureReason.ESTIMATOR_NOT_ALLOWED


def test_a_refused_module_is_never_imported() -> None:
    assert "turtledemo.chaos" not in sys.modules
    refusal(one("turtledemo.chaos.main"))
    assert "turtledemo.chaos" not in sys.modules


def test_the_operators_own_list_is_honoured() -> None:
    trainer = Trainer((PipelineStep("m", "sklearn.ensemble._forest.ForestClassifier"),), ("fractions.Fraction",))
    assert refusal(trainer).failure.reason is FailureReason.ESTIMATOR_NOT_ALLOWED
    assert resolve("fractions.Fraction", ("fractions.Fraction",)).__name__ == "Fraction"


def test_unknown_parameter_names_itself_and_the_estimator() -> None:
    error = refusal(one(FOREST), {"n_estimator": 3})
    assert error.failure.reason is FailureReason.BAD_PARAMETERS
    assert "'n_estimator'" in error.failure.message
    assert "RandomForestClassifier" in error.failure.message
    assert "n_estimators" in error.failure.message


def test_missing_required_parameter_is_named() -> None:
    assert "'estimator'" in refusal(one("sklearn.multiclass.OneVsRestClassifier")).failure.message


def test_assignment_wins_over_fixed_and_the_seed_fills_every_random_state() -> None:
    estimator = build(one(FOREST, n_estimators=3, max_depth=2), {"n_estimators": 7}, 2**32 + 5)
    assert (estimator.n_estimators, estimator.max_depth, estimator.random_state) == (7, 2, 5)
    assert build(one(FOREST, random_state=9), {}, 5).random_state == 9


def test_pipeline_addresses_steps_and_seeds_them() -> None:
    steps = (
        PipelineStep("impute", "sklearn.impute.SimpleImputer", {"strategy": "median"}),
        PipelineStep("scale", "sklearn.preprocessing.StandardScaler"),
        PipelineStep("model", "sklearn.linear_model.LogisticRegression", {"C": 2.0}),
    )
    pipeline = build(Trainer(steps), {"model__C": 0.5}, 3)
    assert [name for name, _ in pipeline.steps] == ["impute", "scale", "model"]
    assert (pipeline.named_steps["model"].C, pipeline.named_steps["model"].random_state) == (0.5, 3)
    for name in ("C", "forest__C", "model__D"):
        assert refusal(Trainer(steps), {name: 1}).failure.reason is FailureReason.BAD_PARAMETERS
    assert "same name" in refusal(Trainer((steps[0], steps[0]))).failure.message


@pytest.mark.parametrize("path", ["sklearn.preprocessing.StandardScaler", "sklearn.cluster.KMeans"])
def test_a_trainer_must_end_in_a_predictor(path: str) -> None:
    with pytest.raises(TaskFailed, match="neither a classifier nor a regressor"):
        learning_task(build(one(path), {}, 0), None)


def test_wrapper_of_nothing_is_bad_parameters() -> None:
    with pytest.raises(TaskFailed, match="SelfTrainingClassifier") as caught:
        learning_task(build(one("sklearn.semi_supervised.SelfTrainingClassifier"), {}, 0), None)
    assert caught.value.failure.reason is FailureReason.BAD_PARAMETERS


def test_declared_task_must_be_the_estimators() -> None:
    estimator = build(one(FOREST), {}, 0)
    assert learning_task(estimator, None) == learning_task(estimator, "classification") == "classification"
    with pytest.raises(TaskFailed, match=r"spec\.data\.task: regression, but RandomForestClassifier in spec\.trainer"):
        learning_task(estimator, "regression")
