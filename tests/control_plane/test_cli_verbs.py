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
