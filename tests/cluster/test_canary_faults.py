"""What goes wrong in mid-canary on the real thing: pods that hang, crash, find no node, refuse, are killed. Users get their answers."""

import csv
import io
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

from canary_ground import (
    CONNECTIONS,
    ROWS,
    STEPS,
    Ground,
    Line,
    Steps,
    canary,
    counted,
    eventually,
    reason,
    rejections,
)
from demo import records
from demo.kubectl import condition, describe, is_current, is_stalled
from modelcycle.deployment.world import SERVER_CONTAINER
from pod_mutations import pod_mutation
from processes import servers_of
from sealed_models import Model, published

pytestmark = pytest.mark.timeout(900)
HELD: Steps = ({"setWeight": 50}, {"pause": {}})
SLOWLY: Steps = ({"setWeight": 50}, {"pause": {"duration": "10s"}}, {"analysis": {}})
STEP_BY_STEP: Steps = (
    {"setWeight": 10},
    {"pause": {}},
    {"setWeight": 50},
    {"pause": {}},
    {"setWeight": 30},
    {"pause": {}},
)
NEW_SENSOR = "new_sensor"
PATIENT = {"interval": "1s"}
"""Evidence that is not there before the test is over."""


@pytest.fixture
def wider(ground: Ground) -> str:
    """An Experiment on the records with one more measurement, whose model is awaited when it is needed."""
    names, *rows = csv.reader(io.StringIO(records.as_csv().decode()))
    table = "\n".join(",".join(row) for row in ([NEW_SENSOR, *names], *([row[0], *row] for row in rows)))
    data = {"uri": ground.plant.put("wider.csv", table.encode())}
    ground.kubectl.apply(ground.plant.experiment("wider", data=data))
    return "wider"


@contextmanager
def stopped(pod_uid: str) -> Iterator[None]:
    """A pod's server neither answers nor ends, for the length of the block."""
    pids = servers_of(pod_uid)
    assert pids, "no server process of the pod is seen from here"
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def sharing(line: Line, model: Model, weight: str) -> dict[str, Any]:
    """The ModelDeployment when this model's canary has this share at the pods."""
    return line.wait(
        lambda o: (
            canary(o).get("digest") == model.digest
            and canary(o)["weight"]["desired"] == canary(o)["weight"]["applied"] == weight
        )
    )


def uid_of_canary(line: Line) -> str:
    (pod,) = line.pods(canary(line.wait(lambda o: bool(canary(o))))["revision"])
    return str(pod["metadata"]["uid"])


def test_canary_that_is_gone_hangs_or_dies_is_answered_for_by_stable_delivery_44_48(ground: Ground) -> None:
    line = ground.serving("hanging")
    line.load()
    line.ask(ground.equal, steps=HELD, analysis=PATIENT)
    revision = canary(sharing(line, ground.equal, "50"))["revision"]
    # Its only pod is evicted: nobody answers until there is another one, and that says nothing of the model.
    (evicted,) = line.pods(revision)
    ground.kubectl.run("delete", "pod", evicted["metadata"]["name"], "--wait=false")
    before = counted(line.wait(lambda o: is_stalled(o) or ready(line, revision) == 1))[0]
    seen = line.wait(lambda o: is_stalled(o) or (reason(o) == "CanaryPaused" and counted(o)[0] > before + 40))
    assert not is_stalled(seen), describe(seen)
    with stopped(uid_of_canary(line)):
        done = line.ended()
        assert is_stalled(done), describe(done)
        assert rejections(done)[ground.equal.digest] in ("CanaryFailFast", "CanaryFailed")
    line.ask(ground.equal, steps=SLOWLY)
    assert line.person("retry").returncode == 0
    sharing(line, ground.equal, "50")
    for pid in servers_of(uid_of_canary(line)):
        os.kill(pid, signal.SIGKILL)
    # Killed once it may be Ready again before too many answers are missing: either end is right, as long as nobody notices.
    done = line.ended()
    serving = ground.equal if is_current(done) else ground.usual
    assert done["status"]["stable"]["digest"] == serving.digest
    everything, _ = line.clients.stop()
    assert everything.failed == 0, everything


