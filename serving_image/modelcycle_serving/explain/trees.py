"""Tree ensembles: exact path-dependent Shapley values (TreeSHAP), vectorised over rows and leaves.

A leaf of value v gives v prod_{k in S} o_k prod_{k not in S} z_k to a coalition S of the features on its path, where o_k is 1 when the row
meets all conditions on feature k, else 0, and z_k is the share of the reference that meets them, of the rows that came so far (Lundberg
et al., "From local explanations to global understanding with explainable AI for trees", 2020, algorithm 1). The Shapley value of
such a product game is, by Owen's multilinear extension (1972),

    phi_j = v (o_j - z_j) * integral over t in [0, 1] of prod_{k != j} ((1 - t) z_k + t o_k) dt.

The integrand is a polynomial of degree D - 1 in t for a path of D features, so Gauss-Legendre quadrature with ceil(D / 2) points is exact.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelcycle_serving.explain.columns import Columns, Float32, Float64
from modelcycle_serving.explain.covers import Share
from modelcycle_serving.explain.ensemble import LEAF, Ensemble, Int64

_BLOCK: Final = 1 << 18
"""Rows x leaves x path elements done at once: bounds the memory of one call to about 20 MB."""


@dataclass(frozen=True, slots=True)
class Paths:
    """L leaves whose paths look at D different columns each."""

    column: Int64
    """[L, D]."""
    above: Float64
    """[L, D]: the row meets the conditions when above < value <= upto, or it is NaN and `missing`."""
    upto: Float64
    missing: NDArray[np.bool_]
    share: Float64
    """[L, D]: of the reference, which meets them."""
    leaf: Int64
    """[L]: node of the ensemble."""

    def met(self, values: Float32) -> NDArray[np.bool_]:
        """[N, L, D] for values [N, K]."""
        taken = values[:, self.column]
        return ((taken > self.above) & (taken <= self.upto)) | (np.isnan(taken) & self.missing)


@dataclass(frozen=True, slots=True)
class Trees:
    """An ensemble, its paths by their length, and how to tell rows from columns."""

    ensemble: Ensemble
    paths: tuple[Paths, ...]
    columns: Columns
    features: int
    method: str

    @property
    def work(self) -> int:
        """Multiplications a row, about."""
        return sum(each.column.size * _points(each.column.shape[1]) for each in self.paths)

    def scores(self, rows: Float32) -> Float64:
        """Raw scores [N, T] of rows [N, F]."""
        values = self.columns.compute(rows)
        total = np.tile(self.ensemble.base, (len(rows), 1))
        for block in self._blocks(len(rows)):
            total += block.met(values).all(axis=2) @ self.ensemble.values[block.leaf]
        return total

    def contributions(self, rows: Float32, weights: Float64) -> tuple[Float64, float]:
        """([N, F], base) of the score `scores(rows) @ weights`."""
        values = self.columns.compute(rows)
        found = np.zeros(len(rows) * self.features)
        base = float(self.ensemble.base @ weights)
        source = np.array(self.columns.source, dtype=np.int64)
        first = (np.arange(len(rows)) * self.features)[:, None, None]
        for block in self._blocks(len(rows)):
            worth = self.ensemble.values[block.leaf] @ weights
            base += float(worth @ block.share.prod(axis=1))
            shapley = _shapley(block.met(values), block.share) * worth[:, None]
            places = np.broadcast_to(first + source[block.column], shapley.shape)
            found += np.bincount(places.ravel(), shapley.ravel(), minlength=len(found))
        return found.reshape(len(rows), self.features), base

    def _blocks(self, rows: int) -> Iterator[Paths]:
        for paths in self.paths:
            size = max(1, _BLOCK // (rows * max(1, paths.column.shape[1])))
            for start in range(0, len(paths.leaf), size):
                cut = slice(start, start + size)
                yield Paths(
                    paths.column[cut],
                    paths.above[cut],
                    paths.upto[cut],
                    paths.missing[cut],
                    paths.share[cut],
                    paths.leaf[cut],
                )


def _points(length: int) -> int:
    return (length + 1) // 2


def _shapley(met: NDArray[np.bool_], share: Float64) -> Float64:
    """[N, L, D] for a leaf worth 1."""
    if not share.shape[1]:
        return np.zeros(met.shape)
    integral = np.zeros(met.shape)
    nodes, weights = np.polynomial.legendre.leggauss(_points(share.shape[1]))
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        factor = (1 - node) * share + node * met  # > 0: shares are, and no node is 1
        integral += weight * factor.prod(axis=2, keepdims=True) / factor
    return (met - share) * integral


def trees(ensemble: Ensemble, columns: Columns, features: int, share: Share, method: str) -> Trees:
    """Follow every path. `share` tells which part of a node's reference rows goes to `low`."""
    by_length: dict[int, list[tuple[dict[int, _Condition], int]]] = {}
    for root in ensemble.roots:
        for conditions, leaf in _walk(ensemble, root, share):
            by_length.setdefault(len(conditions), []).append((conditions, leaf))
    paths = tuple(_packed(by_length[length], length) for length in sorted(by_length))
    return Trees(ensemble, paths, columns, features, method)


@dataclass(frozen=True, slots=True)
class _Condition:
    above: float = -np.inf
    upto: float = np.inf
    missing: bool = True
    share: float = 1.0


_ANY: Final = _Condition()


def _walk(ensemble: Ensemble, root: int, share: Share) -> Iterator[tuple[dict[int, _Condition], int]]:
    waiting: list[tuple[int, dict[int, _Condition]]] = [(root, {})]
    while waiting:
        node, conditions = waiting.pop()
        column = int(ensemble.column[node])
        if column == LEAF:
            yield conditions, node
            continue
        now = conditions.get(column, _ANY)
        limit, missing_low = float(ensemble.threshold[node]), bool(ensemble.missing_low[node])
        part = share(node, column, now.above, now.upto, now.missing)
        low = _Condition(now.above, min(now.upto, limit), now.missing and missing_low, now.share * part)
        high = _Condition(max(now.above, limit), now.upto, now.missing and not missing_low, now.share * (1 - part))
        waiting.append((int(ensemble.high[node]), conditions | {column: high}))
        waiting.append((int(ensemble.low[node]), conditions | {column: low}))


def _packed(items: list[tuple[dict[int, _Condition], int]], length: int) -> Paths:
    shape = (len(items), length)
    met = [each for conditions, _ in items for each in conditions.values()]

    def stacked(values: list[float]) -> Float64:
        return np.array(values, dtype=np.float64).reshape(shape)

    return Paths(
        np.array([list(conditions) for conditions, _ in items], dtype=np.int64).reshape(shape),
        stacked([each.above for each in met]),
        stacked([each.upto for each in met]),
        np.array([each.missing for each in met], dtype=np.bool_).reshape(shape),
        stacked([each.share for each in met]),
        np.array([leaf for _, leaf in items], dtype=np.int64),
    )
