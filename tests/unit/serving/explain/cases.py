"""Fitted scikit-learn models of each kind, and their bundles as the trainer writes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from modelcycle_bundle import golden, layout, oms, profile
from modelcycle_bundle.outputs import ClassOutputs, Outputs
from modelcycle_serving.explain import explainer
from modelcycle_training import hit_rates
from modelcycle_training.conversion import export
from modelcycle_training.inference import OnnxModel
from modelcycle_training.labels import LearningTask

TABLES: Mapping[str, Callable[..., Any]] = {
    "cancer": datasets.load_breast_cancer,
    "iris": datasets.load_iris,
    "diabetes": datasets.load_diabetes,
}
FOREST = {"n_estimators": 20, "max_depth": 6, "random_state": 0}
BOOST = {"max_iter": 25, "random_state": 0}
MLP = {"hidden_layer_sizes": (8,), "max_iter": 300, "random_state": 0}


@dataclass(frozen=True)
class Case:
    """A kind of model, the data it is fitted on, and how it ought to be explained."""

    data: str
    make: Callable[[], Any]
    method: str
    space: str
    gaps: bool = False


CASES: Mapping[str, Case] = {
    "logistic": Case("cancer", lambda: make_pipeline(StandardScaler(), LogisticRegression()), "linear", "log-odds"),
    "logistic-gaps": Case(
        "cancer",
        lambda: make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
        "linear",
        "log-odds",
        gaps=True,
    ),
    "multinomial": Case(
        "iris", lambda: make_pipeline(MinMaxScaler(), LogisticRegression()), "linear", "score before softmax"
    ),
    "components": Case(
        "cancer", lambda: make_pipeline(StandardScaler(), PCA(4), LogisticRegression()), "linear", "log-odds"
    ),
    "least-squares": Case(
        "diabetes", lambda: make_pipeline(StandardScaler(), LinearRegression()), "linear", "prediction"
    ),
    "tree": Case("cancer", lambda: DecisionTreeClassifier(max_depth=4, random_state=0), "trees", "probability"),
    "forest": Case("cancer", lambda: RandomForestClassifier(bootstrap=False, **FOREST), "trees", "probability"),
    "forest-bootstrap": Case("cancer", lambda: RandomForestClassifier(**FOREST), "trees", "probability"),
    "forest-3": Case("iris", lambda: RandomForestClassifier(bootstrap=False, **FOREST), "trees", "probability"),
    "forest-values": Case("diabetes", lambda: RandomForestRegressor(bootstrap=False, **FOREST), "trees", "prediction"),
    "boosting": Case(
        "cancer", lambda: GradientBoostingClassifier(n_estimators=25, random_state=0), "trees", "log-odds"
    ),
    "boosting-values": Case(
        "diabetes", lambda: GradientBoostingRegressor(n_estimators=25, random_state=0), "trees", "prediction"
    ),
    "histogram": Case("cancer", lambda: HistGradientBoostingClassifier(**BOOST), "trees", "log-odds"),
    "histogram-gaps": Case("cancer", lambda: HistGradientBoostingClassifier(**BOOST), "trees", "log-odds", gaps=True),
    "histogram-3": Case("iris", lambda: HistGradientBoostingClassifier(**BOOST), "trees", "score before softmax"),
    "histogram-values": Case("diabetes", lambda: HistGradientBoostingRegressor(**BOOST), "trees", "prediction"),
    "network": Case("iris", lambda: make_pipeline(StandardScaler(), MLPClassifier(**MLP)), "sampling", "probability"),
    "network-values": Case(
        "diabetes", lambda: make_pipeline(StandardScaler(), MLPRegressor(**MLP)), "sampling", "prediction"
    ),
}


@dataclass(frozen=True)
class Fitted:
    """A model, the rows it was fitted on and its ONNX form."""

    estimator: Any
    table: np.ndarray[Any, np.dtype[np.float32]]
    onnx: bytes
    model: OnnxModel

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(str(each) for each in getattr(self.estimator, "classes_", ()))

    def answers(self, rows: np.ndarray[Any, Any]) -> Outputs:
        return self.model.answer(rows)


@cache
def fitted(name: str) -> Fitted:
    case = CASES[name]
    inputs, target = TABLES[case.data](return_X_y=True)
    table = inputs.astype(np.float32)
    if case.gaps:
        table[::7, 3] = table[::5, 0] = np.nan
    estimator = case.make().fit(table.astype(np.float64), target)
    task = LearningTask.CLASSIFICATION if hasattr(estimator, "predict_proba") else LearningTask.REGRESSION
    onnx = hit_rates.counted(export(estimator, task, table.shape[1]).model, table)
    return Fitted(estimator, table, onnx, OnnxModel(onnx))


def write_bundle(folder: Path, name: str) -> str:
    """Write `folder`/model; returns the digest."""
    model, case = fitted(name), CASES[name]
    names = [f"f{at}" for at in range(model.table.shape[1])]
    answers = model.answers(model.table)
    replay = model.table[::40]
    files = {
        layout.MODEL_FILE: model.onnx,
        layout.PROFILE_FILE: profile.build(names, model.table, answers, model.classes).to_json().encode(),
        layout.GOLDEN_FILE: golden.make(replay, model.answers(replay)).to_json().encode(),
        layout.CARD_JSON_FILE: b'{"model":{"acceptsMissing":%s}}' % (b"true" if case.gaps else b"false"),
    }
    (folder / layout.MODEL_DIR).mkdir(parents=True)
    for file, data in files.items():
        (folder / layout.MODEL_DIR / file).write_bytes(data)
    return oms.digest_directory(folder / layout.MODEL_DIR).root


def explainer_of(folder: Path, name: str) -> explainer.Explainer:
    digest = write_bundle(folder, name)
    return explainer.load(folder, digest)


def explained(loaded: explainer.Explainer, rows: np.ndarray[Any, Any]) -> explainer.Explanation:
    """All slices as one."""
    parts = list(loaded.explain(rows))
    return explainer.Explanation(
        np.concatenate([each.explained for each in parts]),
        np.concatenate([each.score for each in parts]),
        np.concatenate([each.base for each in parts]),
        np.concatenate([each.contributions for each in parts]),
    )


def probabilities(answers: Outputs) -> np.ndarray[Any, Any]:
    assert isinstance(answers, ClassOutputs)
    return answers.probabilities.astype(np.float64)
