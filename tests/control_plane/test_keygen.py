"""`kubectl modelcycle keygen` as a kubectl plugin against a real API server."""

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelcycle_bundle import keys

Kubectl = Callable[..., str]
BIN = Path(sys.executable).parent


@pytest.fixture
def plugin(control_plane: Path, namespace: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs keygen for two namespaces, with the test's own namespace in the operator's place."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "KUBECONFIG": str(control_plane), "PATH": f"{BIN}:{os.environ['PATH']}"}
        command = ["kubectl", "modelcycle", "keygen", "--operator-namespace", namespace, *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)

    return run


def test_makes_keeps_and_trusts(
    plugin: Callable[..., subprocess.CompletedProcess[str]], kubectl: Kubectl, namespace: str
) -> None:
    for _ in range(2):
        done = plugin("-n", namespace)
        assert done.returncode == 0, done.stderr
    kubectl("create", "namespace", f"{namespace}-b")
    try:
        assert plugin("-n", f"{namespace}-b").returncode == 0
    finally:
        kubectl("delete", "namespace", f"{namespace}-b", "--wait=false")

    def read(kind: str, name: str, path: str) -> str:
        return kubectl("get", kind, name, "-n", namespace, "-o", f"jsonpath={{{path}}}")

    encoded = read("secret", "modelcycle-signing-key", ".data.public\\.pem")
    public_pem = base64.b64decode(encoded).decode()
    assert keys.split_pems(read("configmap", "modelcycle-trust", f".data.{namespace}")) == (public_pem,)
    assert keys.split_pems(read("configmap", "modelcycle-trust", f".data.{namespace}-b"))
