"""An Experiment that is stalled goes on by itself once what was wrong is right: its key, its credentials, its store, its spec."""

from typing import Any

from demo.kubectl import condition, describe, is_current, is_stalled
from plant import Plant

SECONDS = 280.0


def stalled(plant: Plant, experiment: dict[str, Any]) -> dict[str, Any]:
    plant.kubectl.apply(experiment)
    seen = plant.kubectl.wait(
        "experiment", experiment["metadata"]["name"], lambda o: is_current(o) or is_stalled(o), SECONDS
    )
    assert is_stalled(seen), describe(seen)
    return seen


def credentials(plant: Plant, **changed: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "modelcycle-store"}, "stringData": changed}
    plant.kubectl.apply(secret)


def test_missing_key_names_the_command_and_clears(bare_plant: Plant) -> None:
    seen = stalled(bare_plant, bare_plant.experiment("keyless"))
    assert condition(seen, "Stalled")["reason"] == "NoSigningKey"
    assert f"kubectl modelcycle keygen -n {bare_plant.name}" in condition(seen, "Stalled")["message"]
    bare_plant.kubectl.keygen()
    done = bare_plant.kubectl.wait("experiment", "keyless", is_current, SECONDS)
    assert done["status"]["model"]["digest"].startswith("sha256:")


def test_wrong_credentials_clear_when_the_secret_is_right(plant: Plant, credentials_of_store: dict[str, str]) -> None:
    credentials(plant, **{**credentials_of_store, "AWS_SECRET_ACCESS_KEY": "wrong"})
    seen = stalled(plant, plant.experiment("locked-out"))
    assert condition(seen, "Stalled")["reason"] == "StoreDenied"
    credentials(plant, **credentials_of_store)
    plant.kubectl.wait("experiment", "locked-out", is_current, SECONDS)


def test_unreachable_store_says_so_and_clears_experiment_43(plant: Plant, credentials_of_store: dict[str, str]) -> None:
    credentials(plant, **{**credentials_of_store, "AWS_ENDPOINT_URL": "http://store.nowhere.svc:7070"})
    plant.kubectl.apply(plant.experiment("cut-off"))
    seen = plant.kubectl.wait(
        "experiment", "cut-off", lambda o: condition(o, "Ready").get("reason") == "StoreUnreachable", SECONDS
    )
    assert "model" not in seen["status"]
    credentials(plant, **credentials_of_store)
    plant.kubectl.wait("experiment", "cut-off", is_current, SECONDS)


def test_spec_that_is_fixed_clears_the_stall_at_once(plant: Plant) -> None:
    seen = stalled(plant, plant.experiment("typo", data={"target": "malignnat"}))
    assert condition(seen, "Stalled")["reason"] == "TargetMissing"
    assert "malignnat" in condition(seen, "Stalled")["message"]
    plant.kubectl.apply(plant.experiment("typo"))
    plant.kubectl.wait("experiment", "typo", is_current, SECONDS)


def test_quota_that_refuses_jobs_is_told_and_clears_with_the_next_edit(plant: Plant) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    plant.kubectl.apply(quota)
    seen = stalled(plant, plant.experiment("crowded-out"))
    assert condition(seen, "Stalled")["reason"] == "WriteRefused"
    assert "exceeded quota: none" in condition(seen, "Stalled")["message"]
    plant.kubectl.run("delete", "resourcequota", "none")
    plant.kubectl.apply(plant.experiment("crowded-out", trialActiveDeadlineSeconds=1800))
    plant.kubectl.wait("experiment", "crowded-out", is_current, SECONDS)
