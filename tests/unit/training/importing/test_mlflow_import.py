"""MLflow model folders, as MLflow 3.17 writes them; mlflow itself is not needed here and not imported."""

import json
import pickle
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import pytest
import skops.io
import yaml
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelcycle_bundle import layout
from modelcycle_training.inference import OnnxModel
from unit.training.importing.workbench import FEATURES, TABLE, TARGET, Run, digest, from_sklearn, run, write_table

LOGISTIC = make_pipeline(StandardScaler(), LogisticRegression()).fit(TABLE.astype(np.float64), TARGET)
FOREST = RandomForestClassifier(5, random_state=0).fit(TABLE.astype(np.float64), TARGET)


def write_folder(folder: Path, flavour: str, about: dict[str, Any], columns: tuple[str, ...] = FEATURES) -> Path:
    folder.mkdir(exist_ok=True)
    inputs = [{"type": "double", "name": name, "required": True} for name in columns]
    described = {
        "flavors": {
            "python_function": {"loader_module": "mlflow." + flavour, "python_version": "3.11.7"},
            flavour: about,
        },
        "mlflow_version": "3.17.2",
        "model_uuid": "861cf38ac7ec402b8d5c46b906c6c4db",
        "signature": {"inputs": json.dumps(inputs), "outputs": None, "params": None} if columns else None,
        "utc_time_created": "2026-11-25 18:29:20.123456",
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(described))
    return folder


def sklearn_folder(folder: Path, estimator: Any, serialization: str = "cloudpickle", **more: Any) -> Path:
    name = "model.skops" if serialization == "skops" else "model.pkl"
    folder.mkdir()
    if serialization == "skops":
        skops.io.dump(estimator, folder / name)
    else:
        (folder / name).write_bytes({"cloudpickle": cloudpickle, "pickle": pickle}[serialization].dumps(estimator))
    about = {"code": None, "pickled_model": name, "serialization_format": serialization, "sklearn_version": "1.9.1"}
    return write_folder(folder, "sklearn", about, **more)


def imported(folder: Path, tmp_path: Path, *more: object) -> Run:
    return run("--mlflow", folder, "--reference", write_table(tmp_path / "table.csv"), "--out", tmp_path / "out", *more)


def answers(tmp_path: Path, rows: Any) -> Any:
    return OnnxModel((tmp_path / "out/model" / layout.MODEL_FILE).read_bytes()).answer(rows)


