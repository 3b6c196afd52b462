"""Runs in the environment of shap: reads pickled estimators and rows, writes shap's contributions.

Arguments: folders with way.txt (linear, trees, counted or exact), estimator.pkl, rows.npy, table.npy and, for `exact`, background.npy.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import shap  # type: ignore[import-not-found]


def linear(estimator: Any, table: Any) -> Any:
    return shap.LinearExplainer(estimator[-1], shap.maskers.Independent(estimator[:-1].transform(table), len(table)))


def trees(estimator: Any, table: Any) -> Any:
    return shap.TreeExplainer(estimator, feature_perturbation="tree_path_dependent")


def counted(estimator: Any, table: Any) -> Any:
    """With the whole table as every tree's reference, instead of the sample it was drawn for training."""
    explainer = trees(estimator, table)
    for at, tree in enumerate(estimator.estimators_):
        counts = np.asarray(tree.decision_path(table.astype(np.float32)).sum(axis=0)).ravel()
        explainer.model.node_sample_weight[at, : len(counts)] = counts
    return explainer


def exact(folder: Path, estimator: Any, rows: Any) -> tuple[Any, Any]:
    background = np.load(folder / "background.npy").astype(np.float64)
    answer = getattr(estimator, "predict_proba", estimator.predict)
    found = shap.explainers.Exact(answer, shap.maskers.Independent(background, len(background)))(rows, silent=True)
    return found.values, found.base_values


def explain(folder: Path) -> tuple[Any, Any]:
    way = (folder / "way.txt").read_text()
    estimator: Any = pickle.loads((folder / "estimator.pkl").read_bytes())
    rows, table = (np.load(folder / f"{name}.npy").astype(np.float64) for name in ("rows", "table"))
    if way == "exact":
        return exact(folder, estimator, rows)
    explainer = {"linear": linear, "trees": trees, "counted": counted}[way](estimator, table)
    if way == "linear":
        return explainer.shap_values(estimator[:-1].transform(rows)), explainer.expected_value
    return explainer.shap_values(rows, check_additivity=False), explainer.expected_value


for argument in sys.argv[1:]:
    values, base = explain(Path(argument))
    np.savez(Path(argument) / "shap.npz", values=np.asarray(values), base=np.asarray(base))
