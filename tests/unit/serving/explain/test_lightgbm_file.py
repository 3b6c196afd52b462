"""A file as LightGBM's users have it: imported, it answers and explains as LightGBM does. tests/corpus/lightgbm says how it was made."""

import json
from pathlib import Path

import numpy as np

from corpus import corpus
from modelcycle_bundle.outputs import ClassOutputs
from modelcycle_serving.explain import explainer
from modelcycle_training.inference import OnnxModel
from unit.serving.explain import cases
from unit.training.importing import workbench

FOLDER = corpus.HERE / "lightgbm"


def test_imported_file_answers_and_explains_as_lightgbm_does(tmp_path: Path) -> None:
    done = workbench.imported(tmp_path, (FOLDER / "model.onnx").read_bytes())
    assert done.code == 0, done.complained
    said = json.loads((FOLDER / "said.json").read_text())
    positive, theirs = np.array(said["probabilities"]), np.array(said["contributions"])
    rows = workbench.TABLE[: len(positive)]

    answers = OnnxModel((tmp_path / "out/model/model.onnx").read_bytes()).answer(rows)
    assert isinstance(answers, ClassOutputs)
    np.testing.assert_allclose(answers.probabilities[:, 1], positive, atol=1e-6)

    loaded = explainer.load(tmp_path / "out", workbench.digest(tmp_path / "out"))
    ours = cases.explained(loaded, rows)
    assert (loaded.method, loaded.space) == ("trees", "log-odds")
    # LightGBM explains class 1; here it is the predicted class, whose log-odds are the other's with the other sign.
    sign = np.where(ours.explained == 1, 1.0, -1.0)
    np.testing.assert_allclose(ours.contributions * sign[:, None], theirs[:, :-1], atol=1e-6)
    np.testing.assert_allclose(ours.base * sign, theirs[:, -1], atol=1e-6)
