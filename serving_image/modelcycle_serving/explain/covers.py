"""Which part of a tree node's reference rows goes to its low side.

Owns the two sources of that number: counts of rows that the bundle's writer left in the graph, and where there are none an estimate
from the reference profile that takes the features for independent.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from modelcycle_bundle.bins import Feature
from modelcycle_serving.explain.columns import Columns, Float64
from modelcycle_serving.explain.ensemble import Ensemble

Share = Callable[[int, int, float, float, bool], float]
"""(node, its column, the interval (above, upto] of that column that leads to the node, whether NaN does) -> in (0, 1)."""
_LEAST: Final = 1e-12
"""A side that no reference row took: not 0, because contributions divide by it; too small to be seen in any."""


def counted(ensemble: Ensemble, counts: Float64) -> Share:
    """By the counts of rows that came by each node."""

    def share(node: int, column: int, above: float, upto: float, missing: bool) -> float:  # noqa: FBT001 - a fact
        total = counts[ensemble.low[node]] + counts[ensemble.high[node]]
        return _bounded(float(counts[ensemble.low[node]]) / float(total)) if total > 0 else 0.5

    return share


def estimated(ensemble: Ensemble, columns: Columns, features: Sequence[Feature]) -> Share:
    """By the profile's bins, even inside of each bin."""
    points, ranks, gaps = _distribution(columns, features)

    def mass(column: int, above: float, upto: float) -> float:
        at, rank = points[column], ranks[column]
        return max(0.0, float(np.interp(upto, at, rank)) - float(np.interp(above, at, rank)))

    def share(node: int, column: int, above: float, upto: float, missing: bool) -> float:  # noqa: FBT001 - a fact
        limit, missing_low = float(ensemble.threshold[node]), bool(ensemble.missing_low[node])
        low, high = mass(column, above, min(limit, upto)), mass(column, max(limit, above), upto)
        if missing:
            low, high = (low + gaps[column], high) if missing_low else (low, high + gaps[column])
        return _bounded(low / (low + high)) if low + high > 0 else 0.5

    return share


def _bounded(share: float) -> float:
    return min(max(share, _LEAST), 1 - _LEAST)


def _distribution(columns: Columns, features: Sequence[Feature]) -> tuple[list[Float64], list[Float64], list[float]]:
    """By column: rising values, the share of the reference at or below each, and the share that is missing."""
    shapes = [_cumulated(feature) for feature in features]
    longest = max(len(at) for at, _, _ in shapes)
    grid = np.array([np.pad(at, (0, longest - len(at)), "edge") for at, _, _ in shapes], dtype=np.float32).T
    moved = columns.compute(grid).astype(np.float64)
    points, ranks, gaps = [], [], []
    for column, feature in enumerate(columns.source):
        at, rank, gap = shapes[feature]
        value = moved[: len(at), column]
        falling = value[0] > value[-1]  # a negative scale turns the order round, and the ranks with it
        points.append(value[::-1] if falling else value)
        ranks.append((rank[-1] - rank)[::-1] if falling else rank)
        gaps.append(gap)
    return points, ranks, gaps


def _cumulated(feature: Feature) -> tuple[Float64, Float64, float]:
    total = max(1, sum(feature.counts))
    gap = feature.counts[-1] / total
    if feature.low is None or feature.high is None:
        return np.zeros(2), np.array([0.0, 1.0 - gap]), gap
    # The few values beyond the range are put at its ends.
    inside = np.array(feature.counts[1:-2], dtype=np.float64)
    inside[0] += feature.counts[0]
    inside[-1] += feature.counts[-2]
    at = np.array([feature.low, *feature.edges, feature.high], dtype=np.float64)
    return at, np.concatenate([[0.0], np.cumsum(inside)]) / total, gap
