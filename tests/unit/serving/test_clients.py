"""Clients that nobody here wrote, against the server process: tritonclient over HTTP and KServe's own library."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import environments
from modelcycle_bundle import layout
from unit.serving import rig

SCRIPTS = Path(__file__).parent / "clients"
ROWS = rig.TABLE[:33]

pytestmark = pytest.mark.oracle


def ask(script: str, *arguments: str) -> dict[str, Any]:
    """Run one client in its own environment."""
    python = environments.made("clients", SCRIPTS / "requirements.txt") / "bin/python"
    command = [str(python), str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, input=json.dumps(ROWS.tolist()), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def wanted(bundles: dict[str, Path]) -> dict[str, Any]:
    """What onnxruntime answers, to the bit: a float32 is exact in JSON's doubles."""
    session = onnxruntime.InferenceSession(bundles["classes"] / layout.MODEL_DIR / layout.MODEL_FILE)
    names = ["label", "probabilities"]
    return {name: values.tolist() for name, values in zip(names, session.run(names, {"input": ROWS}), strict=True)}


def test_tritonclient_is_answered_in_both_forms(server: rig.Server, wanted: dict[str, Any]) -> None:
    with server.client() as client:
        metadata = client.get("/v2/models/model").json
    [version] = metadata["versions"]
    seen = ask("triton.py", str(server.http_port), "model", version)
    assert [seen[name] for name in ("live", "ready", "model_ready", "version_ready", "other_ready")] == [True] * 4 + [
        False
    ]
    assert seen["server"]["extensions"] == ["binary_tensor_data"]
    assert seen["model"] == metadata
    for form in ("binary", "json", "columns", "chosen"):
        assert seen[form]["outputs"] == wanted, form
    assert (seen["binary"]["id"], seen["json"]["id"], seen["columns"]["version"]) == ("7", None, version)
    both = ["label", "probabilities"]
    assert [seen[form]["behind"] for form in ("binary", "json", "chosen")] == [both, both, ["probabilities"]]
    assert list(seen["chosen"]["outputs"]) == ["probabilities", "label"]
    # Other numbers, so other answers: but of the same shape, and near.
    assert np.allclose(seen["half"]["outputs"]["probabilities"], wanted["probabilities"], atol=0.01)
    assert seen["refused"][0] == seen["text"][0] == "400"
    assert [seen[name][1].partition(":")[0] for name in ("refused", "text")] == ["inputs[0].name", "inputs[0].datatype"]


def test_kserves_client_is_answered_in_both_forms(server: rig.Server, wanted: dict[str, Any]) -> None:
    seen = ask("kserve_rest.py", str(server.http_port), "model")
    assert [seen[name] for name in ("live", "ready", "model_ready")] == [True] * 3
    for form in ("json", "binary", "both", "chosen"):
        assert seen[form] == wanted, form
    assert (seen["id"], seen["model"]) == ("7", "model")
    assert (seen["refused"][0], seen["refused"][1].partition(":")[0]) == (400, "inputs[0].name")
