"""The three models every server gets, made by the training image's own program, and what scikit-learn answers for the rows that are asked.

Owns data, estimators and rows. A set of models is kept below ~/.cache/modelcycle and made again when this file, the training image's or the
bundle's sources change. Inputs are as a client has them: float64, so that JSON shows the digits it would show.
"""

import csv
import hashlib
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn import datasets

from benchmarks.serving.environments import ROOT
from environments import CACHE
from modelcycle_bundle import layout
from modelcycle_bundle.contract import DataRef, JsonValue, PipelineStep, Split, Trainer, TrialTask
from modelcycle_training import estimators, fitting, split, trial
from modelcycle_training.context import Context
from modelcycle_training.labels import LearningTask, parse_labels
from modelcycle_training.reporting import JsonLines
from modelcycle_training.table import read_table

ASKED_ROWS: Final = 512
"""Rows of the hold-out that requests are made of."""
_TARGET: Final = "y"
_SPLIT: Final = Split(holdout_fraction=0.3)
_UID: Final = "bench"
_ANSWERS: Final = "answers.npz"

Float64 = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Data and estimator of one model."""

    data: Callable[[], tuple[Float64, Labels]]
    steps: tuple[tuple[str, str], ...]
    parameters: Mapping[str, JsonValue]


def _cancer() -> tuple[Float64, Labels]:
    loaded: tuple[Float64, Labels] = datasets.load_breast_cancer(return_X_y=True)
    return loaded


def _digits() -> tuple[Float64, Labels]:
    loaded: tuple[Float64, Labels] = datasets.load_digits(return_X_y=True)
    return loaded


def _wide() -> tuple[Float64, Labels]:
    made: tuple[Float64, Labels] = datasets.make_classification(8000, n_features=200, n_informative=30, random_state=0)
    return made


RECIPES: Final = {
    "bc": Recipe(
        _cancer,
        (
            ("scale", "sklearn.preprocessing.StandardScaler"),
            ("model", "sklearn.linear_model.LogisticRegression"),
        ),
        {},
    ),
    "digits": Recipe(_digits, (("model", "sklearn.ensemble.RandomForestClassifier"),), {"n_estimators": 200}),
    "wide": Recipe(_wide, (("model", "sklearn.ensemble.HistGradientBoostingClassifier"),), {"max_iter": 200}),
}
"""30 features and 2 classes; 64 features and 10 classes; 200 features and 2 classes."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model and rows to ask it for."""

    name: str
    bundle: Path
    """Holds `model/`, as the server reads it."""
    rows: Float64
    """[ASKED_ROWS or fewer, features]."""
    labels: Labels
    """[rows]; scikit-learn's answers."""
    probabilities: Float64
    """[rows, classes]; scikit-learn's answers."""

    @property
    def onnx(self) -> Path:
        """What a peer gets."""
        return self.bundle / layout.MODEL_DIR / layout.MODEL_FILE


def made() -> list[Model]:
    """All of RECIPES, from the cache where it has them."""
    folder = CACHE / "bench-models"
    stamp = folder / f".sources-{_sources()}"
    if not stamp.exists():
        shutil.rmtree(folder, ignore_errors=True)
        for name, recipe in RECIPES.items():
            sys.stderr.write(f"==> model {name}\n")
            (folder / name).mkdir(parents=True)
            np.savez(folder / name / _ANSWERS, **_train(folder / name, recipe))
        stamp.touch()
    return [_kept(name, folder / name) for name in RECIPES]


def _kept(name: str, folder: Path) -> Model:
    kept = np.load(folder / _ANSWERS)
    bundle = folder / "out" / layout.candidate_prefix(_UID, 0)
    return Model(name, bundle, kept["rows"], kept["labels"], kept["probabilities"])


def _train(folder: Path, recipe: Recipe) -> dict[str, Any]:
    rows, classes = recipe.data()
    table = folder / "table.csv"
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*(f"f{at}" for at in range(rows.shape[1])), _TARGET])
        writer.writerows([*row, label] for row, label in zip(rows.tolist(), classes.tolist(), strict=True))
    task = TrialTask(
        experiment="bench",
        experiment_uid=_UID,
        index=0,
        seed=0,
        data=DataRef(uri=f"file://{table}", digest=None, target=_TARGET, task=None, split=_SPLIT),
        trainer=Trainer(tuple(PipelineStep(*step) for step in recipe.steps)),
        parameters=recipe.parameters,
        objective_metric=None,
        output_uri=f"file://{folder}/out",
    )
    result = trial.trial(task, Context({}, folder, JsonLines("trial", sys.stderr)))
    if result.failure is not None:
        raise RuntimeError(f"{result.failure.reason}: {result.failure.message}")
    return _scikit_learn(task, table, rows)


def _scikit_learn(task: TrialTask, table: Path, exact: Float64) -> dict[str, Any]:
    """The same fit once more, which the program does not hand out: rows that it never saw, and its answers to their float32 values."""
    read = read_table(table.read_bytes(), _TARGET)
    labels = parse_labels(read.target, LearningTask.CLASSIFICATION, _TARGET)
    parts = split.split(split.Rows(read.values, labels), task.data.split, LearningTask.CLASSIFICATION)
    estimator = estimators.build(task.trainer, task.parameters, task.seed)
    fitting.fit(estimator, parts.train)
    known = {row.tobytes(): at for at, row in enumerate(read.values)}
    asked = exact[[known[row.tobytes()] for row in parts.holdout.inputs[:ASKED_ROWS]]]
    seen = asked.astype(np.float32).astype(np.float64)
    return {"rows": asked, "labels": estimator.predict(seen), "probabilities": estimator.predict_proba(seen)}


def _sources() -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for folder in ("training_image/modelcycle_training", "bundle/modelcycle_bundle"):
        for path in sorted((ROOT / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
