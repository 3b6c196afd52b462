"""The smallest sample applies word for word and succeeds once the two Secrets exist; its pod answers, and explains its answer."""

import csv
import io
import json
import urllib.request
from typing import Any

import pytest
from sklearn.datasets import load_iris

from demo.kubectl import describe, is_current, is_stalled
from plant import ROOT, Plant

SECONDS = 280.0


def scrap_table() -> bytes:
    """Real measurements (scikit-learn's iris) with a target of the sample's name: is it the third species?"""
    data = load_iris()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["sepal_length", "sepal_width", "petal_length", "petal_width", "is_scrap"])
    writer.writerows(
        [*row, int(target == 2)] for row, target in zip(data.data.tolist(), data.target.tolist(), strict=True)
    )
    return out.getvalue().encode()


def test_minimal_sample_applies_verbatim_and_succeeds(plant: Plant) -> None:
    plant.data.put_new("scrap/train.csv", scrap_table())
    plant.kubectl.run("apply", "-f", str(ROOT / "manifests" / "samples" / "minimal.yaml"))
    for kind in ("experiment", "modeldeployment", "driftmonitor"):
        seen = plant.kubectl.wait(kind, "scrap", lambda o: is_current(o) or is_stalled(o), SECONDS)
        assert is_current(seen), f"{kind}: {describe(seen)}"
    # Explaining is a process of its own beside the server, in a container with a read-only root, no privilege and these limits.
    answer, explained = (outputs(plant, verb) for verb in ("infer", "explain"))
    assert explained["label"] == answer["label"] == [1]
    assert explained["base_value"][0] + sum(explained["contributions"]) == pytest.approx(explained["score"][0])


def outputs(plant: Plant, verb: str) -> dict[str, list[Any]]:
    """What the pod says of a flower of the third species."""
    body = {"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [6.3, 3.3, 6.0, 2.5]}]}
    with plant.kubectl.forward("svc/scrap", 80) as port:
        url = f"http://127.0.0.1:{port}/v2/models/model/{verb}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return {output["name"]: output["data"] for output in json.load(response)["outputs"]}
