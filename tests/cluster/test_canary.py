"""Rollouts on the real thing: equal models replace one another and go back, one that fails is taken back, people decide, two operators
count once.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from canary_ground import RATE, Ground, Line, Steps, canary, counted, eventually, reason, rejections
from demo.kubectl import Kubectl, describe, is_current, is_stalled
from demo.traffic import moments

pytestmark = pytest.mark.timeout(900)
HELD: Steps = ({"setWeight": 50}, {"pause": {}}, {"analysis": {}})


class Reapplied:
    """Applies the same object again at every look, as GitOps tools do, and keeps what must never begin anew."""

    def __init__(self, line: Line, model: Any) -> None:
        self.line, self.model = line, model
        self.times = 0
        self.rollouts: set[tuple[str, str]] = set()
        self.generations: set[int] = set()
        self.pods: set[str] = set()

    def __call__(self, obj: dict[str, Any]) -> None:
        self.line.ask(self.model)
        self.times += 1
        self.generations.add(obj["metadata"]["generation"])
        if canary(obj):
            self.rollouts.add((canary(obj)["rollout"], canary(obj)["startedAt"]))
        revision = canary(obj).get("revision") or obj["status"]["stable"]["revision"]
        self.pods |= {pod["metadata"]["uid"] for pod in self.line.pods(revision)}


def test_equal_models_replace_one_another_while_git_reapplies_delivery_2_monitoring_28(ground: Ground) -> None:
    """Two A/A rollouts with cold pods: neither is taken back, no request is lost, no pod is rebuilt, re-applying begins nothing."""
    line = ground.serving("equal", replicas=2)
    line.load()
    for model in (ground.equal, ground.usual):
        line.ask(model)
        line.wait(lambda o, digest=model.digest: canary(o).get("digest") == digest)  # type: ignore[misc]
        reapplied = Reapplied(line, model)
        done = line.ended(each=reapplied)
        assert is_current(done), describe(done)
        assert done["status"]["stable"]["digest"] == model.digest
        assert done["status"]["history"][-1]["reason"] == "Evidence"
        assert reapplied.times > 3
        assert (len(reapplied.rollouts), len(reapplied.generations), len(reapplied.pods)) == (1, 1, line.replicas)
    policies = ground.kubectl.run("get", "validatingadmissionpolicybindings", "-o", "name")
    assert "modelcycle-pods" in policies
    everything, _ = line.clients.stop()
    assert everything.failed == 0, everything
    assert len(everything.by_model) == 2


def test_model_that_fails_every_request_is_taken_back_and_no_user_sees_it_delivery_44(ground: Ground) -> None:
    line, broken = ground.serving("failing"), ground.broken
    line.load()
    line.ask(broken)
    done = line.ended()
    assert is_stalled(done), describe(done)
    assert rejections(done)[broken.digest] in ("CanaryFailFast", "CanaryFailed")
    assert done["status"]["stable"]["digest"] == ground.usual.digest
    rollout = done["status"]["analysis"]["rollout"]
    eventually(lambda: moments(line.clients.sightings(), rollout) is not None, "a share of 0 at every pod")
    seen = moments(line.clients.sightings(), rollout)
    assert seen is not None
    everything, _ = line.clients.stop()
    assert everything.failed == 0, everything
    arm = done["status"]["analysis"]["metrics"][0]["canary"]
    assert arm["events"] == arm["n"] >= 8
    print(f"first failing answer to share 0: {seen.share_zero - seen.first_bad:.1f} s")


def test_people_approve_abort_retry_and_promote_delivery_62_65_71(ground: Ground) -> None:
    """`kubectl modelcycle` under the names of two people: ada may approve, bob may only edit."""
    line = ground.serving("asked")
    for who, role in (("ada", "edit"), ("bob", "edit"), ("ada", "modelcycle-approve")):
        ground.kubectl.run("create", "rolebinding", f"{who}-{role}", f"--clusterrole={role}", f"--user={who}")
    line.ask(ground.equal, steps=HELD, approval={"required": True})
    held = line.wait(lambda o: reason(o) == "AwaitingApproval")
    assert held["status"]["canary"]["weight"]["desired"] == "0"
    refused = line.person("approve", "--as", "bob")
    assert (refused.returncode, "needs the verb approve" in refused.stderr) == (1, True), refused.stderr
    assert reason(line.wait(lambda o: bool(canary(o)))) == "AwaitingApproval"
    assert line.person("approve", "--as", "ada", "--digest", ground.equal.digest[7:15]).returncode == 0
    paused = line.wait(lambda o: reason(o) == "CanaryPaused")
    assert paused["status"]["canary"]["weight"]["desired"] == "50"
    assert line.person("abort", "--as", "bob", "--reason", "odd").returncode == 0
    done = line.ended()
    assert (reason(done), done["status"]["stable"]["digest"]) == ("Aborted", ground.usual.digest)
    assert line.person("retry", "--as", "ada").returncode == 0
    line.wait(lambda o: reason(o) == "AwaitingApproval")
    assert line.person("approve", "--as", "ada").returncode == 0
    line.wait(lambda o: reason(o) == "CanaryPaused")
    assert line.person("promote", "--full", "--as", "ada", "--reason", "known good").returncode == 0
    done = line.ended()
    assert is_current(done), describe(done)
    assert done["status"]["stable"]["digest"] == ground.equal.digest
    record = [(entry["verb"], entry["by"], entry["result"]) for entry in done["status"]["requests"]]
    assert record == [
        ("Approve", "ada", "Executed"),
        ("Abort", "bob", "Executed"),
        ("Retry", "ada", "Executed"),
        ("Approve", "ada", "Executed"),
        ("PromoteFull", "ada", "Executed"),
    ]


def test_going_back_within_the_guard_window_builds_no_pod_and_waits_for_no_evidence_delivery_2(ground: Ground) -> None:
    """The mirror of a promotion: while its pods still hand everything on, the old revision is asked for again."""
    line = ground.serving("back", replicas=2)
    line.load()
    line.ask(ground.equal, steps=(), guard="10m")
    guarded = line.wait(lambda o: reason(o) == "GuardWindow" and "movedAt" in o["status"]["retiring"])
    old, new = (line.pods(guarded["status"][role]["revision"]) for role in ("retiring", "stable"))
    assert [line.page(pod["metadata"]["name"]).share for pod in old] == [1.0] * line.replicas
    line.turn("going back")
    line.ask(ground.usual)
    done = line.ended()
    assert is_current(done), describe(done)
    assert done["status"]["stable"]["digest"] == ground.usual.digest
    assert [entry["reason"] for entry in done["status"]["history"][-2:]] == ["Ready", "Returned"]
    assert _unbuilt(line.pods(done["status"]["stable"]["revision"])) == _unbuilt(old)
    eventually(lambda: not line.pods(guarded["status"]["stable"]["revision"]), "no pod of the other revision is left")
    names = [pod["metadata"]["name"] for pod in old]
    # The kubelet gives pods their annotation when it comes to it.
    eventually(lambda: not any(line.page(name).share for name in names), "pods of what serves hand nothing on")
    everything, phases = line.clients.stop()
    assert everything.failed == 0, everything
    assert len(phases["begin"].by_model) == len(phases["going back"].by_model) == len(new) == 2


def _unbuilt(pods: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Restarts of the containers by uid of the pod: equal as long as nothing was built again."""
    return {p["metadata"]["uid"]: sum(c["restartCount"] for c in p["status"]["containerStatuses"]) for p in pods}


