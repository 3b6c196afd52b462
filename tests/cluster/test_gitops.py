"""A Git controller that applies the same objects again and again: no write by the operator, no fight over fields, no rollout.

The loop is `kubectl apply --server-side --force-conflicts` under the field manager of Flux's kustomize-controller, much faster than Flux.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from audit import AuditLog
from canary_ground import Ground, canary, reason
from demo.kubectl import Kubectl, describe, is_current, is_stalled
from plant import SYSTEM_NAMESPACE

MANAGER = "kustomize-controller"
SMALL = {"resources": {"requests": {"cpu": "10m"}}}
"""Pods that find room on a busy node."""
KINDS = "experiments,modeldeployments,driftmonitors"
Object = Mapping[str, Any]


def sync(kubectl: Kubectl, *objects: Object) -> None:
    """One round of a Git controller."""
    text = "\n---\n".join(json.dumps(o) for o in objects)
    kubectl.run("apply", "--server-side", "--force-conflicts", f"--field-manager={MANAGER}", "-f", "-", stdin=text)


def versions(kubectl: Kubectl) -> dict[str, tuple[int, str]]:
    """Generation and resourceVersion of all our objects: equal ones mean that nobody wrote."""
    items = json.loads(kubectl.run("get", KINDS, "-o", "json"))["items"]
    return {
        f"{o['kind']}/{o['metadata']['name']}": (o["metadata"]["generation"], o["metadata"]["resourceVersion"])
        for o in items
    }


def pods(kubectl: Kubectl) -> set[str]:
    """Identities of the pods that serve."""
    items = json.loads(kubectl.run("get", "pods", "-l", "modelcycle.dev/deployment", "-o", "json"))["items"]
    return {str(pod["metadata"]["uid"]) for pod in items}


def quiet(kubectl: Kubectl) -> None:
    """Wait until nothing was written for five seconds: Events of what was reached last have landed."""
    deadline = time.monotonic() + 120
    seen, since = AuditLog(), time.monotonic()
    while time.monotonic() - since < 5:
        assert time.monotonic() < deadline, f"still written: {seen.writes({kubectl.namespace})[-1]}"
        if seen.writes({kubectl.namespace}):
            seen, since = AuditLog(), time.monotonic()
        time.sleep(0.5)


def unmoved(kubectl: Kubectl, rounds: int, again: Callable[[], None]) -> None:
    """`again` so many times, and nothing but our own no-ops happened."""
    quiet(kubectl)
    before, served, log = versions(kubectl), pods(kubectl), AuditLog()
    for _ in range(rounds):
        again()
    quiet(kubectl)
    # Other tests keep the operator busy elsewhere meanwhile: this is about the objects here and the operator's own namespace.
    assert [(e["verb"], e["objectRef"]) for e in log.writes({kubectl.namespace, SYSTEM_NAMESPACE, ""})] == []
    assert versions(kubectl) == before
    assert pods(kubectl) == served


@pytest.fixture(scope="module")
def three(shared_ground: Ground) -> Iterator[list[dict[str, Any]]]:
    """One object of each kind in Git, all of them where they should be. Windows are so long that none ends within the test."""
    plant = shared_ground.plant
    monitor: dict[str, Any] = {
        "apiVersion": "modelcycle.dev/v1alpha1",
        "kind": "DriftMonitor",
        "metadata": {"name": "git"},
        "spec": {"targetRef": {"name": "git"}, "window": {"length": "168h"}, "interval": "1h"},
    }
    objects = [
        plant.experiment(
            "usual", trainer={"estimator": "sklearn.tree.DecisionTreeClassifier", "fixed": {"max_depth": 2}}
        ),
        plant.deployment(
            "git", model=shared_ground.usual.spec, server=SMALL, strategy={"canary": {"guardWindow": "5s"}}
        ),
        monitor,
    ]
    sync(shared_ground.kubectl, *objects)
    shared_ground.kubectl.wait("experiment", "usual", is_current, 300)
    shared_ground.kubectl.wait("modeldeployment", "git", is_current, 300)
    shared_ground.kubectl.wait("driftmonitor", "git", lambda o: bool(reason(o)), 120)
    yield objects
    shared_ground.kubectl.run("delete", "driftmonitor,modeldeployment", "git", "--wait=false")


def test_samples_applied_again_and_again_cause_no_write_delivery_70(
    shared_ground: Ground, three: list[dict[str, Any]]
) -> None:
    unmoved(shared_ground.kubectl, 10, lambda: sync(shared_ground.kubectl, *three))


def test_fields_have_disjoint_owners_delivery_70(shared_ground: Ground, three: list[dict[str, Any]]) -> None:
    for kind in ("experiment", "modeldeployment", "driftmonitor"):
        name = "usual" if kind == "experiment" else "git"
        text = shared_ground.kubectl.run("get", kind, name, "--show-managed-fields", "-o", "json")
        owners = {
            m["manager"]: set(m["fieldsV1"]) - {"f:metadata"} for m in json.loads(text)["metadata"]["managedFields"]
        }
        assert owners["modelcycle-status"] == {"f:status"}
        assert {manager for manager, fields in owners.items() if "f:status" in fields} == {"modelcycle-status"}
        assert owners[MANAGER] == {"f:spec"}


def test_a_canary_in_its_pause_does_not_move_by_being_applied_again_delivery_69(shared_ground: Ground) -> None:
    steps = [{"setWeight": 5}, {"pause": {}}]
    line = shared_ground.line("paused")
    line.serve(shared_ground.usual, steps=steps, server=SMALL)
    strategy = {"canary": {"steps": steps, "guardWindow": "5s"}}
    successor = shared_ground.plant.deployment(
        "paused", model=shared_ground.equal.spec, server=SMALL, strategy=strategy
    )
    sync(shared_ground.kubectl, successor)
    there = line.wait(lambda o: reason(o) == "CanaryPaused")
    unmoved(shared_ground.kubectl, 10, lambda: sync(shared_ground.kubectl, successor))
    after = shared_ground.kubectl.get("modeldeployment", "paused") or {}
    assert canary(after) == canary(there)
    assert line.person("abort", "--reason", "seen enough").returncode == 0


def test_a_rejected_model_is_not_tried_again_in_a_hundred_syncs_delivery_71(shared_ground: Ground) -> None:
    forged = {"uri": shared_ground.usual.uri, "digest": f"sha256:{'ab' * 32}"}
    wrong = shared_ground.plant.deployment("rejected", model=forged, server=SMALL)
    sync(shared_ground.kubectl, wrong)
    stalled = shared_ground.kubectl.wait("modeldeployment", "rejected", is_stalled, 300)
    assert reason(stalled) == "DigestMismatch", describe(stalled)
    unmoved(shared_ground.kubectl, 100, lambda: sync(shared_ground.kubectl, wrong))
    sync(
        shared_ground.kubectl, shared_ground.plant.deployment("rejected", model=shared_ground.usual.spec, server=SMALL)
    )
    shared_ground.kubectl.wait("modeldeployment", "rejected", is_current, 300)


def test_a_persons_request_outlives_the_next_sync(shared_ground: Ground, three: list[dict[str, Any]]) -> None:
    done = shared_ground.line("git").person("undo")
    assert "no revision served before this one" in done.stderr, done.stdout + done.stderr
    entry = {"id": "by-hand", "verb": "Abort", "by": whoami(shared_ground.kubectl), "reason": "there is none"}
    added = json.dumps([{"op": "add", "path": "/spec/requests", "value": [entry]}])
    shared_ground.kubectl.run("patch", "modeldeployment", "git", "--type=json", "-p", added)
    answered = shared_ground.kubectl.wait("modeldeployment", "git", lambda o: bool(o["status"].get("requests")), 60)
    assert [(r["id"], r["result"]) for r in answered["status"]["requests"]] == [("by-hand", "Refused")]
    unmoved(shared_ground.kubectl, 5, lambda: sync(shared_ground.kubectl, *three))
    after = shared_ground.kubectl.get("modeldeployment", "git") or {}
    assert [r["id"] for r in after["spec"]["requests"]] == ["by-hand"]


def whoami(kubectl: Kubectl) -> str:
    return str(json.loads(kubectl.run("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"])
