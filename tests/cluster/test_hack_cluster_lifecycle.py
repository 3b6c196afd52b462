"""A cluster of our own: comes up twice the same, recovers from a crash half way, and leaves nothing behind.

Uses a second cluster beside the one that the other tests use, and looks at what the machine holds before and after.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster.paths import REPOSITORY, Paths, cache_root
from devcluster.processes import identity_of, is_running
from devcluster.remains import cgroup_roots

NAME = "lifecycle"
PATHS = Paths(cache_root(os.environ), NAME)

pytestmark = [
    pytest.mark.own_cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="a node needs root; without it CLUSTER=kind or existing is used"),
]


def cluster(*words: str) -> str:
    command = [sys.executable, "hack/cluster", *words, "--name", NAME]
    env = {**os.environ, "CLUSTER": "node"}
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def status() -> dict[str, Any]:
    command = [sys.executable, "hack/cluster", "status", "--json", "--name", NAME]
    found: dict[str, Any] = json.loads(subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True).stdout)
    return found


def kill(name: str) -> None:
    pid = status()["pids"][name]
    identity = identity_of(pid)
    assert identity is not None
    os.kill(pid, signal.SIGKILL)
    until(f"{name} ended", lambda: not is_running(identity))


def until(what: str, check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def lines(*words: str) -> list[str]:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def names_in(folder: str) -> set[str]:
    path = Path(folder)
    return {p.name for p in path.iterdir()} if path.is_dir() else set()


def traces() -> dict[str, set[str]]:
    """Everything in the kernel and outside of the state folder that belongs to this cluster."""
    marks = (f"/{NAME}/", f"/{NAME}.", f"{NAME}-host", f"{NAME}-node")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    cgroups = {str(root / NAME) for root in cgroup_roots() if (root / NAME).exists()}
    links = Path("/var/log/containers")
    logs = {p.name for p in links.iterdir() if str(PATHS.state) in os.readlink(p)} if links.is_dir() else set()
    return {
        "processes": {li for li in lines("ps", "-ewwo", "args") if str(PATHS.state) in li and "ps -ewwo" not in li},
        "mounts": {li for li in mounts if any(mark in li for mark in marks)},
        "namespaces": names_in("/run/netns") & {NAME},
        "interfaces": {li for li in lines("ip", "-o", "link") if f"{NAME}-" in li},
        "routes": {li for li in lines("ip", "route") if f"dev {NAME}-" in li},
        "cgroups": cgroups,
        "logs": logs,
        "pod networks": {n for n in names_in("/var/lib/cni/results") if n.startswith(f"modelcycle-{NAME}-")},
    }


def shared() -> dict[str, set[str]]:
    """Names in places that clusters share: another cluster's must still be there, ours must not."""
    return {
        "interfaces": {li.split(": ")[1].split("@")[0] for li in lines("ip", "-o", "link")},
        "routes": set(lines("ip", "route")),
        "namespaces": names_in("/run/netns"),
    }


@pytest.fixture(scope="module")
def before() -> Iterator[dict[str, set[str]]]:
    cluster("down", "--purge")
    yield shared()
    cluster("down", "--purge")


def node_is_ready() -> bool:
    kubectl = [str(REPOSITORY / ".venv/bin/kubectl"), f"--kubeconfig={PATHS.kubeconfig}"]
    query = ["get", "nodes", "-o", "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"]
    return subprocess.run([*kubectl, *query], capture_output=True, text=True).stdout.strip() == "True"


@pytest.mark.timeout(900)
def test_up_is_repeatable_survives_a_crash_and_down_leaves_nothing(before: dict[str, set[str]]) -> None:
    cluster("up")
    assert status()["running"]
    assert node_is_ready()
    first = status()["pids"]

    assert "is running" in cluster("up")
    assert status()["pids"] == first

    # A crash half way: the store of the control plane and the runtime die without a word, pods live on.
    for victim in ("etcd", "containerd"):
        kill(victim)
    assert not status()["running"]
    cluster("up")
    after = status()["pids"]
    assert status()["running"]
    assert {n for n in after if after[n] != first[n]} == {"etcd", "containerd"}

    held = traces()
    must_show = ("processes", "mounts", "namespaces", "interfaces", "routes", "cgroups")
    assert [kind for kind in must_show if not held[kind]] == []

    cluster("down")
    assert {kind: found for kind, found in traces().items() if found} == {}
    assert shared() == before
    assert PATHS.state.is_dir(), "the state on disk stays for the next start"

    # What was stored is there after a restart, and names resolve (`up` asks the cluster's name server).
    cluster("up")
    assert node_is_ready()
    # A crash of everything: down must also clear what died without cleaning up.
    for victim in status()["pids"]:
        kill(victim)
    cluster("down", "--purge")
    assert {kind: found for kind, found in traces().items() if found} == {}
    assert shared() == before
    assert not PATHS.state.exists()


@pytest.mark.timeout(300)
def test_a_start_that_was_killed_is_completed_by_the_next(before: dict[str, set[str]]) -> None:
    command = [sys.executable, "hack/cluster", "up", "--name", NAME]
    starting = subprocess.Popen(
        command, cwd=REPOSITORY, env={**os.environ, "CLUSTER": "node"}, stderr=subprocess.PIPE, text=True
    )
    assert starting.stderr is not None
    for line in starting.stderr:
        if "started apiserver" in line:
            break
    starting.kill()
    starting.wait()
    starting.stderr.close()
    halfway = status()["pids"]
    assert {"etcd", "apiserver"} <= halfway.keys()

    cluster("up")
    assert node_is_ready()
    assert status()["pids"]["etcd"] == halfway["etcd"], "what ran was kept"
    assert len([li for li in lines("ps", "-ewwo", "args") if f"--data-dir={PATHS.state}" in li]) == 1


def test_a_process_that_is_not_ours_is_never_stopped(before: dict[str, set[str]]) -> None:
    """A record whose process id the kernel has given to somebody else."""
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        identity = identity_of(bystander.pid)
        assert identity is not None
        cluster("up")
        cluster("down")
        PATHS.records.mkdir(parents=True, exist_ok=True)
        for name in ("etcd", "kubelet"):
            (PATHS.records / name).write_text(f"{bystander.pid} {identity.started - 1} 0123456789abcdef\n")
        cluster("down", "--purge")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
