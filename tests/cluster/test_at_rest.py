"""At rest the operator writes nothing but Leases, and stays small. Counted with the API server's audit log."""

import time
import urllib.request

from audit import AuditLog
from demo.kubectl import Kubectl, is_current, is_stalled
from plant import SYSTEM_NAMESPACE, Plant

REST_SECONDS = 60.0
MEMORY_LIMIT = 150 * 1024**2


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
    time.sleep(10)  # the last effects of becoming ready (Events) land
    log = AuditLog()
    time.sleep(REST_SECONDS)
    # Other tests keep the operator busy elsewhere meanwhile: rest is a matter of these objects, its own namespace and the cluster's.
    seen = log.writes({plant.name, SYSTEM_NAMESPACE, ""})
    assert [(e["verb"], e["objectRef"]) for e in seen] == []


def test_operator_is_small(system: Kubectl) -> None:
    with (
        system.forward("deploy/modelcycle-operator", 8082) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        lines = answer.read().decode().splitlines()
    resident = next(float(line.split()[1]) for line in lines if line.startswith("process_resident_memory_bytes "))
    assert resident < MEMORY_LIMIT
