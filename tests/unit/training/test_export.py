"""The exported model answers as the estimator does, and the gate that makes sure of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from modelcycle_bundle.contract import FailureReason, JsonValue
from modelcycle_training.conversion import IR_VERSION, Exported, export, load
from modelcycle_training.failures import TaskFailed
from modelcycle_training.inference import OnnxModel
from modelcycle_training.labels import LearningTask
from modelcycle_training.parity import Missing, check, made_up_rows, takes_missing

RNG = np.random.default_rng(5)
INPUTS = (RNG.normal(size=(200, 4)) * [1, 10, 1e3, 1e5]).astype(np.float32)


def fitted(estimator: Any, labels: Any) -> Any:
    return estimator.fit(INPUTS.astype(np.float64), labels)


def forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return fitted(RandomForestClassifier(5, random_state=0), np.where(INPUTS[:, 0] > 0, "ok", "scrap"))


def ridge() -> Any:
    from sklearn.linear_model import Ridge

    return fitted(Ridge(), INPUTS[:, 0].astype(np.float64))


def test_classifier_has_the_contracts_inputs_and_outputs() -> None:
    import onnx

    exported = export(forest(), LearningTask.CLASSIFICATION, 4)
    proto = onnx.load_from_string(exported.model)
    onnx.checker.check_model(proto)
    assert [(each.name, each.type.tensor_type.elem_type) for each in proto.graph.input] == [
        ("input", onnx.TensorProto.FLOAT)
    ]
    assert [each.name for each in proto.graph.output] == ["label", "probabilities"]
    assert [each.type.tensor_type.elem_type for each in proto.graph.output] == [
        onnx.TensorProto.STRING,
        onnx.TensorProto.FLOAT,
    ]
    assert proto.ir_version == exported.ir_version == IR_VERSION
    assert [(each.domain, each.version) for each in proto.opset_import] == list(exported.opsets)
    assert len(dict(exported.opsets)) == len(exported.opsets)


def test_regressor_has_one_prediction_a_row() -> None:
    import onnx

    proto = onnx.load_from_string(export(ridge(), LearningTask.REGRESSION, 4).model)
    assert [each.name for each in proto.graph.output] == ["prediction"]
    answers: Any = load(export(ridge(), LearningTask.REGRESSION, 4)).answer(INPUTS)
    assert answers.predictions.shape == (200,)
    assert [each.dim_value for each in proto.graph.output[0].type.tensor_type.shape.dim][1] == 1


def test_classifier_without_probabilities_is_refused_with_advice() -> None:
    from sklearn.svm import LinearSVC

    with pytest.raises(TaskFailed, match="predict_proba") as caught:
        export(fitted(LinearSVC(), INPUTS[:, 0] > 0), LearningTask.CLASSIFICATION, 4)
    assert caught.value.failure.reason is FailureReason.CONVERSION_FAILED


def test_estimator_without_converter_is_refused() -> None:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression().fit(INPUTS[:, 0].astype(np.float64), INPUTS[:, 0])
    with pytest.raises(TaskFailed) as caught:
        export(model, LearningTask.REGRESSION, 1)
    assert caught.value.failure.reason is FailureReason.CONVERSION_FAILED
    assert "IsotonicRegression" in caught.value.failure.message


def test_model_that_onnxruntime_refuses_is_a_conversion_failure() -> None:
    with pytest.raises(TaskFailed) as caught:
        load(Exported(b"not onnx", (), IR_VERSION))
    assert caught.value.failure.reason is FailureReason.CONVERSION_FAILED


def test_parity_gate_refuses_a_flipped_label_experiment_51() -> None:
    """The estimator of one fit against the ONNX of another: what a wrong converter looks like."""
    from sklearn.ensemble import RandomForestClassifier

    other = fitted(RandomForestClassifier(5, random_state=0), np.where(INPUTS[:, 0] > 0, "scrap", "ok"))
    wrong = load(export(other, LearningTask.CLASSIFICATION, 4))
    with pytest.raises(TaskFailed, match="labels differ") as caught:
        check(forest(), wrong, INPUTS, INPUTS[:50])
    assert caught.value.failure.reason is FailureReason.CONVERSION_PARITY_FAILED


def test_parity_gate_refuses_a_regression_that_is_slightly_off() -> None:
    model = ridge()
    onnx_model = load(export(model, LearningTask.REGRESSION, 4))
    assert check(model, onnx_model, INPUTS, INPUTS[:50]).max_difference <= 1e-4
    model.intercept_ += 0.01 * INPUTS[:, 0].std()
    with pytest.raises(TaskFailed, match=r"tolerance 0\.0001"):
        check(model, onnx_model, INPUTS, INPUTS[:50])


def test_missing_values_are_tried_where_the_estimator_takes_them_experiment_52() -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression

    trees = fitted(HistGradientBoostingRegressor(max_iter=5), INPUTS[:, 0])
    linear = fitted(LinearRegression(), INPUTS[:, 0])
    assert takes_missing(trees, INPUTS)
    assert not takes_missing(linear, INPUTS)
    gate = check(trees, load(export(trees, LearningTask.REGRESSION, 4)), INPUTS, INPUTS[:50])
    assert gate.missing is Missing.ANSWERED
    plain = check(linear, load(export(linear, LearningTask.REGRESSION, 4)), INPUTS, INPUTS[:50])
    assert plain.missing is Missing.REFUSED


def test_forest_whose_onnx_answers_gaps_differently_says_so_or_fails_experiment_52() -> None:
    from sklearn.ensemble import RandomForestRegressor

    labels = INPUTS[:, 0] + INPUTS[:, 1]
    model = fitted(RandomForestRegressor(5, random_state=0), labels)
    exported = load(export(model, LearningTask.REGRESSION, 4))
    assert check(model, exported, INPUTS, INPUTS[:50]).missing is Missing.REFUSED
    holey = INPUTS.copy()
    holey[::3, 0] = np.nan
    with pytest.raises(TaskFailed, match="differs"):
        check(model, exported, holey, holey[:50])


def test_made_up_rows_reach_beyond_the_data_and_have_no_gaps() -> None:
    holey = INPUTS.copy()
    holey[:, 2] = np.nan
    rows = made_up_rows(holey, holey)
    assert np.isfinite(rows).all()
    assert rows[:, 0].max() > 5 * INPUTS[:, 0].max()
    assert rows[:, 0].min() < 5 * INPUTS[:, 0].min()


CASES: list[tuple[str, str, Mapping[str, JsonValue]]] = [
    ("sklearn.ensemble.HistGradientBoostingClassifier", "classifier", {"max_iter": 10}),
    ("sklearn.ensemble.HistGradientBoostingRegressor", "regressor", {"max_iter": 10}),
    ("sklearn.ensemble.RandomForestRegressor", "regressor", {"n_estimators": 10}),
    ("sklearn.ensemble.GradientBoostingClassifier", "classifier", {"n_estimators": 10}),
    ("sklearn.tree.DecisionTreeClassifier", "classifier", {}),
    ("sklearn.tree.DecisionTreeRegressor", "regressor", {}),
]


@pytest.mark.parametrize(("path", "kind", "parameters"), CASES)
def test_tree_thresholds_hold_between_neighbouring_float32_values_experiment_49(
    path: str, kind: str, parameters: Mapping[str, JsonValue]
) -> None:
    """Values one float32 step apart, as seconds since 1970 are: a threshold rounded the wrong way flips answers."""
    from modelcycle_bundle.contract import PipelineStep, Trainer
    from modelcycle_training.estimators import build

    steps = np.arange(200) % 40
    stamps = np.float32(1.7e9) + np.float32(128) * steps.astype(np.float32)
    inputs = np.stack([stamps, stamps[::-1]], axis=1).astype(np.float32)
    labels = (steps % 2) if kind == "classifier" else (steps * 1.5)
    estimator = build(Trainer((PipelineStep("m", path),)), parameters, 0).fit(inputs.astype(np.float64), labels)
    task = LearningTask.CLASSIFICATION if kind == "classifier" else LearningTask.REGRESSION
    gate = check(estimator, OnnxModel(export(estimator, task, 2).model), inputs, inputs)
    assert gate.max_difference <= 1e-5
