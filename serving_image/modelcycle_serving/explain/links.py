"""How a scoring operator's raw scores become the model's answers.

Owns the list of links, and the proof: of several links the one that turns the raw scores of the golden rows into the golden answers is the
model's. So a graph that was misread, or that does something more after the scoring operator, is never explained from its scores.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from modelcycle_bundle.golden import Golden
from modelcycle_bundle.outputs import ClassOutputs
from modelcycle_serving.explain.columns import Float64

LOG_ODDS: Final = "log-odds"
PROBABILITY: Final = "probability"
MARGIN: Final = "score before softmax"
PREDICTION: Final = "prediction"
LOG_PREDICTION: Final = "log of the prediction"
_CLOSE: Final = 1e-4
"""Of a probability; of a prediction, relative to the spread of the golden answers. Float32 sums of many trees differ by 1e-6."""


@dataclass(frozen=True, slots=True)
class Link:
    """Scores of the classes are `raw @ weights + shift`; `answer` turns them into probabilities or predictions [N, C]."""

    space: str
    """What unit a class's score has."""
    weights: Float64
    """[T, C]."""
    shift: Float64
    """[C]."""
    answer: Callable[[Float64], Float64]


def find(raw: Float64, golden: Golden) -> Link | None:
    """The link that gives the golden answers, from raw scores [N, T] of the golden rows; None when no known one does."""
    if isinstance(golden.outputs, ClassOutputs):
        wanted = golden.outputs.probabilities.astype(np.float64)
        candidates, scale = _classification(raw.shape[1], wanted.shape[1]), 1.0
    else:
        wanted = golden.outputs.predictions.astype(np.float64)[:, None]
        candidates, scale = _regression(raw.shape[1]), max(float(np.abs(wanted).max()), float(np.ptp(wanted)))
    for link in candidates:
        with np.errstate(over="ignore", invalid="ignore"):
            given = link.answer(raw @ link.weights + link.shift)
        if given.shape == wanted.shape and bool((np.abs(given - wanted) <= _CLOSE * scale).all()):
            return link
    return None


def _regression(targets: int) -> list[Link]:
    if targets != 1:
        return []
    one, zero = np.eye(1), np.zeros(1)
    return [Link(PREDICTION, one, zero, _same), Link(LOG_PREDICTION, one, zero, np.exp)]


def _classification(targets: int, classes: int) -> list[Link]:
    if targets == 1 and classes == 2:  # the score of the second class alone
        both = np.array([[-1.0, 1.0]])
        return [
            Link(PROBABILITY, both, np.array([1.0, 0.0]), _same),
            Link(LOG_ODDS, both, np.zeros(2), _logistic),
        ]
    if targets != classes:
        return []
    each, zero = np.eye(classes), np.zeros(classes)
    links = [Link(PROBABILITY, each, zero, _same), Link(LOG_ODDS, each, zero, _logistic)]
    if classes == 2:  # softmax of two is the logistic function of their difference
        links.append(Link(LOG_ODDS, np.array([[1.0, -1.0], [-1.0, 1.0]]), zero, _logistic))
    else:
        links.append(Link(MARGIN, each, zero, _softmax))
    return links


def _same(scores: Float64) -> Float64:
    return scores


def _logistic(scores: Float64) -> Float64:
    chances = 1 / (1 + np.exp(-scores))
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def _softmax(scores: Float64) -> Float64:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
