"""Tree ensembles as one table of nodes, whichever ONNX operator they come from.

Owns the meaning of the operators' attributes: TreeEnsembleClassifier and TreeEnsembleRegressor (ai.onnx.ml 1 to 4) and TreeEnsemble (5).
A node that tests for equality or membership is not known here.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelcycle_serving.explain.columns import Float64
from modelcycle_serving.explain.graph import Array, Node, Unreadable

Int64 = NDArray[np.int64]
LEAF: Final = -1
_MODES: Final = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT")
"""In the order of the numbers that TreeEnsemble has for them."""
_CHECKED: Final = 1e-3
"""How far, relative to a node's count, those of its children may be off."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """N nodes of all trees. A value goes to `low` when <= `threshold`, else to `high`; NaN goes to `low` where `missing_low`."""

    column: Int64
    """[N]: the column that is looked at; LEAF for a leaf."""
    threshold: Float64
    low: Int64
    high: Int64
    missing_low: NDArray[np.bool_]
    values: Float64
    """[N, T]: what a leaf adds to each score."""
    base: Float64
    """[T]: what is added in any case."""
    counts: Float64 | None
    """[N]: rows of the reference that came by each node; None when the file does not tell."""
    roots: tuple[int, ...]


def read(node: Node) -> Ensemble:
    """Raises Unreadable."""
    try:
        raw = _unified(node) if node.op == "TreeEnsemble" else _by_kind(node)
    except (IndexError, KeyError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"the attributes of {node.op}") from error
    children = np.concatenate([raw.low[raw.column != LEAF], raw.high[raw.column != LEAF]])
    if not raw.roots or len(np.unique(children)) != len(children) or np.isin(raw.roots, children).any():
        raise Unreadable(f"{node.op} holds something that is no tree")
    return raw


def _by_kind(node: Node) -> Ensemble:
    trees, numbers = node.array("nodes_treeids", np.int64), node.array("nodes_nodeids", np.int64)
    at = {pair: position for position, pair in enumerate(zip(trees.tolist(), numbers.tolist(), strict=True))}
    modes = np.array([mode.decode() for mode in node.attributes["nodes_modes"]])
    leaf = modes == "LEAF"
    true, false = (
        np.array(
            [
                LEAF if end else at[tree, child]
                for tree, child, end in zip(trees.tolist(), ids.tolist(), leaf, strict=True)
            ],
            dtype=np.int64,
        )
        for ids in (node.array("nodes_truenodeids", np.int64), node.array("nodes_falsenodeids", np.int64))
    )
    kind = "class" if node.op == "TreeEnsembleClassifier" else "target"
    targets = node.array(f"{kind}_ids", np.int64)
    owner = zip(
        node.array(f"{kind}_treeids", np.int64).tolist(), node.array(f"{kind}_nodeids", np.int64).tolist(), strict=True
    )
    leaves = np.array([at[pair] for pair in owner], dtype=np.int64)
    size = int(node.attributes.get("n_targets", int(targets.max()) + 1))
    values = np.zeros((len(modes), size))
    np.add.at(values, (leaves, targets), node.array(f"{kind}_weights"))
    column = np.where(leaf, LEAF, node.array("nodes_featureids", np.int64))
    roots = np.setdiff1d(np.arange(len(modes)), np.concatenate([true[~leaf], false[~leaf]]))
    values /= _divisor(node.text("aggregate_function", "SUM"), len(roots))
    missing = node.array("nodes_missing_value_tracks_true", np.bool_)
    hits = node.array("nodes_hitrates")
    return _canonical(
        column,
        node.array("nodes_values"),
        modes,
        (true, false),
        missing,
        values,
        node.array("base_values"),
        hits,
        roots,
    )


def _unified(node: Node) -> Ensemble:
    inner = node.array("nodes_splits")
    modes = np.array((*_MODES, "", "", ""))[node.array("nodes_modes", np.int64)]
    targets, weights = node.array("leaf_targetids", np.int64), node.array("leaf_weights")
    size, leaves = len(inner), len(weights)
    ends = {name: node.array(f"nodes_{name}leafs", np.bool_) for name in ("true", "false")}
    true, false = (
        np.where(
            ends[name],
            node.array(f"nodes_{name}nodeids", np.int64) + size,
            node.array(f"nodes_{name}nodeids", np.int64),
        )
        for name in ("true", "false")
    )
    values = np.zeros((size + leaves, int(node.attributes["n_targets"])))
    values[np.arange(size, size + leaves), targets] = weights
    roots = node.array("tree_roots", np.int64)
    aggregate = ("AVERAGE", "SUM", "MIN", "MAX")[int(node.attributes.get("aggregate_function", 1))]
    values /= _divisor(aggregate, len(roots))
    padding = np.zeros(leaves)
    column = np.concatenate([node.array("nodes_featureids", np.int64), np.full(leaves, LEAF)])
    links = tuple(np.concatenate([each, np.full(leaves, LEAF)]) for each in (true, false))
    missing = node.array("nodes_missing_value_tracks_true", np.bool_)
    missing = np.concatenate([missing, padding.astype(np.bool_)]) if missing.size else missing
    names = np.concatenate([modes, np.full(leaves, "LEAF")])
    return _canonical(
        column, np.concatenate([inner, padding]), names, links, missing, values, np.zeros(0), np.zeros(0), roots
    )


def _divisor(aggregate: str, trees: int) -> float:
    if aggregate not in ("SUM", "AVERAGE"):
        raise Unreadable(f"trees whose answers are combined by {aggregate}")
    return trees if aggregate == "AVERAGE" else 1.0


def _canonical(
    column: Int64,
    threshold: Float64,
    modes: Array,
    links: tuple[Int64, ...],
    missing: NDArray[np.bool_],
    values: Float64,
    base: Float64,
    hits: Float64,
    roots: Int64,
) -> Ensemble:
    inner = column != LEAF
    if not np.isin(modes[inner], _MODES).all():
        raise Unreadable("trees that test for equality or membership")
    true, false = links
    # "less than" means "at most the number before"; the two "greater" are the same with the sides exchanged.
    strict = np.isin(modes, ("BRANCH_LT", "BRANCH_GTE"))
    swapped = np.isin(modes, ("BRANCH_GT", "BRANCH_GTE"))
    to_true = missing if missing.size else np.zeros(len(column), np.bool_)
    ensemble = Ensemble(
        column,
        np.where(strict, np.nextafter(threshold, -np.inf), threshold),
        np.where(swapped, false, true),
        np.where(swapped, true, false),
        to_true != swapped,
        values,
        base if base.size else np.zeros(values.shape[1]),
        None,
        tuple(int(root) for root in roots),
    )
    if len(ensemble.base) != values.shape[1]:
        raise Unreadable("base values of another number than the scores")
    return ensemble if not hits.size else _counted(ensemble, hits)


def _counted(ensemble: Ensemble, hits: Float64) -> Ensemble:
    """With the file's hit rates, when they add up as counts of rows do: most writers put a 1 everywhere."""
    inner = ensemble.column != LEAF
    parts = hits[ensemble.low[inner]] + hits[ensemble.high[inner]]
    if (hits < 0).any() or (np.abs(parts - hits[inner]) > _CHECKED * np.maximum(hits[inner], 1.0)).any():
        return ensemble
    if not (hits[list(ensemble.roots)] > 0).all():
        return ensemble
    return Ensemble(
        ensemble.column,
        ensemble.threshold,
        ensemble.low,
        ensemble.high,
        ensemble.missing_low,
        ensemble.values,
        ensemble.base,
        hits,
        ensemble.roots,
    )
