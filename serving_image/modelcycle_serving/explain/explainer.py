"""One model's explainer: which method fits, and what it gives.

Owns the choice: exact where the scoring operator is known and its scores are proven to make the golden answers, sampling otherwise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from modelcycle_bundle import card, layout, manifest
from modelcycle_bundle.golden import Golden
from modelcycle_bundle.outputs import ClassOutputs, from_arrays
from modelcycle_bundle.profile import Profile
from modelcycle_serving.explain import additive, columns, covers, ensemble, graph, links, sampling, trees
from modelcycle_serving.explain.columns import Columns, Float32, Float64
from modelcycle_serving.explain.ensemble import Int64

MAX_WORK: Final = 20_000_000
"""Multiplications a row; a larger ensemble (about half a second a row) is explained by sampling."""
SLICE_ROWS: Final = 4


@dataclass(frozen=True, slots=True)
class Explanation:
    """Of N rows. `score` = `base` + the sum of `contributions`, to rounding."""

    explained: Int64
    """[N]: position of the class that is explained, which is the one predicted; 0 for a regression."""
    score: Float64
    base: Float64
    contributions: Float64
    """[N, F]."""


@dataclass(frozen=True, slots=True)
class Explainer:
    """`explain` yields explanations of a few rows at a time, so that the caller can pause between them."""

    method: str
    space: str
    explain: Callable[[Float32], Iterator[Explanation]]


class Changed(ValueError):
    """The bundle is not the one that the server has verified."""


def load(bundle: Path, digest: str) -> Explainer:
    """`digest` is the root digest that the server has verified. Raises Changed."""
    folder = bundle / layout.MODEL_DIR
    if manifest.digest_directory(folder).root != digest:
        raise Changed(f"{folder} has another digest than {digest}")
    model = (folder / layout.MODEL_FILE).read_bytes()
    profile = Profile.parse((folder / layout.PROFILE_FILE).read_text())
    golden = Golden.parse((folder / layout.GOLDEN_FILE).read_text())
    try:
        found = _additive(graph.read(model), profile)
        link = None if found is None else links.find(found.scores(golden.inputs), golden)
    except graph.Unreadable:
        found = link = None
    if found is None or link is None:
        return _by_sampling(model, profile, card.accepts_missing((folder / layout.CARD_JSON_FILE).read_text()))
    return Explainer(found.method, link.space, _exactly(found, link))


def _additive(read: graph.Graph, profile: Profile) -> additive.Additive | None:
    """None when it would take too long."""
    features = len(profile.features)
    value, node = columns.trace(read, features)
    if node is None or not node.op.startswith("TreeEnsemble"):
        means = np.array([[np.nan if each.mean is None else each.mean for each in profile.features]], dtype=np.float32)
        return additive.linear(value, node, means)
    if not isinstance(value, Columns) or len(set(value.source)) != len(value.source):
        raise graph.Unreadable("trees on mixed features")
    nodes = ensemble.read(node)
    if nodes.counts is not None:
        share, method = covers.counted(nodes, nodes.counts), "trees"
    else:
        share, method = covers.estimated(nodes, value, profile.features), "trees, reference estimated from the profile"
    found = trees.trees(nodes, value, features, share, method)
    return found if found.work <= MAX_WORK else None


def _exactly(model: additive.Additive, link: links.Link) -> Callable[[Float32], Iterator[Explanation]]:
    def explain(rows: Float32) -> Iterator[Explanation]:
        for start in range(0, len(rows), SLICE_ROWS):
            yield _explained(model, link, rows[start : start + SLICE_ROWS])

    return explain


def _explained(model: additive.Additive, link: links.Link, rows: Float32) -> Explanation:
    scores = model.scores(rows) @ link.weights + link.shift
    chosen = scores.argmax(axis=1)
    base, parts = np.empty(len(rows)), np.empty(rows.shape)
    for at in np.unique(chosen):
        same = chosen == at
        parts[same], fixed = model.contributions(rows[same], link.weights[:, at])
        base[same] = fixed + link.shift[at]
    return Explanation(chosen, scores[np.arange(len(rows)), chosen], base, parts)


def _by_sampling(model: bytes, profile: Profile, accepts_missing: bool) -> Explainer:  # noqa: FBT001 - a fact
    answer = _answers(model)
    background = sampling.backgrounds(profile.features, accepts_missing)
    space = links.PREDICTION if hasattr(profile.output, "mean") else links.PROBABILITY

    def explain(rows: Float32) -> Iterator[Explanation]:
        for row in rows:
            scores = answer(row[None, :])[0]
            chosen = int(scores.argmax())
            found = sampling.explain(row, chosen, answer, background)
            yield Explanation(
                np.array([chosen]), scores[[chosen]], np.array([found.base]), found.contributions[None, :]
            )

    return Explainer("sampling", space, explain)


def _answers(model: bytes) -> sampling.Predict:
    import onnxruntime  # exact explanations do without it, and without its 40 MB

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = session.get_inputs()[0].name

    def answer(rows: Float32) -> Float64:
        outputs = from_arrays(dict(zip(names, session.run(names, {given: rows}), strict=True)))
        if isinstance(outputs, ClassOutputs):
            return outputs.probabilities.astype(np.float64)
        return outputs.predictions.astype(np.float64)[:, None]

    return answer
