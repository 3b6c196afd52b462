"""Contributions of tree ensembles against the definition: every coalition of features, one by one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import onnx
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from budget import examples
from modelcycle_serving.explain import columns, covers, ensemble, graph, trees
from modelcycle_training import hit_rates

FEATURES = 4
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT")
UNIFIED_MODES = {"BRANCH_LEQ": 0, "BRANCH_LT": 1, "BRANCH_GTE": 2, "BRANCH_GT": 3}
GRID = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Values and thresholds are the same few, so that ties happen."""


@dataclass
class Branch:
    feature: int
    mode: str
    threshold: float
    missing_true: bool
    true: "Branch | float"
    false: "Branch | float"


branches: st.SearchStrategy[Any] = st.recursive(
    st.integers(-8, 8).map(lambda value: value / 4),
    lambda inner: st.builds(
        Branch,
        st.integers(0, FEATURES - 1),
        st.sampled_from(MODES),
        st.sampled_from(GRID),
        st.booleans(),
        inner,
        inner,
    ),
    max_leaves=8,
)
forests = st.lists(branches, min_size=1, max_size=3)
cells = st.sampled_from((*GRID, math.nan))
tables = st.lists(st.lists(cells, min_size=FEATURES, max_size=FEATURES), min_size=1, max_size=12)


def goes_true(branch: Branch, value: float) -> bool:
    if math.isnan(value):
        return branch.missing_true
    threshold = branch.threshold
    return {
        "BRANCH_LEQ": value <= threshold,
        "BRANCH_LT": value < threshold,
        "BRANCH_GTE": value >= threshold,
        "BRANCH_GT": value > threshold,
    }[branch.mode]


def worth(node: Branch | float, row: Sequence[float], known: frozenset[int], reference: list[Sequence[float]]) -> float:
    """What is expected of a tree when some features are known: unknown ones go where the reference went."""
    if not isinstance(node, Branch):
        return node
    there = [each for each in reference if goes_true(node, each[node.feature])]
    back = [each for each in reference if not goes_true(node, each[node.feature])]
    if node.feature in known:
        child, rest = (node.true, there) if goes_true(node, row[node.feature]) else (node.false, back)
        return worth(child, row, known, rest)
    share = len(there) / len(reference) if reference else 0.5
    return share * worth(node.true, row, known, there) + (1 - share) * worth(node.false, row, known, back)


def shapley(forest: list[Any], row: Sequence[float], reference: list[Sequence[float]]) -> list[float]:
    def value(known: frozenset[int]) -> float:
        return sum(worth(tree, row, known, reference) for tree in forest)

    found = []
    for feature in range(FEATURES):
        others = [each for each in range(FEATURES) if each != feature]
        total = 0.0
        for size in range(FEATURES):
            weight = 1 / (FEATURES * math.comb(FEATURES - 1, size))
            for chosen in combinations(others, size):
                known = frozenset(chosen)
                total += weight * (value(known | {feature}) - value(known))
        found.append(total)
    return found


def by_kind(forest: list[Any]) -> bytes:
    """As TreeEnsembleRegressor writes it."""
    nodes: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "featureids", "modes", "values")}
    nodes |= {name: [] for name in ("truenodeids", "falsenodeids", "missing_value_tracks_true")}
    leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}

    def write(tree: int, node: Branch | float) -> int:
        at = nodes["treeids"].count(tree)
        inner = isinstance(node, Branch)
        empty = Branch(0, "LEAF", 0.0, False, 0.0, 0.0)
        branch = node if isinstance(node, Branch) else empty
        for name, value in zip(
            nodes,
            (tree, at, branch.feature, branch.mode, branch.threshold, 0, 0, int(branch.missing_true)),
            strict=True,
        ):
            nodes[name].append(value)
        place = len(nodes["nodeids"]) - 1
        if inner:
            nodes["truenodeids"][place] = write(tree, branch.true)
            nodes["falsenodeids"][place] = write(tree, branch.false)
        else:
            for name, value in zip(leaves, (tree, at, 0, node), strict=True):
                leaves[name].append(value)
        return at

    for number, tree in enumerate(forest):
        write(number, tree)
    attributes: dict[str, Any] = {f"nodes_{name}": values for name, values in nodes.items()}
    attributes |= {f"target_{name}": values for name, values in leaves.items()}
    attributes["nodes_hitrates"] = [1.0] * len(nodes["treeids"])
    node = helper.make_node(
        "TreeEnsembleRegressor", ["input"], ["prediction"], domain="ai.onnx.ml", n_targets=1, **attributes
    )
    return model(node, 3)