def test_canary_that_crashes_again_and_again_is_taken_back_delivery_44(ground: Ground) -> None:
    """Without any traffic: nothing but the kubelet's word."""
    line = ground.serving("crashing")
    line.ask(ground.equal)
    sharing(line, ground.equal, "50")
    uid = uid_of_canary(line)
    killed: set[int] = set()

    def kill(obj: object) -> None:
        for pid in set(servers_of(uid)) - killed:
            killed.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    done = line.ended(each=kill)
    assert is_stalled(done), describe(done)
    assert rejections(done) == {ground.equal.digest: "CanaryCrashed"}
    assert condition(done, "Available")["status"] == "True"
    eventually(lambda: not line.pods(done["status"]["rejected"][-1]["revision"]), "no pod of the canary is left")


def test_canary_that_cannot_be_compared_gets_no_request(wider: str, ground: Ground) -> None:
    """More inputs than stable's; and no node for it."""
    line = ground.serving("unfit")
    line.load()
    other = published(ground.kubectl, wider)
    line.ask(other)
    done = line.ended()
    assert is_stalled(done), describe(done)
    assert rejections(done) == {other.digest: "IncompatibleSignature"}
    assert f'it needs "{NEW_SENSOR}", which stable does not take' in describe(done)
    huge = {"replicas": 1, "resources": {"requests": {"cpu": "1000"}}}
    line.ask(ground.equal, server=huge)
    waiting = line.wait(lambda o: reason(o) == "Unschedulable")
    assert waiting["status"]["canary"]["weight"]["desired"] == "0"
    line.ask(ground.equal, server=huge, progressDeadlineSeconds=10)
    done = line.ended()
    assert is_stalled(done), describe(done)
    assert rejections(done)[ground.equal.digest] == "ProgressDeadlineExceeded"
    everything, _ = line.clients.stop()
    assert everything.failed == 0, everything
    assert len(everything.by_model) == 1


RANGE_CHECK = """
from modelcycle_serving import oip
parse = oip.parse_infer
def checked(*given):
    asked = parse(*given)
    if (asked.rows[:, 0] > {limit}).any():
        raise oip.BadInput("inputs", "the first measurement is out of range")
    return asked
oip.parse_infer = checked
"""
"""A server of somebody's own: says that it takes the inputs that stable takes, and answers 400 where a value seems too large to it."""


INJECTION = """
Object{{spec: Object.spec{{
  containers: [Object.spec.containers{{
    name: "{container}",
    env: [Object.spec.containers.env{{name: "PYTHONPATH", value: "/{name}:/app/src"}}],
    volumeMounts: [Object.spec.containers.volumeMounts{{name: "{name}", mountPath: "/{name}"}}]
  }}],
  volumes: [Object.spec.volumes{{name: "{name}", configMap: Object.spec.volumes.configMap{{name: "{name}"}}}}]
}}}}
"""


@contextmanager
def check_ranges(line: Line, revision: str, limit: float) -> Iterator[None]:
    """Have new pods of a revision run such a server, as a platform that injects into pods would; its pods are replaced by such ones."""
    kubectl = line.kubectl
    name = f"range-check-{kubectl.namespace}"
    program = {"sitecustomize.py": RANGE_CHECK.format(limit=limit)}
    kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": program})
    injection = {"expression": INJECTION.format(name=name, container=SERVER_CONTAINER)}
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": injection}
    revised = f"object.metadata.?labels[?'modelcycle.dev/revision'].orValue('') == '{revision}'"
    policy = pod_mutation(name, kubectl.namespace, {"of-the-revision": revised}, mutation)
    kubectl.run("apply", "-f", "-", stdin=policy)

    def injected() -> bool:
        """A policy acts a moment after its creation: pods are replaced until all of them carry what it adds."""
        plain = [pod for pod in line.pods(revision) if not any(v["name"] == name for v in pod["spec"]["volumes"])]
        for pod in plain:
            kubectl.run("delete", "pod", pod["metadata"]["name"], "--wait=true")
        ready = [c for pod in line.pods(revision) for c in pod["status"].get("conditions", ()) if c["type"] == "Ready"]
        return not plain and bool(ready) and all(c["status"] == "True" for c in ready)

    try:
        eventually(injected, "the canary's pods run the server that checks ranges")
        yield
    finally:
        kubectl.run("delete", "-f", "-", stdin=policy)


