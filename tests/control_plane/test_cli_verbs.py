"""The plugin's verbs as processes against a real API server: entries of several people and of Git live side by side."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
DIGEST = f"sha256:{'41d0c2f3':7<64}"
Kubectl = Callable[..., str]
Object = dict[str, Any]


class World:
    """A namespace with one ModelDeployment in mid-canary, whose status this test writes in the operator's place."""

    def __init__(self, kubectl: Kubectl, kubeconfig: Path, namespace: str) -> None:
        self.kubectl = kubectl
        self.kubeconfig = kubeconfig
        self.namespace = namespace

    def plugin(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "COLUMNS": "140",
        }
        command = ["kubectl", "modelcycle", *arguments, "-n", self.namespace]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)

    def apply(self, obj: Object, manager: str) -> str:
        return self.kubectl(
            "apply",
            "--server-side",
            f"--field-manager={manager}",
            "-n",
            self.namespace,
            "-f",
            "-",
            stdin=json.dumps(obj),
        )

    def answer(self, **status: Any) -> None:
        text = json.dumps({"status": status})
        self.kubectl(
            "patch",
            "modeldeployment",
            "scrap",
            "-n",
            self.namespace,
            "--subresource=status",
            "--type=merge",
            "-p",
            text,
        )

    def read(self) -> Object:
        found: Object = json.loads(self.kubectl("get", "modeldeployment", "scrap", "-n", self.namespace, "-o", "json"))
        return found

    def entries(self) -> list[tuple[str, str]]:
        return [(e["verb"], e["by"]) for e in self.read()["spec"].get("requests", [])]


@pytest.fixture
def world(kubectl: Kubectl, control_plane: Path, namespace: str) -> World:
    world = World(kubectl, control_plane, namespace)
    world.apply(in_git(), "kustomize-controller")
    status = state("canary")["status"]
    world.answer(**status)
    for user in ("anna", "ben", "carla"):
        for role in ("view", "edit", "approve"):
            name = f"{user}-{role}"
            kubectl(
                "create", "rolebinding", name, f"--clusterrole=modelcycle-{role}", f"--user={user}", "-n", namespace
            )
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "manifests" / "base" / "rbac_users.yaml"))
    return world


def state(name: str) -> Object:
    loaded: Object = yaml.safe_load((ROOT / "tests" / "states" / "modeldeployment" / f"{name}.yaml").read_text())
    return loaded


def in_git(**spec: Any) -> Object:
    """What Git holds: no requests."""
    obj = state("canary")
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "metadata": {"name": "scrap"},
        "spec": {**obj["spec"], **spec},
    }


def test_two_approvals_at_once_are_both_kept_delivery_65(world: World) -> None:
    def approve(user: str) -> subprocess.CompletedProcess[str]:
        return world.plugin("approve", "scrap", "--as", user, "--wait", "0")

    users = ["anna", "ben", "carla"]
    with ThreadPoolExecutor(len(users)) as together:
        done = list(together.map(approve, users))
    assert [d.returncode for d in done] == [0, 0, 0], [d.stderr for d in done]
    assert sorted(world.entries()) == [("Approve", user) for user in users]
    assert {e["digest"] for e in world.read()["spec"]["requests"]} == {DIGEST}


def test_git_applies_its_spec_and_nobodys_entry_is_lost_delivery_70(world: World) -> None:
    assert world.plugin("abort", "scrap", "--as", "anna", "--reason", "odd scores", "--wait", "0").returncode == 0
    generation = world.read()["metadata"]["generation"]
    for _ in range(3):
        world.apply(in_git(), "kustomize-controller")
    assert world.read()["metadata"]["generation"] == generation
    world.apply(in_git(progressDeadlineSeconds=900), "kustomize-controller")
    assert world.entries() == [("Abort", "anna")]
    assert world.read()["spec"]["progressDeadlineSeconds"] == 900


def test_git_takes_its_own_entry_away_although_people_wrote_meanwhile(world: World) -> None:
    flux = {"id": "git-1", "verb": "Promote", "digest": DIGEST, "by": "flux"}
    world.apply(in_git(requests=[flux]), "kustomize-controller")
    assert world.plugin("abort", "scrap", "--as", "anna", "--wait", "0").returncode == 0
    assert world.entries() == [("Promote", "flux"), ("Abort", "anna")]
    world.apply(in_git(), "kustomize-controller")
    assert world.entries() == [("Abort", "anna")]


APPLIES = {
    "kubectl": (),
    "kubectl --server-side": ("--server-side",),
    "Argo CD": ("--field-manager=argocd-controller",),
    "Flux": ("--server-side", "--force-conflicts", "--field-manager=kustomize-controller"),
}
"""How those who apply a whole object do it: kubectl and Argo CD on the client side by default."""
VERBS = ("promote", "promote --full --reason known", "abort", "retry", "approve")
SPEC = {"server": {"replicas": 2}, "strategy": {"canary": {"guardWindow": "45s"}}}