def unified(forest: list[Any]) -> bytes | None:
    """As TreeEnsemble writes it; None for a tree without a branch, which it cannot express."""
    if not all(isinstance(tree, Branch) for tree in forest):
        return None
    rows: list[list[int]] = []
    extras: list[tuple[int, float, bool]] = []
    weights: list[float] = []

    def write(branch: Branch) -> int:
        at = len(rows)
        rows.append([branch.feature, UNIFIED_MODES[branch.mode], 0, 0, 0, 0])
        extras.append((at, branch.threshold, branch.missing_true))
        for place, child in ((2, branch.true), (4, branch.false)):
            if isinstance(child, Branch):
                rows[at][place] = write(child)
            else:
                rows[at][place], rows[at][place + 1] = len(weights), 1
                weights.append(child)
        return at

    roots = [write(tree) for tree in forest]
    columns_of = list(map(list, zip(*rows, strict=True)))
    node = helper.make_node(
        "TreeEnsemble",
        ["input"],
        ["prediction"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=1,
        post_transform=0,
        tree_roots=roots,
        nodes_featureids=columns_of[0],
        nodes_modes=helper.make_tensor("modes", TensorProto.UINT8, [len(rows)], columns_of[1]),
        nodes_truenodeids=columns_of[2],
        nodes_trueleafs=columns_of[3],
        nodes_falsenodeids=columns_of[4],
        nodes_falseleafs=columns_of[5],
        nodes_missing_value_tracks_true=[int(missing) for _, _, missing in extras],
        nodes_splits=helper.make_tensor("splits", TensorProto.FLOAT, [len(rows)], [value for _, value, _ in extras]),
        leaf_targetids=[0] * len(weights),
        leaf_weights=helper.make_tensor("weights", TensorProto.FLOAT, [len(weights)], weights),
    )
    return model(node, 5)


def model(node: Any, version: int) -> bytes:
    tensor = helper.make_tensor_value_info
    made = helper.make_graph(
        [node],
        "g",
        [tensor("input", TensorProto.FLOAT, [None, FEATURES])],
        [tensor("prediction", TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", version)]
    raw: bytes = helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString()
    return raw


def read(data: bytes) -> ensemble.Ensemble:
    return ensemble.read(graph.read(data).nodes[0])


def explained(nodes: ensemble.Ensemble, counts: Any, rows: np.ndarray[Any, Any]) -> tuple[Any, float, Any]:
    front = columns.Columns(tuple(range(FEATURES)), lambda values: values)
    found = trees.trees(nodes, front, FEATURES, covers.counted(nodes, counts), "trees")
    parts, base = found.contributions(rows, np.ones(1))
    return parts, base, found.scores(rows)[:, 0]


def answers(data: bytes, rows: np.ndarray[Any, Any]) -> Any:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": rows})[0][:, 0]


@settings(max_examples=examples(60), deadline=None)
@given(forests, tables, tables)
def test_contributions_are_the_shapley_values_of_every_coalition(
    forest: list[Any], reference: list[list[float]], asked: list[list[float]]
) -> None:
    rows = np.array(asked, dtype=np.float32)
    data = hit_rates.counted(by_kind(forest), np.array(reference, dtype=np.float32))
    nodes = read(data)
    assert nodes.counts is not None
    parts, base, scores = explained(nodes, nodes.counts, rows)
    np.testing.assert_allclose(scores, answers(data, rows), atol=1e-6)
    np.testing.assert_allclose(parts.sum(axis=1) + base, scores, atol=1e-9)
    for at, row in enumerate(asked):
        np.testing.assert_allclose(parts[at], shapley(forest, row, list(reference)), atol=1e-9)
    expected = sum(worth(tree, asked[0], frozenset(), list(reference)) for tree in forest)
    assert math.isclose(base, expected, abs_tol=1e-9)
    assert math.isclose(base, float(np.mean(answers(data, np.array(reference, dtype=np.float32)))), abs_tol=1e-5)


@settings(max_examples=examples(40), deadline=None)
@given(forests.filter(lambda forest: unified(forest) is not None), tables)
def test_both_operators_are_read_alike(forest: list[Any], asked: list[list[float]]) -> None:
    rows = np.array(asked, dtype=np.float32)
    new = unified(forest)
    assert new is not None
    nodes = read(new)
    assert nodes.counts is None
    parts, base, scores = explained(nodes, np.ones(len(nodes.column)), rows)
    np.testing.assert_allclose(scores, answers(new, rows), atol=1e-6)
    old = read(by_kind(forest))
    others, other_base, _ = explained(old, np.ones(len(old.column)), rows)
    np.testing.assert_allclose(parts, others, atol=1e-9)
    assert math.isclose(base, other_base, abs_tol=1e-9)


def test_the_models_made_here_are_valid() -> None:
    tree = Branch(0, "BRANCH_LEQ", 0.0, False, 1.0, 2.0)
    onnx.checker.check_model(by_kind([tree]))
