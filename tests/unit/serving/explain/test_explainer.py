"""What is explained, how, and that it adds up to the model's own answer."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from modelcycle_bundle import golden, layout, oms, profile
from modelcycle_bundle.outputs import ValueOutputs
from modelcycle_bundle.profile import Profile
from modelcycle_serving.explain import explainer, sampling, worker
from modelcycle_training.inference import OnnxModel
from unit.serving.explain import cases
from unit.serving.explain.cases import CASES


def answer_of(space: str, score: Any, others: Any) -> Any:
    """The model's answer that belongs to the score; None where it needs the scores of all classes."""
    if space == "log-odds":
        return 1 / (1 + np.exp(-score))
    return score if space in ("probability", "prediction") else others


@pytest.mark.parametrize("name", CASES)
def test_contributions_and_base_add_up_to_the_models_answer(name: str, tmp_path: Path) -> None:
    case, model = CASES[name], cases.fitted(name)
    loaded = cases.explainer_of(tmp_path, name)
    assert (loaded.method, loaded.space) == (case.method, case.space)
    rows = model.table[1::11]
    found = cases.explained(loaded, rows)
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=1), found.score, atol=1e-9, rtol=1e-9)
    answers = model.answers(rows)
    if isinstance(answers, ValueOutputs):
        np.testing.assert_allclose(found.score, answers.predictions, rtol=1e-5)
        return
    given = cases.probabilities(answers)
    assert (found.explained == given.argmax(axis=1)).all()
    chosen = given[np.arange(len(rows)), found.explained]
    np.testing.assert_allclose(answer_of(case.space, found.score, chosen), chosen, atol=1e-5)


def test_base_of_trees_is_the_mean_score_of_the_reference(tmp_path: Path) -> None:
    found = cases.explained(cases.explainer_of(tmp_path, "forest-values"), cases.fitted("forest-values").table[:1])
    answers: Any = cases.fitted("forest-values").answers(cases.fitted("forest-values").table)
    np.testing.assert_allclose(found.base, answers.predictions.mean(), rtol=1e-5)


def test_trees_without_counts_are_explained_from_the_profile(tmp_path: Path) -> None:
    """A file of another writer: a 1 everywhere."""
    cases.write_bundle(tmp_path, "histogram")
    path = tmp_path / layout.MODEL_DIR / layout.MODEL_FILE
    proto = onnx.load_from_string(path.read_bytes())
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_hitrates":
                attribute.floats[:] = [1.0] * len(attribute.floats)
    path.write_bytes(proto.SerializeToString())
    loaded = explainer.load(tmp_path, oms.digest_directory(path.parent).root)
    assert loaded.method == "trees, reference estimated from the profile"
    exact = cases.explainer_of(tmp_path / "counted", "histogram")
    rows = cases.fitted("histogram").table[::20]
    ours, best = cases.explained(loaded, rows), cases.explained(exact, rows)
    np.testing.assert_allclose(ours.base + ours.contributions.sum(axis=1), best.score, atol=1e-9)
    # Dependence between features is lost, the order of what matters is not.
    first = np.corrcoef(ours.contributions.ravel(), best.contributions.ravel())[0, 1]
    assert first > 0.9, first


def test_graph_that_does_more_than_it_seems_is_explained_by_sampling(tmp_path: Path) -> None:
    """The scores are doubled behind the linear operator: they no longer make the golden answers."""
    cases.write_bundle(tmp_path, "least-squares")
    folder = tmp_path / layout.MODEL_DIR
    proto = onnx.load_from_string((folder / layout.MODEL_FILE).read_bytes())
    proto.graph.node[-1].output[0] = "half"
    proto.graph.node.append(onnx.helper.make_node("Add", ["half", "half"], ["prediction"]))
    doubled = proto.SerializeToString()
    (folder / layout.MODEL_FILE).write_bytes(doubled)
    rows = cases.fitted("least-squares").table[:8]
    (folder / layout.GOLDEN_FILE).write_text(golden.make(rows, OnnxModel(doubled).answer(rows)).to_json())
    loaded = explainer.load(tmp_path, oms.digest_directory(folder).root)
    assert loaded.method == "sampling"


def test_changed_bundle_is_not_explained(tmp_path: Path) -> None:
    digest = cases.write_bundle(tmp_path, "tree")
    (tmp_path / layout.MODEL_DIR / layout.CARD_JSON_FILE).write_text("{}")
    with pytest.raises(explainer.Changed):
        explainer.load(tmp_path, digest)


def test_sampling_is_the_same_each_time_and_blind_to_what_the_model_ignores() -> None:
    text = profile.build(["a", "b", "c"], TABLE, ValueOutputs(TABLE[:, 0])).to_json()
    background = sampling.backgrounds(Profile.parse(text).features, accepts_missing=False)
    assert background.shape == (sampling.BACKGROUNDS, 3)
    row = np.array([2.0, 2.0, 5.0], dtype=np.float32)

    def answer(rows: Any) -> Any:
        return (rows[:, [0]] * rows[:, [1]]).astype(np.float64)

    one, two = (sampling.explain(row, 0, answer, background) for _ in range(2))
    assert np.array_equal(one.contributions, two.contributions)
    assert one.contributions[2] == 0
    np.testing.assert_allclose(one.contributions.sum() + one.base, 4.0)


def test_sampling_gives_alike_features_alike_shares() -> None:
    """Same place in the model, same value, same background: nothing tells them apart but the order drawn, and its reverse."""
    background = np.repeat(np.array([[0.0], [1.0], [-1.0]], dtype=np.float32), 2, axis=1)
    row = np.array([3.0, 3.0], dtype=np.float32)
    found = sampling.explain(
        row, 0, lambda rows: np.tanh(rows.sum(axis=1, keepdims=True)).astype(np.float64), background
    )
    assert found.contributions[0] == pytest.approx(found.contributions[1], abs=1e-12)


def test_model_rows_of_one_explanation_are_bounded() -> None:
    asked = 0

    def answer(rows: Any) -> Any:
        nonlocal asked
        asked += len(rows)
        assert len(rows) <= 1024
        return rows[:, :1].astype(np.float64)

    wide = np.random.default_rng(0).normal(size=(50, 600)).astype(np.float32)
    text = profile.build([f"f{at}" for at in range(600)], wide, ValueOutputs(wide[:, 0])).to_json()
    background = sampling.backgrounds(Profile.parse(text).features, accepts_missing=False)
    sampling.explain(wide[0], 0, answer, background)
    assert asked <= sampling.MODEL_ROWS + 1024


def test_work_is_done_in_slices_with_a_rest_after_each(tmp_path: Path) -> None:
    rests: list[float] = []
    rows = cases.fitted("tree").table[:10]
    answer = worker.explain(cases.explainer_of(tmp_path, "tree"), rows, rests.append)
    assert answer.contributions.shape == (10, 30)
    assert len(rests) == -(-10 // explainer.SLICE_ROWS) - 1
    assert all(0 < rest <= worker.LONGEST_PAUSE for rest in rests)


TABLE = np.random.default_rng(3).normal(size=(200, 3)).astype(np.float32)
