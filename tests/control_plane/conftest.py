"""A real control plane for the tests of this folder: etcd, API server and controller manager, no node.

Owns its start and its end: one control plane for all xdist workers, started by the first that needs it, stopped by the last that leaves.
`MODELCYCLE_TEST_KUBECONFIG` names a running one instead (any cluster where this kubeconfig is admin).
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from conformance.world import eventually
from modelcycle.kube.client import RestKube
from modelcycle.kube.errors import ApiError
from modelcycle.kube.kinds import NAMESPACE, Kind
from modelcycle.kube.transport import Transport, login

ROOT = Path(__file__).resolve().parents[2]
NAME = "cp-test"
GIVEN = os.environ.get("MODELCYCLE_TEST_KUBECONFIG")
SERVICE_ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount")

Kubectl = Callable[..., str]
"""Runs kubectl with these arguments against the control plane; `stdin` feeds `-f -`. Raises CalledProcessError with stderr."""


def cluster(*arguments: str) -> str:
    """Run `hack/cluster`; its output. Raises RuntimeError with the end of the output when it fails."""
    command = [sys.executable, str(ROOT / "hack" / "cluster"), *arguments, "--name", NAME]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def run_kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> str:
    """See Kubectl."""
    program = Path(sys.executable).parent / "kubectl"
    command = [str(program) if program.exists() else "kubectl", *arguments]
    env = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    done = subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        error.add_note(done.stderr)
        raise error
    return done.stdout


@contextlib.contextmanager
def _shared(directory: Path) -> Iterator[Path]:
    """Exclusive access to the file that counts who uses the control plane."""
    with (directory / "control-plane.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory / "control-plane.users"


def _count(users: Path, change: int) -> int:
    number = (int(users.read_text()) if users.exists() else 0) + change
    users.write_text(str(number))
    return number


def _apply_crds(kubeconfig: Path) -> None:
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        if path.name != "kustomization.yaml":
            run_kubectl(kubeconfig, "apply", "--server-side", "--force-conflicts", "-f", str(path))


def _kubeconfig() -> Path:
    return Path(json.loads(cluster("status", "--json"))["kubeconfig"])


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a running control plane with our CRDs."""
    if GIVEN:
        _apply_crds(Path(GIVEN))
        yield Path(GIVEN)
        return
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with _shared(shared) as users:
        if _count(users, +1) == 1:
            cluster("up", "--control-plane-only")
            _apply_crds(_kubeconfig())
    try:
        yield _kubeconfig()
    finally:
        with _shared(shared) as users:
            if _count(users, -1) == 0:
                cluster("down")


@pytest.fixture
async def rest_kube(control_plane: Path) -> AsyncIterator[RestKube]:
    """The real client as cluster admin."""
    transport = Transport(await login({"KUBECONFIG": str(control_plane)}))
    yield RestKube(transport)
    await transport.close()


@pytest.fixture
async def namespace(rest_kube: RestKube) -> AsyncIterator[str]:
    """A namespace of this test alone, with its default service account; deleted in the background."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    made = await rest_kube.create(NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    async def usable() -> bool:
        return await rest_kube.get(SERVICE_ACCOUNT, name, "default") is not None

    assert await eventually(usable), f"namespace {name} got no default service account"
    yield name
    with contextlib.suppress(ApiError):
        await rest_kube.delete(NAMESPACE, "", name, made["metadata"]["uid"])


@pytest.fixture(scope="session")
def kubectl(control_plane: Path) -> Kubectl:
    """kubectl as cluster admin."""

    def run(*arguments: str, stdin: str | None = None) -> str:
        return run_kubectl(control_plane, *arguments, stdin=stdin)

    return run
