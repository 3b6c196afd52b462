"""The API server is stopped for 60 s and started again: serving never stops, and the operator goes on where it was."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from canary_ground import Ground
from demo import load_objects, objects, records
from demo.kubectl import Kubectl, describe, is_current, is_stalled
from plant import ROOT, Plant

OUTAGE_SECONDS = 60
LOAD_SECONDS = 90
SECONDS = 300.0


def cluster(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "hack/cluster", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    ).stdout


@pytest.mark.alone
def test_api_server_stopped_for_a_minute_engineering_27(system: Kubectl, ground: Ground) -> None:
    plant = ground.plant
    plant.kubectl.apply(plant.deployment(objects.DEPLOYMENT, model=ground.usual.spec))
    served = plant.kubectl.wait(
        "modeldeployment", objects.DEPLOYMENT, lambda o: is_current(o) or is_stalled(o), SECONDS
    )
    assert is_current(served), describe(served)
    restarts = operator_restarts(system)
    start_load(plant)
    plant.kubectl.apply(
        plant.experiment(
            "later", trainer={"estimator": "sklearn.linear_model.LogisticRegression", "fixed": {"max_iter": 3000}}
        )
    )
    stop_api_server()
    time.sleep(OUTAGE_SECONDS)
    cluster("up")
    later = plant.kubectl.wait("experiment", "later", lambda o: is_current(o) or is_stalled(o), SECONDS)
    assert is_current(later), describe(later)
    ended = plant.kubectl.wait("job", "load", lambda o: bool(o.get("status", {}).get("conditions")), SECONDS)
    assert ended["status"].get("succeeded") == 1
    message = "jsonpath={.items[0].status.containerStatuses[0].state.terminated.message}"
    summary = json.loads(plant.kubectl.run("get", "pods", "-l", "job-name=load", "-o", message))
    assert summary["failed"] == 0, summary
    assert operator_restarts(system) == restarts


def start_load(plant: Plant) -> None:
    image = plant.kubectl.run(
        "get",
        "pods",
        "-l",
        f"modelcycle.dev/deployment={objects.DEPLOYMENT}",
        "-o",
        "jsonpath={.items[0].spec.containers[0].image}",
    )
    plant.kubectl.apply(*load_objects.steady("load", objects.DEPLOYMENT, image, records.rows(16), LOAD_SECONDS, 50))
    plant.kubectl.wait("job", "load", lambda o: o.get("status", {}).get("ready", 0) == 1, 60)


def operator_restarts(system: Kubectl) -> dict[str, int]:
    pods: list[dict[str, Any]] = json.loads(
        system.run("get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "json")
    )["items"]
    return {p["metadata"]["name"]: p["status"]["containerStatuses"][0]["restartCount"] for p in pods}


def stop_api_server() -> None:
    pid = int(json.loads(cluster("status", "--json"))["pids"]["apiserver"])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the API server did not stop"
        time.sleep(0.2)
