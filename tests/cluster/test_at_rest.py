"""At rest the operator writes nothing but Leases, and stays small. Counted with the API server's audit log."""

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from demo.kubectl import Kubectl, is_current, is_stalled
from plant import ROOT, SYSTEM_NAMESPACE, Plant

OPERATOR = f"system:serviceaccount:{SYSTEM_NAMESPACE}:modelcycle-operator"
REST_SECONDS = 60.0
MEMORY_LIMIT = 150 * 1024**2


def writes(audit_log: Path, after: int, namespaces: set[str]) -> list[dict[str, Any]]:
    """The operator's own writes in these namespaces, in the audit log behind a byte offset; Leases left out."""
    with audit_log.open("rb") as file:
        file.seek(after)
        events = [json.loads(line) for line in file.read().splitlines() if line.endswith(b"}")]
    own = [e for e in events if e.get("user", {}).get("username") == OPERATOR]
    here = [e for e in own if e["objectRef"].get("namespace", "") in namespaces]
    return [e for e in here if e["objectRef"]["resource"] != "leases"]


def test_nothing_is_written_at_rest_engineering_79(system: Kubectl, plant: Plant) -> None:
    plant.kubectl.apply(
        plant.experiment("quiet"),
        plant.deployment("quiet", model={"experimentRef": {"name": "quiet"}}),
        {
            "apiVersion": "modelcycle.dev/v1alpha1",
            "kind": "DriftMonitor",
            "metadata": {"name": "quiet"},
            "spec": {"targetRef": {"name": "quiet"}},
        },
    )
    plant.kubectl.wait("experiment", "quiet", lambda o: is_current(o) or is_stalled(o), 240)
    plant.kubectl.wait("modeldeployment", "quiet", is_current, 240)
    plant.kubectl.wait("driftmonitor", "quiet", is_current, 120)
    state = json.loads(
        subprocess.run(
            [sys.executable, "hack/cluster", "status", "--json"], cwd=ROOT, capture_output=True, check=True
        ).stdout
    )
    audit_log = Path(state["audit_log"])
    time.sleep(10)  # the last effects of becoming ready (Events) land
    offset = audit_log.stat().st_size
    time.sleep(REST_SECONDS)
    # Other tests keep the operator busy elsewhere meanwhile: rest is a matter of these objects, its own namespace and the cluster's.
    seen = writes(audit_log, offset, {plant.name, SYSTEM_NAMESPACE, ""})
    assert [(e["verb"], e["objectRef"]) for e in seen] == []


def test_operator_is_small(system: Kubectl) -> None:
    with (
        system.forward("deploy/modelcycle-operator", 8082) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        lines = answer.read().decode().splitlines()
    resident = next(float(line.split()[1]) for line in lines if line.startswith("process_resident_memory_bytes "))
    assert resident < MEMORY_LIMIT
