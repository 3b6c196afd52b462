"""Any model: Shapley values by sampled orders of the features, from the model's answers alone.

Backgrounds are drawn from the profile's bins, which hold no row of the data: each feature by itself, so their dependence is not in it. For
each background row the features are set to the explained row's values one by one, in a random order and in its reverse (Castro et al.,
2009; antithetic as in shap's permutation explainer). Along one walk the contributions add up to the difference between the
answers at its ends, so they add up exactly, whatever the sample. The seed is fixed: the same row gets the same explanation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from modelcycle_bundle.bins import Feature
from modelcycle_serving.explain.columns import Float32, Float64

SEED: Final = 0
BACKGROUNDS: Final = 16
MODEL_ROWS: Final = 8192
"""Rows the model answers to explain one, about; two backgrounds are used in any case."""
_BATCH: Final = 1024

Predict = Callable[[Float32], Float64]
"""Probabilities [N, C] or predictions [N, 1]."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """Contributions of one row to the answer of one class."""

    contributions: Float64
    """[F]."""
    base: float
    """Mean answer of the background rows."""


def backgrounds(features: Sequence[Feature], accepts_missing: bool) -> Float32:  # noqa: FBT001 - a fact, not a switch
    """[B, F] representative rows: each feature takes evenly spaced ranks of its reference, in a random order of the rows."""
    random = np.random.default_rng(SEED)
    count = max(2, min(BACKGROUNDS, MODEL_ROWS // (2 * len(features))))
    ranks = (np.arange(count) + 0.5) / count
    columns = [_at_ranks(feature, ranks, accepts_missing)[random.permutation(count)] for feature in features]
    return np.stack(columns, axis=1).astype(np.float32)


def explain(row: Float32, target: int, answer: Predict, background: Float32) -> Sampled:
    """Explain the answer `target` of one row [F]."""
    random = np.random.default_rng(SEED)
    found = np.zeros(len(row))
    base = 0.0
    for start in background:
        order = random.permutation(len(row))
        steps = _walks(row, start, order)
        values = np.concatenate([answer(steps[at : at + _BATCH])[:, target] for at in range(0, len(steps), _BATCH)])
        there, back = values[: len(row) + 1], values[len(row) :]
        found[order] += np.diff(there)
        found[order] -= np.diff(back)
        base += float(values[0])
    return Sampled(found / (2 * len(background)), base / len(background))


def _walks(row: Float32, start: Float32, order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Float32:
    """[2F + 1, F]: from the background to the row in this order, then from the row back in the same order.

    Taking features back in this order is the reversed order of setting them.
    """
    size = len(row)
    rank = np.empty(size, dtype=np.int64)
    rank[order] = np.arange(size)
    steps = np.arange(size + 1)[:, None]
    there = np.where(rank < steps, row, start)
    back = np.where(rank < steps[1:], start, row)
    return np.concatenate([there, back])


def _at_ranks(feature: Feature, ranks: Float64, accepts_missing: bool) -> Float64:  # noqa: FBT001 - a fact, not a switch
    """One value for each rank in (0, 1): the middle of the bin it falls into."""
    if feature.low is None or feature.high is None:
        return np.full(len(ranks), np.nan if accepts_missing else 0.0)
    limits = np.array([feature.low, *feature.edges, feature.high])
    middles = np.concatenate([[feature.low], (limits[:-1] + limits[1:]) / 2, [feature.high], [np.nan]])
    counts = np.array(feature.counts, dtype=np.float64)
    if not accepts_missing:
        counts[-1] = 0
    return np.asarray(middles[np.searchsorted(np.cumsum(counts) / counts.sum(), ranks)])
