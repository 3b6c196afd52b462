"""What every explainer gives, and linear models, which are additive by themselves.

Owns the shapes of contributions. Knows neither classes nor links: a score here is one column of the scoring operator's output.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from modelcycle_serving.explain.columns import Columns, Dense, Float32, Float64, Value
from modelcycle_serving.explain.graph import Node, Unreadable


class Additive(Protocol):
    """A model whose raw scores can be divided among the features exactly."""

    @property
    def method(self) -> str:
        """How the contributions are found."""
        ...

    def scores(self, rows: Float32) -> Float64:
        """Raw scores [N, T] of rows [N, F]."""
        ...

    def contributions(self, rows: Float32, weights: Float64) -> tuple[Float64, float]:
        """([N, F], base): contributions to the score `scores(rows) @ weights`, which is their sum plus the base."""
        ...


@dataclass(frozen=True, slots=True)
class Linear:
    """Contribution = coefficient x (value - its mean in the reference); the base is the score of the mean row."""

    dense: Dense
    reference: Float32
    """[1, K]: the columns of the row of means."""
    features: int
    method: str = "linear"

    def scores(self, rows: Float32) -> Float64:
        """Raw scores [N, T] of rows [N, F]."""
        values = self.dense.columns.compute(rows).astype(np.float64)
        return values @ self.dense.matrix + self.dense.bias

    def contributions(self, rows: Float32, weights: Float64) -> tuple[Float64, float]:
        """([N, F], base) of the score `scores(rows) @ weights`."""
        coefficients = self.dense.matrix @ weights
        moved = self.dense.columns.compute(rows).astype(np.float64) - self.reference
        by_feature = np.zeros((self.features, len(rows)))
        np.add.at(by_feature, np.array(self.dense.columns.source), (moved * coefficients).T)
        base = self.reference.astype(np.float64) @ coefficients + self.dense.bias @ weights
        return by_feature.T, float(base[0])


def linear(value: Value, node: Node | None, means: Float32) -> Linear:
    """The linear model that ends in `node`. `means` is [1, F]; NaN where the reference has no value. Raises Unreadable."""
    dense = value if isinstance(value, Dense) else _identity(value)
    if node is not None:
        dense = _scored(node, dense)
    columns = dense.columns.compute(means)
    return Linear(dense, np.where(np.isfinite(columns), columns, np.float32(0)), means.shape[1])


def _identity(columns: Columns) -> Dense:
    size = len(columns.source)
    return Dense(columns, np.eye(size), np.zeros(size))


def _scored(node: Node, dense: Dense) -> Dense:
    targets = int(node.attributes.get("targets", 1)) if node.op == "LinearRegressor" else -1
    try:
        coefficients = node.array("coefficients").reshape(targets, len(dense.bias))
    except ValueError as error:
        raise Unreadable(f"the coefficients of {node.op}") from error
    intercepts = node.array("intercepts")
    if node.op not in ("LinearClassifier", "LinearRegressor") or intercepts.size not in (0, len(coefficients)):
        raise Unreadable(f"the operator {node.op}")
    bias = dense.bias @ coefficients.T + (intercepts if intercepts.size else 0.0)
    return Dense(dense.columns, dense.matrix @ coefficients.T, bias)
