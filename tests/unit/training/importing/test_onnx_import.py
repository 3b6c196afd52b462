"""Foreign ONNX files: what is taken over answers as before, what cannot be is refused with its name and a way out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from modelcycle_bundle import golden, keys, layout, provenance
from modelcycle_bundle.contract import FetchTask
from modelcycle_bundle.fetch import fetch
from modelcycle_bundle.profile import Profile
from modelcycle_training.inference import OnnxModel
from unit.training.importing.workbench import (
    FEATURES,
    NUMBERS,
    TABLE,
    TARGET,
    answers,
    digest,
    from_sklearn,
    graph,
    imported,
    network,
    run,
    write_table,
)

FLOAT, DOUBLE, INT64, STRING = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.STRING
ROWS = TABLE[::10]


def taken_over(folder: Path) -> Any:
    """The model in the bundle, answering; its golden answers and profile are its own."""
    model = OnnxModel((folder / "out/model" / layout.MODEL_FILE).read_bytes())
    replay = golden.Golden.parse((folder / "out/model" / layout.GOLDEN_FILE).read_text())
    assert golden.compare(replay, model.answer(replay.inputs)).ok
    profile = Profile.parse((folder / "out/model" / layout.PROFILE_FILE).read_text())
    assert [feature.name for feature in profile.features] == list(FEATURES)
    onnx.checker.check_model(onnx.load(folder / "out/model" / layout.MODEL_FILE), full_check=True)
    assert sorted(path.name for path in (folder / "out/model").iterdir()) == sorted(layout.MODEL_FILES)
    return model.answer(ROWS)


def test_classifier_with_zipmap_and_text_labels(tmp_path: Path) -> None:
    model = from_sklearn(RandomForestClassifier(5, random_state=0).fit(TABLE, TARGET))
    done = imported(tmp_path, model)
    assert (done.code, done.complained) == (0, "")
    assert "classes good, scrap" in done.said
    found = taken_over(tmp_path)
    labels, chances = answers(model, ROWS)
    assert found.labels.tolist() == labels.tolist()
    np.testing.assert_allclose(found.probabilities, [[each["good"], each["scrap"]] for each in chances], atol=1e-6)


def test_regression(tmp_path: Path) -> None:
    model = from_sklearn(LinearRegression().fit(TABLE, NUMBERS))
    assert imported(tmp_path, model).code == 0
    np.testing.assert_allclose(taken_over(tmp_path).predictions, answers(model, ROWS)[0][:, 0], rtol=1e-6)


def test_one_input_for_each_column_in_another_order_and_of_other_types(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["depth"], ["depth_float"], to=FLOAT),
        helper.make_node("Reshape", ["width", "column"], ["width_column"]),
        helper.make_node("Concat", ["depth_float", "width_column", "height"], ["all"], axis=1),
        helper.make_node("MatMul", ["all", "w"], ["label"]),
    ]
    model = graph(
        nodes,
        {"depth": (INT64, [None, 1]), "height": (FLOAT, [None, 1]), "width": (FLOAT, [None])},
        {"label": (FLOAT, [None, 1])},
        {"w": np.array([[100.0], [10.0], [1.0]], np.float32), "column": np.array([-1, 1])},
    )
    whole = np.round(TABLE * 5).astype(np.float32)
    done = imported(tmp_path, model, table=whole)
    assert done.code == 0, done.complained
    found: Any = OnnxModel((tmp_path / "out/model" / layout.MODEL_FILE).read_bytes()).answer(whole)
    np.testing.assert_allclose(found.predictions, whole[:, 2] * 100 + whole[:, 0] * 10 + whole[:, 1])


@pytest.mark.parametrize("kind", [FLOAT, DOUBLE])
def test_probabilities_without_labels(tmp_path: Path, kind: int) -> None:
    model = network("Softmax", 3, kind)
    assert imported(tmp_path, model).code == 0
    found = taken_over(tmp_path)
    chances = answers(model, ROWS.astype(helper.tensor_dtype_to_np_dtype(kind)))[0]
    np.testing.assert_allclose(found.probabilities, chances, atol=1e-6)
    assert found.labels.tolist() == chances.argmax(axis=1).tolist()


def test_classes_are_named_by_the_user(tmp_path: Path) -> None:
    model = network("Softmax", 3)
    assert imported(tmp_path, model, "--classes", "low, medium,high").code == 0
    chances = answers(model, ROWS)[0]
    names = np.array(["low", "medium", "high"])
    assert taken_over(tmp_path).labels.tolist() == names[chances.argmax(axis=1)].tolist()


def test_one_probability_needs_its_two_classes(tmp_path: Path) -> None:
    model = network("Sigmoid", 1)
    assert imported(tmp_path, model, "--classes", "no,yes").code == 0
    found = taken_over(tmp_path)
    chances = answers(model, ROWS)[0][:, 0]
    np.testing.assert_allclose(found.probabilities, np.stack([1 - chances, chances], axis=1), atol=1e-6)
    assert found.labels.tolist() == np.where(chances > 0.5, "yes", "no").tolist()


def test_one_number_without_classes_is_a_regression(tmp_path: Path) -> None:
    done = imported(tmp_path, network("Sigmoid", 1))
    assert (done.code, "a regression" in done.said) == (0, True)


def test_batch_size_of_the_export_is_lifted(tmp_path: Path) -> None:
    model = network("Softmax", 2, batch=1)
    assert imported(tmp_path, model).code == 0
    one_by_one = np.concatenate([answers(model, row[None, :])[0] for row in ROWS])
    np.testing.assert_allclose(taken_over(tmp_path).probabilities, one_by_one, atol=1e-6)


def test_names_of_ours_inside_of_the_graph_make_room(tmp_path: Path) -> None:
    """Also in the graph inside of an If."""
    then = helper.make_graph(
        [helper.make_node("Identity", ["prediction"], ["then"])],
        "t",
        [],
        [helper.make_tensor_value_info("then", FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["prediction"], ["else"])],
        "e",
        [],
        [helper.make_tensor_value_info("else", FLOAT, None)],
    )
    nodes = [
        helper.make_node("Identity", ["x"], ["input"]),
        helper.make_node("MatMul", ["input", "w"], ["prediction"]),
        helper.make_node("If", ["yes"], ["label"], then_branch=then, else_branch=other),
    ]
    constants = {"w": np.ones((3, 1), np.float32), "yes": np.array(True)}
    model = graph(nodes, {"x": (FLOAT, [None, 3])}, {"label": (FLOAT, [None, 1])}, constants)
    assert imported(tmp_path, model).code == 0
    np.testing.assert_allclose(taken_over(tmp_path).predictions, ROWS.sum(axis=1), atol=1e-5)


def test_what_was_imported_can_be_imported_again(tmp_path: Path) -> None:
    assert imported(tmp_path, network("Sigmoid", 1), "--classes", "no,yes").code == 0
    first = taken_over(tmp_path)
    again = tmp_path / "again"
    again.mkdir()
    assert imported(again, (tmp_path / "out/model" / layout.MODEL_FILE).read_bytes(), "--classes", "no,yes").code == 0
    second = taken_over(again)
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.probabilities, second.probabilities)


def test_gaps_are_answered_when_the_reference_has_some(tmp_path: Path) -> None:
    table = TABLE.copy()
    table[::9, 1] = np.nan
    model = from_sklearn(HistGradientBoostingClassifier(max_iter=5).fit(table, TARGET))
    assert "gaps      answered" in imported(tmp_path, model, table=table).said
    card = json.loads((tmp_path / "out/model" / layout.CARD_JSON_FILE).read_text())
    assert card["model"]["acceptsMissing"] is True
    linear = from_sklearn(LinearRegression().fit(TABLE, NUMBERS))
    (tmp_path / "other").mkdir()
    assert "gaps      refused" in imported(tmp_path / "other", linear, table=table).said


def test_trees_get_the_counts_that_explanations_need(tmp_path: Path) -> None:
    assert imported(tmp_path, from_sklearn(RandomForestClassifier(3, random_state=0).fit(TABLE, TARGET))).code == 0
    (node,) = (
        each
        for each in onnx.load(tmp_path / "out/model" / layout.MODEL_FILE).graph.node
        if each.op_type == "TreeEnsembleClassifier"
    )
    hits = next(each.floats for each in node.attribute if each.name == "nodes_hitrates")
    assert max(hits) == len(TABLE)


def test_same_model_and_table_give_the_same_digest_whatever_the_files_are_called(tmp_path: Path) -> None:
    model = from_sklearn(LogisticRegression().fit(TABLE, TARGET))
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        assert imported(folder, model).code == 0
    (folders[1] / "model.onnx").rename(folders[1] / "other.onnx")
    (folders[1] / "table.csv").rename(folders[1] / "other.csv")
    third = run(
        "--onnx", folders[1] / "other.onnx", "--reference", folders[1] / "other.csv", "--out", tmp_path / "three"
    )
    assert third.code == 0
    assert digest(folders[0] / "out") == digest(folders[1] / "out") == digest(tmp_path / "three")
    assert f"imported  {digest(tmp_path / 'three')}" in third.said


def test_the_card_says_imported_and_invents_no_training(tmp_path: Path) -> None:
    assert imported(tmp_path, from_sklearn(LogisticRegression().fit(TABLE, TARGET))).code == 0
    card = json.loads((tmp_path / "out/model" / layout.CARD_JSON_FILE).read_text())
    assert card["imported"]["format"] == "onnx"
    assert card["imported"]["producer"].startswith("skl2onnx ")
    assert card["data"]["role"] == "reference"
    assert "evaluation" not in card
    text = (tmp_path / "out/model" / layout.CARD_MD_FILE).read_text()
    assert "how it was trained is not known here" in text
    assert "Trained on" not in text


def test_signed_bundle_is_fetched_by_the_operators_pods_and_by_no_other_key(tmp_path: Path) -> None:
    pair, other = keys.generate(), keys.generate()
    for name, each in (("key", pair), ("other", other)):
        (tmp_path / f"{name}.pem").write_bytes(each.private_pem)
    model = from_sklearn(LogisticRegression().fit(TABLE, TARGET))
    done = imported(tmp_path, model, "--sign", tmp_path / "key.pem")
    assert (done.code, "by key" in done.said) == (0, True)
    task = FetchTask(f"file://{tmp_path}/out", digest(tmp_path / "out"))
    assert fetch(task, pair.public_pem, tmp_path / "mount", {}).failure is None
    refused = fetch(task, other.public_pem, tmp_path / "no", {}).failure
    assert refused is not None
    assert refused.reason == "SignatureInvalid"
    (statement,) = (tmp_path / "out/provenance").iterdir()
    origin = provenance.verify(statement.read_bytes(), [pair.public_pem], task.digest)
    assert (origin.invocation_id, origin.data_uri) == (provenance.IMPORT_INVOCATION, "table.csv")
    # Again with a second key: the model stays, and both may be trusted.
    assert imported(tmp_path, model, "--sign", tmp_path / "other.pem").code == 0
    for number, each in enumerate((pair, other)):
        assert fetch(task, each.public_pem, tmp_path / f"mount{number}", {}).failure is None


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    done = imported(tmp_path, network("Softmax", 2))
    assert done.code == 1
    assert "holds something else" in done.complained
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "out", "table.csv"]


def text_input() -> bytes:
    node = helper.make_node("StringNormalizer", ["city"], ["low"], case_change_action="LOWER")
    return graph([node], {"city": (STRING, [None])}, {"low": (STRING, [None])})


def image() -> bytes:
    node = helper.make_node("GlobalAveragePool", ["pixels"], ["mean"])
    return graph([node], {"pixels": (FLOAT, [None, 3, 8, 8])}, {"mean": (FLOAT, [None, 3, 1, 1])})


def two_answers() -> bytes:
    nodes = [helper.make_node("MatMul", ["x", name], [f"out_{name}"]) for name in ("a", "b")]
    weights = {name: np.ones((3, 1), np.float32) for name in ("a", "b")}
    return graph(nodes, {"x": (FLOAT, [None, 3])}, {"out_a": (FLOAT, [None, 1]), "out_b": (FLOAT, [None, 1])}, weights)


def label_alone() -> bytes:
    node = helper.make_node("ArgMax", ["x"], ["best"], axis=1, keepdims=0)
    return graph([node], {"x": (FLOAT, [None, 3])}, {"best": (INT64, [None])})


def batch_dependent() -> bytes:
    nodes = [
        helper.make_node("ReduceMean", ["x", "rows"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("MatMul", ["centred", "w"], ["out"]),
    ]
    constants = {"w": np.ones((3, 1), np.float32), "rows": np.array([0])}
    return graph(nodes, {"x": (FLOAT, [None, 3])}, {"out": (FLOAT, [None, 1])}, constants)


def unknown_operator() -> bytes:
    model = onnx.load_from_string(network("Softmax", 2))
    model.graph.node[-1].op_type = "Softestmax"
    raw: bytes = model.SerializeToString()
    return raw


def elsewhere() -> bytes:
    model = onnx.load_from_string(network("Softmax", 2))
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    raw: bytes = model.SerializeToString()
    return raw


def not_finite() -> bytes:
    node = helper.make_node("Log", ["x"], ["logs"])
    more = helper.make_node("MatMul", ["logs", "w"], ["out"])
    return graph(
        [node, more], {"x": (FLOAT, [None, 3])}, {"out": (FLOAT, [None, 1])}, {"w": np.ones((3, 1), np.float32)}
    )


def other_columns() -> bytes:
    node = helper.make_node("Concat", ["width", "length"], ["out"], axis=1)
    return graph([node], {"width": (FLOAT, [None, 1]), "length": (FLOAT, [None, 1])}, {"out": (FLOAT, [None, 2])})


def seven_features() -> bytes:
    return graph(
        [helper.make_node("MatMul", ["x", "w"], ["out"])],
        {"x": (FLOAT, [None, 7])},
        {"out": (FLOAT, [None, 1])},
        {"w": np.ones((7, 1), np.float32)},
    )


REFUSED: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "no ONNX": (lambda: b"PK\x03\x04 something else", ("not an ONNX model",)),
    "text": (text_input, ("'city'", "takes no numbers")),
    "image": (image, ("'pixels'", "4 dimensions", "[N, 3, 8, 8]")),
    "width": (seven_features, ("'x'", "7 features", "3 columns", "--target")),
    "columns": (other_columns, ("'depth'", "'length'", "on one side only")),
    "two answers": (two_answers, ("'out_a'", "'out_b'", "one of each kind")),
    "logits": (lambda: network(None, 3), ("'out.7'", "no probability", "softmax")),
    "label alone": (label_alone, ("'best'", "probabilities")),
    "batch": (batch_dependent, ("'prediction'", "depends on the rows beside it")),
    "operator": (unknown_operator, ("does not load", "Softestmax")),
    "another file": (elsewhere, ("another file", "one file")),
    "not finite": (not_finite, ("no finite answer",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_over_is_named_with_a_way_out(name: str, tmp_path: Path) -> None:
    make, told = REFUSED[name]
    done = imported(tmp_path, make())
    assert done.code == 1
    assert done.complained.startswith("error: ")
    assert len(done.complained.splitlines()) == 1
    for words in told:
        assert words in done.complained, done.complained
    assert not (tmp_path / "out").exists()


def test_wrong_number_of_classes_is_refused(tmp_path: Path) -> None:
    done = imported(tmp_path, network("Softmax", 3), "--classes", "a,b")
    assert (done.code, "names 2 classes and the model has 3" in done.complained) == (1, True)


def test_the_targets_column_is_no_feature(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(from_sklearn(LogisticRegression().fit(TABLE, TARGET)))
    table = write_table(tmp_path / "table.csv", target=TARGET.tolist())
    forgotten = run("--onnx", model, "--reference", table, "--out", tmp_path / "out")
    assert (forgotten.code, "label" in forgotten.complained) == (1, True)
    assert run("--onnx", model, "--reference", table, "--target", "label", "--out", tmp_path / "out").code == 0


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    done = run("--onnx", tmp_path / "no.onnx", "--reference", tmp_path / "no.csv", "--out", tmp_path / "out")
    assert (done.code, done.complained) == (1, f"error: {tmp_path}/no.csv: No such file or directory\n")


def test_key_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    done = imported(tmp_path, network("Softmax", 2), "--sign", tmp_path / "key.pem")
    assert (done.code, "--sign" in done.complained) == (1, True)
    assert not (tmp_path / "out").exists()
