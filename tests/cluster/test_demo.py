"""The demo's scenario on the real cluster: searched, sealed, served, replaced without a lost request, tampered bundle refused."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from demo.kubectl import Kubectl
from plant import KUBECONFIG, ROOT


def test_demo_shows_the_whole_loop(system: Kubectl, tmp_path: Path) -> None:
    namespace = f"demo-{os.getpid()}"
    summary = tmp_path / "summary.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "demo",
            "--kubeconfig",
            str(KUBECONFIG),
            "--namespace",
            namespace,
            "--summary",
            str(summary),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "hack")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        facts = json.loads(summary.read_text())["facts"]
        assert facts["load"]["failed"] == 0
        assert len(facts["load"]["versions"]) == 2
        assert facts["tampered"]["reason"] == "DigestMismatch"
        for kind in ("experiments", "modeldeployments", "driftmonitors"):
            table = replace(system, namespace=namespace).run("get", kind)
            assert max(len(line.rstrip()) for line in table.splitlines()) <= 80, table
    finally:
        system.run("delete", "namespace", namespace, "--wait=false")