def test_canary_that_answers_400_to_what_stable_answers_is_incompatible_delivery_44(ground: Ground) -> None:
    """On paper it takes what stable takes, so nothing but its answers to real requests can tell."""
    line = ground.serving("refusing")
    line.load()
    line.ask(ground.equal, steps=({"pause": {}}, *STEPS))
    paused = line.wait(lambda o: is_stalled(o) or reason(o) == "CanaryPaused")
    assert not is_stalled(paused), describe(paused)
    asked = records.usual().inputs[:ROWS, 0]
    with check_ranges(line, canary(paused)["revision"], float(np.quantile(asked, 0.75))):
        assert line.person("promote").returncode == 0
        done = line.ended()
    assert is_stalled(done), describe(done)
    assert rejections(done) == {ground.equal.digest: "IncompatibleSignature"}
    assert "refuses" in describe(done)
    arms = done["status"]["analysis"]["metrics"][0]
    assert arms["canary"]["n"] > arms["canary"]["events"] > 0 == arms["stable"]["events"]
    selector = f"reason=IncompatibleSignature,regarding.name={line.name}"
    eventually(
        lambda: "Warning" in ground.kubectl.run("get", "events.events.k8s.io", "--field-selector", selector), "an Event"
    )
    everything, _ = line.clients.stop()
    assert everything.failed == 0, everything


def test_stable_pods_that_are_killed_end_or_freeze_lose_no_more_than_they_held_delivery_48(ground: Ground) -> None:
    line = ground.serving("churning", replicas=2)
    line.load()
    line.ask(ground.equal, steps=STEP_BY_STEP, analysis=PATIENT)
    seen = sharing(line, ground.equal, "10")
    line.wait(lambda o: counted(o)[0] > 0)
    revision = seen["status"]["stable"]["revision"]
    line.turn("killed")
    lost = line.pods(revision)[0]["metadata"]
    ground.kubectl.run("delete", "pod", lost["name"], "--grace-period=0", "--force")
    # The API server forgets it at once, the kubelet kills it when it comes to it.
    eventually(lambda: not servers_of(lost["uid"]), "the pod's server is gone")
    eventually(lambda: ready(line, revision) == 2, "two Ready pods of stable")
    line.turn("ending")
    ending = line.pods(revision)[0]["metadata"]["name"]
    ground.kubectl.run("delete", "pod", ending, "--wait=false")
    assert line.person("promote").returncode == 0
    sharing(line, ground.equal, "50")
    eventually(lambda: ready(line, revision) == 2, "two Ready pods of stable")
    line.turn("frozen")
    frozen, other = (pod["metadata"] for pod in line.pods(revision))
    with stopped(frozen["uid"]):
        assert line.person("promote").returncode == 0
        line.wait(lambda o: canary(o).get("step") == len(STEP_BY_STEP) - 1)
        assert line.page(other["name"]).share == 0.3
        line.turn("without it")
        before = counted(line.wait(bool))[1]
        line.wait(lambda o: counted(o)[1] > before)
        assert line.person("abort").returncode == 0
        done = line.ended()
        assert reason(done) == "Aborted"
        eventually(lambda: line.page(other["name"]).share == 0, "the pod that answers hands nothing on")
    line.turn("after")
    eventually(lambda: line.page(frozen["name"]).share == 0, "the pod that was frozen hears of it")
    everything, phases = line.clients.stop()
    assert counted(done)[1] <= everything.requests
    lost_requests = {name: phase.failed for name, phase in phases.items() if phase.failed}
    assert set(lost_requests) <= {"killed", "frozen"}, everything
    assert lost_requests.get("killed", 0) <= CONNECTIONS
    assert lost_requests.get("frozen", 0) <= 2 * CONNECTIONS


def ready(line: Line, revision: str) -> int:
    """Pods of a revision that are Ready and not ending."""
    conditions = [{c["type"]: c["status"] for c in pod["status"].get("conditions", ())} for pod in line.pods(revision)]
    return sum(each.get("Ready") == "True" for each in conditions)