@pytest.mark.parametrize("serialization", ["cloudpickle", "pickle", "skops"])
@pytest.mark.parametrize("estimator", [LOGISTIC, FOREST], ids=["logistic", "forest"])
def test_estimator_answers_as_before(estimator: Any, serialization: str, tmp_path: Path) -> None:
    done = imported(sklearn_folder(tmp_path / "m", estimator, serialization), tmp_path, "--allow-unpickle")
    assert (done.code, done.complained) == (0, "")
    found = answers(tmp_path, TABLE)
    assert found.labels.tolist() == estimator.predict(TABLE.astype(np.float64)).tolist()
    np.testing.assert_allclose(found.probabilities, estimator.predict_proba(TABLE.astype(np.float64)), atol=1e-5)
    card = json.loads((tmp_path / "out/model" / layout.CARD_JSON_FILE).read_text())
    assert card["imported"]["format"] == "mlflow"
    assert card["imported"]["producer"] == "scikit-learn 1.9.1"
    assert card["artefact"]["parityMaxDifference"]


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled_without_the_users_word(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    folder = sklearn_folder(tmp_path / "m", LOGISTIC)
    (folder / "model.pkl").write_bytes(pickle.dumps(Trap(sprung)))
    done = imported(folder, tmp_path)
    assert done.code == 1
    assert "runs code" in done.complained
    assert "--allow-unpickle" in done.complained
    assert not sprung.exists()
    assert imported(folder, tmp_path, "--allow-unpickle").code == 1
    assert sprung.exists()  # so the trap works


def test_skops_needs_the_users_word_only_for_types_that_can_do_harm(tmp_path: Path) -> None:
    assert imported(sklearn_folder(tmp_path / "safe", LOGISTIC, "skops"), tmp_path).code == 0
    refused = run(
        "--mlflow",
        sklearn_folder(tmp_path / "trees", FOREST, "skops"),
        "--reference",
        tmp_path / "table.csv",
        "--out",
        tmp_path / "other",
    )
    assert refused.code == 1
    assert "sklearn.tree._tree.Tree" in refused.complained
    assert "--allow-unpickle" in refused.complained


def test_columns_are_taken_in_the_order_of_the_signature(tmp_path: Path) -> None:
    order = ("depth", "width", "height")
    at = [FEATURES.index(name) for name in order]
    estimator = LogisticRegression().fit(TABLE[:, at].astype(np.float64), TARGET)
    done = imported(sklearn_folder(tmp_path / "m", estimator, columns=order), tmp_path, "--allow-unpickle")
    assert done.code == 0, done.complained
    profile = json.loads((tmp_path / "out/model" / layout.PROFILE_FILE).read_text())
    assert [each["name"] for each in profile["features"]] == list(order)
    assert answers(tmp_path, TABLE[:, at]).labels.tolist() == estimator.predict(TABLE[:, at]).tolist()


def test_columns_that_differ_from_the_signature_are_named(tmp_path: Path) -> None:
    folder = sklearn_folder(tmp_path / "m", LOGISTIC, columns=("width", "height", "weight"))
    done = imported(folder, tmp_path, "--allow-unpickle")
    assert done.code == 1
    assert "weight" in done.complained
    assert "depth" in done.complained


def test_onnx_flavour_runs_no_code(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", "onnx", {"data": "model.onnx", "onnx_version": "1.23.2"})
    (folder / "model.onnx").write_bytes(from_sklearn(FOREST))
    assert imported(folder, tmp_path).code == 0
    assert answers(tmp_path, TABLE).labels.tolist() == FOREST.predict(TABLE.astype(np.float64)).tolist()


def test_same_folder_gives_the_same_digest_and_times_do_not_matter(tmp_path: Path) -> None:
    digests: list[str] = []
    for name in ("one", "two"):
        folder = sklearn_folder(tmp_path / name, FOREST)
        (folder / "MLmodel").write_text((folder / "MLmodel").read_text().replace("18:29:20", f"0{len(digests)}:00:00"))
        table = write_table(tmp_path / "table.csv")
        out = tmp_path / f"out-{name}"
        assert run("--mlflow", folder, "--allow-unpickle", "--reference", table, "--out", out).code == 0
        digests.append(digest(out))
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("flavors: {sklearn: {pickled_model: ../../etc/passwd}}", "outside of its folder"),
        ("flavors: {sklearn: {pickled_model: gone.pkl}}", "gone.pkl is missing"),
        ("flavors: {sklearn: {pickled_model: model.pkl, serialization_format: dill}}", "'dill'"),
        ("flavors: {xgboost: {data: model.xgb}, python_function: {}}", "but xgboost"),
        ("just a text", "names no flavors"),
        ("a: [", "is not YAML"),
    ],
)
def test_folders_that_cannot_be_read_say_why(text: str, told: str, tmp_path: Path) -> None:
    folder = sklearn_folder(tmp_path / "m", LOGISTIC)
    (folder / "MLmodel").write_text(text)
    done = imported(folder, tmp_path, "--allow-unpickle")
    assert done.code == 1
    assert told in done.complained


def test_estimator_that_cannot_be_loaded_tells_both_versions(tmp_path: Path) -> None:
    folder = sklearn_folder(tmp_path / "m", LOGISTIC)
    (folder / "model.pkl").write_bytes(b"cmissing_package\nThing\n.")
    done = imported(folder, tmp_path, "--allow-unpickle")
    assert done.code == 1
    assert "ModuleNotFoundError" in done.complained
    assert "1.9.1" in done.complained


def test_help_says_that_unpickling_runs_code() -> None:
    assert "RUNS CODE" in " ".join(run("--help").said.split())