class Applied(World):
    """A ModelDeployment that somebody applies whole, with something for every verb to be about."""

    def __init__(self, kubectl: Kubectl, kubeconfig: Path, namespace: str, how: tuple[str, ...]) -> None:
        super().__init__(kubectl, kubeconfig, namespace)
        self.how = how
        self.spec: Object = {**SPEC, "model": state("canary")["spec"]["model"], "progressDeadlineSeconds": 700}
        self.apply_whole()
        self.answer(**{**state("canary")["status"], "rejected": state("rejected")["status"]["rejected"]})

    def apply_whole(self, **changes: Any) -> None:
        self.spec = {name: value for name, value in {**self.spec, **changes}.items() if value is not None}
        obj = {**in_git(), "spec": self.spec}
        self.kubectl("apply", *self.how, "-n", self.namespace, "-f", "-", stdin=json.dumps(obj))

    def verb(self, words: str) -> None:
        """One verb, and the operator's answer to it."""
        done = self.plugin(*words.split(), "scrap", "--wait", "0")
        assert done.returncode == 0, f"{words}: {done.stderr}"
        executed = self.read()["status"].get("requests", [])
        new = [e for e in self.read()["spec"]["requests"] if e["id"] not in {x["id"] for x in executed}]
        assert len(new) == 1
        ended = {"at": "2026-11-25T08:00:00Z", "result": "Executed", "message": "done"}
        self.answer(requests=[*executed, {**new[0], **ended}])

    def holds(self) -> None:
        """The spec is what was applied, with the schema's defaults, and one request beside it."""
        spec = self.read()["spec"]
        assert len(spec.pop("requests")) == 1
        assert spec["model"] == self.spec["model"]
        assert spec["server"]["replicas"] == self.spec["server"]["replicas"]
        assert spec["strategy"]["canary"]["guardWindow"] == self.spec["strategy"]["canary"]["guardWindow"]
        assert spec["progressDeadlineSeconds"] == self.spec.get("progressDeadlineSeconds", 600)


@pytest.mark.parametrize("how", APPLIES.values(), ids=APPLIES)
def test_every_verb_twice_leaves_the_rest_of_the_spec(
    kubectl: Kubectl, control_plane: Path, namespace: str, how: tuple[str, ...]
) -> None:
    world = Applied(kubectl, control_plane, namespace, how)
    for words in VERBS * 2:
        world.verb(words)
        world.holds()
    world.apply_whole(model={**world.spec["model"], "digest": f"sha256:{'5' * 64}"}, progressDeadlineSeconds=None)
    world.holds()
    world.verb("abort")
    world.holds()


@pytest.mark.parametrize("how", [APPLIES["kubectl"], APPLIES["Argo CD"]], ids=["kubectl", "Argo CD"])
def test_an_object_whose_spec_an_earlier_plugin_took_over_heals_with_the_next_verb(
    kubectl: Kubectl, control_plane: Path, namespace: str, how: tuple[str, ...]
) -> None:
    world = Applied(kubectl, control_plane, namespace, how)
    entry = {"id": "a", "verb": "Abort", "digest": DIGEST, "by": json.loads(whoami(kubectl))}
    taken = {**in_git(), "spec": {"requests": [entry]}}
    options = ("--server-side", "--force-conflicts", "--field-manager=modelcycle-cli")
    kubectl("apply", *options, "-n", namespace, "-f", "-", stdin=json.dumps(taken))
    managers = {m["manager"]: m["fieldsV1"] for m in managed(world)}
    assert "f:model" in managers["modelcycle-cli"]["f:spec"], "the apply took nothing over: this test shows nothing"
    world.answer(requests=[{**entry, "at": "2026-11-25T08:00:00Z", "result": "Executed", "message": "done"}])
    for words in VERBS:
        world.verb(words)
        world.holds()
    # Who applies can take a field away again, on either side.
    world.apply_whole(progressDeadlineSeconds=None)
    world.holds()
    world.apply_whole(progressDeadlineSeconds=800)
    world.how = ("--server-side",)
    world.apply_whole()
    world.apply_whole(progressDeadlineSeconds=None)
    world.holds()


def managed(world: World) -> list[Object]:
    how = ("get", "modeldeployment", "scrap", "-n", world.namespace, "--show-managed-fields", "-o", "json")
    found: list[Object] = json.loads(world.kubectl(*how))["metadata"]["managedFields"]
    return [m for m in found if "subresource" not in m]


