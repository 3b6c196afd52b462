"""A model that is worse than what serves, on the real thing: measured on the same rows, not sealed, and nothing that serves is touched."""

import json
from typing import Any

import numpy as np

from demo import records
from demo.kubectl import condition, describe, is_current, is_stalled
from demo.records import Records
from plant import Plant
from told_by_logs import messages_lost

SECONDS = 240.0
PART = 0.3
"""Of the labels, drawn anew: what a mixed-up feed of labels does."""


def scrambled() -> bytes:
    """The usual records, a part of their labels drawn by lot."""
    usual, draw = records.usual(), np.random.default_rng(0)
    drawn = draw.random(len(usual)) < PART
    return records.as_csv(Records(usual.inputs, np.where(drawn, draw.integers(2, size=len(usual)), usual.labels)))


def ended(plant: Plant, experiment: dict[str, Any]) -> dict[str, Any]:
    plant.kubectl.apply(experiment)
    name = experiment["metadata"]["name"]
    return plant.kubectl.wait("experiment", name, lambda o: is_current(o) or is_stalled(o), SECONDS)


def pods(plant: Plant, label: str) -> dict[str, Any]:
    """Pods with a label: uid and restarts by name."""
    found = json.loads(plant.kubectl.run("get", "pods", "-l", label, "-o", "json"))["items"]
    return {
        pod["metadata"]["name"]: (
            pod["metadata"]["uid"],
            [c["restartCount"] for c in pod["status"]["containerStatuses"]],
        )
        for pod in found
    }


def sealed_folders(plant: Plant) -> set[str]:
    """Folders of signed models in the store."""
    paths = [entry.path.removeprefix(f"{plant.name}/") for entry in plant.models.list(plant.name)]
    return {path.partition("/")[0] for path in paths if path.startswith("sha256-")}


def told_by_log(plant: Plant, experiment: str) -> list[str]:
    """Jobs whose results were read from their pods' logs."""
    selector = f"modelcycle.dev/experiment={experiment},app.kubernetes.io/component=facts"
    listed = json.loads(plant.kubectl.run("get", "configmaps", "-l", selector, "-o", "json"))["items"]
    return [one["metadata"]["annotations"]["modelcycle.dev/job"] for one in listed]


def test_retrain_on_scrambled_labels_is_worse_and_the_old_model_stays_monitoring_36(plant: Plant) -> None:
    demand = [{"notWorseThan": {"modelDeployment": "scrap"}}]
    first = ended(plant, plant.experiment("scrap", acceptance=demand))
    assert is_current(first), describe(first)
    assert first["status"]["acceptance"]["reason"] == "NoDeployedModel"
    plant.kubectl.apply(plant.deployment("scrap", model={"experimentRef": {"name": "scrap"}}))
    serving = plant.kubectl.wait("modeldeployment", "scrap", is_current, SECONDS)
    assert serving["status"]["stable"]["digest"] == first["status"]["model"]["digest"]
    before, sealed = pods(plant, "modelcycle.dev/deployment=scrap"), sealed_folders(plant)
    assert (len(before), len(sealed)) == (1, 1)

    # As a retrain of the lineage that the deployment follows: if it were sealed, it would be rolled out.
    tree = {"estimator": "sklearn.tree.DecisionTreeClassifier"}
    retrain = plant.experiment(
        "scrap-again", data={"uri": plant.put("scrambled.csv", scrambled())}, trainer=tree, acceptance=demand
    )
    retrain["metadata"]["labels"] = {"modelcycle.dev/lineage": "scrap"}
    # Its pods tell by their logs: the figures below have come home that way.
    with messages_lost(plant.kubectl, "scrap-again"):
        worse = ended(plant, retrain)
    assert len(told_by_log(plant, "scrap-again")) == 3, "inspect, trial, compare"
    assert condition(worse, "Stalled").get("reason") == "WorseThanDeployed", describe(worse)
    told, best = worse["status"]["acceptance"], worse["status"]["currentOptimalTrial"]
    assert (told["verdict"], told["metric"], told["rows"]) == ("Refused", "roc_auc", 114)
    assert told["deployedDigest"] == serving["status"]["stable"]["digest"]
    assert {"name": "roc_auc", "value": told["candidate"]} in best["observation"]["metrics"]
    assert float(told["candidate"]) < float(told["deployed"]) - 0.1
    message = condition(worse, "Ready")["message"]
    assert f"{float(told['candidate']):.4g} against {float(told['deployed']):.4g}" in message
    assert told["deployedDigest"][7:15] in message

    assert "model" not in worse["status"]
    assert sealed_folders(plant) == sealed
    jobs = plant.kubectl.run("get", "jobs", "-l", "modelcycle.dev/experiment=scrap-again", "-o", "name")
    assert "seal" not in jobs
    after = plant.kubectl.get("modeldeployment", "scrap") or {}
    assert is_current(after), describe(after)
    assert after["status"]["stable"] == serving["status"]["stable"]
    assert "canary" not in after["status"]
    assert pods(plant, "modelcycle.dev/deployment=scrap") == before

    # The same trial within a tolerance: accepted without a new training.
    allowed = [{"notWorseThan": {"modelDeployment": "scrap", "tolerance": "0.5"}}]
    changed = {**retrain, "spec": {**retrain["spec"], "acceptance": allowed}}
    with messages_lost(plant.kubectl, "scrap-again"):
        plant.kubectl.apply(changed)
        done = plant.kubectl.wait("experiment", "scrap-again", is_current, SECONDS)
    assert len(told_by_log(plant, "scrap-again")) == 5, "and compare again, and seal"
    assert done["status"]["trials"]["total"] == 1
    assert done["status"]["acceptance"]["reason"] == "NotWorse"
    assert done["status"]["acceptance"]["candidate"] == told["candidate"]