@contextmanager
def second_operator(system: Kubectl, namespace: str) -> Iterator[str]:
    """Another operator without a Lease that works in one namespace, beside the one that works everywhere; its pod's name."""
    template = (system.get("deployment", "modelcycle-operator") or {})["spec"]["template"]["spec"]
    name = f"operator-{namespace}"
    template["containers"][0]["env"].append({"name": "MODELCYCLE_WATCH_NAMESPACE", "value": namespace})
    labels = {"app.kubernetes.io/name": "modelcycle", "app.kubernetes.io/component": "second-operator"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": template}
    system.apply(pod)
    try:
        system.run("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=180s")
        yield name
    finally:
        system.run("delete", "pod", name, "--grace-period=0", "--force")


def test_two_operators_count_every_answer_once_delivery_38(system: Kubectl, ground: Ground) -> None:
    line = ground.serving("doubled")
    with second_operator(system, ground.kubectl.namespace) as name:
        line.load()
        line.ask(ground.equal, steps=HELD)
        seen = line.wait(lambda o: counted(o)[1] >= 5 * RATE)
        place = seen["status"]["stable"]["revision"], seen["status"]["analysis"]["rollout"]
        before = line.answers(*place)
        seen = line.wait(lambda o: counted(o)[1] >= before)
        assert counted(seen)[1] <= line.answers(*place)
        assert (reason(seen), seen["status"]["canary"]["weight"]["desired"]) == ("CanaryPaused", "50")
        assert line.person("promote").returncode == 0
        done = line.ended()
        assert is_current(done), describe(done)
        assert done["status"]["stable"]["digest"] == ground.equal.digest
        assert len(done["status"]["history"]) == 2
        assert [entry["result"] for entry in done["status"]["requests"]] == ["Executed"]
        assert _writes(system, name) > 0
    everything, _ = line.clients.stop()
    assert everything.failed == 0, everything


def _writes(system: Kubectl, operator: str) -> float:
    """Server-side applies of an operator that the API server took."""
    page = system.run("get", "--raw", f"/api/v1/namespaces/{system.namespace}/pods/{operator}:8082/proxy/metrics")
    requests = [line for line in page.splitlines() if line.startswith("modelcycle_operator_api_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in requests if '"PATCH"' in line and '"200"' in line)