def whoami(kubectl: Kubectl) -> str:
    return kubectl("auth", "whoami", "-o", 'jsonpath="{.status.userInfo.username}"')


def test_the_same_wish_twice_is_one_entry(world: World) -> None:
    for _ in range(2):
        done = world.plugin("promote", "scrap", "--as", "anna", "--wait", "0")
        assert done.returncode == 0
    assert "was asked for by anna already" in done.stdout
    assert world.entries() == [("Promote", "anna")]


def test_executed_entries_go_with_the_next_one(world: World) -> None:
    world.plugin("promote", "scrap", "--as", "anna", "--wait", "0")
    (entry,) = world.read()["spec"]["requests"]
    world.answer(
        requests=[{**entry, "at": "2026-11-25T08:00:00Z", "result": "Executed", "message": "step 2 of 4 was ended"}]
    )
    assert world.plugin("abort", "scrap", "--as", "ben", "--wait", "0").returncode == 0
    assert world.entries() == [("Abort", "ben")]


@pytest.mark.parametrize(("result", "code", "words"), [("Executed", 0, "executed"), ("Refused", 1, "refused")])
def test_the_operators_answer_is_waited_for(world: World, result: str, code: int, words: str) -> None:
    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(world.plugin, "promote", "scrap", "--as", "anna", "--wait", "60")
        while not world.entries():
            assert not asked.done(), asked.result().stderr
        (entry,) = world.read()["spec"]["requests"]
        world.answer(requests=[{**entry, "at": "2026-11-25T08:00:00Z", "result": result, "message": "step 2 of 4"}])
        done = asked.result()
    assert (done.returncode, done.stdout.strip().rpartition("by anna: ")[2]) == (code, f"{words}: step 2 of 4")


def test_a_dry_run_asks_the_api_server_and_writes_nothing(world: World) -> None:
    done = world.plugin("promote", "scrap", "--as", "anna", "--dry-run")
    assert (done.returncode, world.entries()) == (0, [])
    assert "would be taken (dry run: nothing was written)" in done.stdout


def test_json_holds_the_entry(world: World) -> None:
    done = world.plugin("abort", "scrap", "--as", "anna", "--reason", "odd scores", "--wait", "0", "-o", "json")
    said = json.loads(done.stdout)
    (entry,) = world.read()["spec"]["requests"]
    assert entry == {name: said[name] for name in ("id", "verb", "digest", "by", "reason")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["promote", "scrapp"], "no ModelDeployment scrapp in namespace"),
        (["promote", "scrapp"], "there are scrap (-n names another)"),
        (["promote", "scrap", "--full"], "say why with --reason"),
        (["approve", "scrap", "--digest", "deadbeef"], "Approve is possible for 41d0c2f3 only"),
        (["retry", "scrap"], "nothing is rejected: scrap is CanaryInProgress"),
        (["abort", "scrap", "--as", "dora"], 'User "dora" cannot'),
        (["explain", "pod/scrap"], "pod is none of modeldeployment, experiment, driftmonitor"),
        (["explain", "nothing"], "no modeldeployment or experiment or driftmonitor nothing in namespace"),
    ],
)
def test_errors_say_what_is_wrong(world: World, arguments: list[str], words: str) -> None:
    done = world.plugin(*arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert world.entries() == []


def test_status_and_explain_read_the_cluster(world: World) -> None:
    table = world.plugin("status")
    assert (table.returncode, "CanaryInProgress" in table.stdout) == (0, True)
    listed = json.loads(world.plugin("status", "-o", "json").stdout)
    assert [d["common"]["name"] for d in listed["deployments"]] == ["scrap"]
    assert "setWeight 5 | >analysis<" in world.plugin("explain", "mdep/scrap").stdout
    (explained,) = json.loads(world.plugin("explain", "scrap", "-o", "json").stdout)
    assert explained["title"].startswith(f"ModelDeployment {world.namespace}/scrap")


def test_keygen_keeps_the_trust_of_namespaces_that_an_admin_applied(world: World) -> None:
    trust = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "modelcycle-trust", "namespace": world.namespace},
        "data": {"plant-8": "a key", "plant-9": "another"},
    }
    world.kubectl("apply", "-f", "-", stdin=json.dumps(trust))
    for secret in ("first", "second"):
        done = world.plugin("keygen", "--secret", secret, "--operator-namespace", world.namespace)
        assert done.returncode == 0, done.stderr
    found = json.loads(
        world.kubectl("get", "configmap", "modelcycle-trust", "-n", world.namespace, "-o", "jsonpath={.data}")
    )
    assert {name: found[name] for name in ("plant-8", "plant-9")} == trust["data"]
    assert found[world.namespace].count("BEGIN PUBLIC KEY") == 2
