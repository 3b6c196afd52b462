"""The demo's scenario on the real cluster: the whole loop, judged by what the demo found out and wrote down.

The demo itself stops at the first stage that did not truly happen; here its summary is checked again, figure by figure.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from demo import dashboard, objects, records
from demo.kubectl import Kubectl
from plant import KUBECONFIG, ROOT

MINUTES = 20
"""Beside other tests; alone it takes a few."""


@pytest.mark.alone  # it tells of answers in time, so it needs the cores
@pytest.mark.timeout(MINUTES * 60 + 60)
def test_demo_shows_the_whole_loop(system: Kubectl, tmp_path: Path) -> None:
    namespace = f"demo-{os.getpid()}"
    summary, report = tmp_path / "summary.json", tmp_path / "report.html"
    began = datetime.now(UTC)
    options = ["--kubeconfig", KUBECONFIG, "--namespace", namespace, "--summary", summary, "--report", report]
    done = subprocess.run(
        [sys.executable, "-m", "demo", *map(str, options)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "hack")},
        capture_output=True,
        text=True,
        timeout=MINUTES * 60,
        check=False,
    )
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(summary.read_text())
        assert len(told["chapters"]) == 11
        check_rollouts(told["findings"])
        check_drift_and_retrain(told["findings"])
        assert told["findings"]["tampered"] == "DigestMismatch"
        assert report.read_text().startswith("<!doctype html>")
        with replace(system, namespace=dashboard.NAMESPACE).forward(dashboard.SERVICE, dashboard.PORT) as port:
            prometheus = f"http://127.0.0.1:{port}"
            assert dashboard.problems(prometheus, namespace, objects.DEPLOYMENT, began, datetime.now(UTC)) == []
        for kind in ("experiments", "modeldeployments", "driftmonitors"):
            table = replace(system, namespace=namespace).run("get", kind)
            assert max(len(line.rstrip()) for line in table.splitlines()) <= 80, table
    finally:
        system.run("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


def check_rollouts(found: dict[str, Any]) -> None:
    """Promoted and taken back as told, each by evidence that was seen, and no user had a bad answer because of a new model."""
    ends = {name: found[name]["outcome"] for name in ("better", "failing", "worse", "retrained")}
    assert ends == {"better": "promoted", "failing": "taken back", "worse": "taken back", "retrained": "promoted"}
    for name in ends:
        assert found[name]["failed"] == 0
        assert found[name]["points"]
        assert found[name]["requests"] > found[name]["canary"]["answers"] > 0
    for name in ("better", "retrained"):
        assert found[name]["canary"]["bad"] == 0
        assert found[name]["points"][-1]["no_harm"] >= found[name]["no_harm_at"]
    assert found["failing"]["canary"]["bad"] == found["failing"]["canary"]["answers"]
    rollback = found["failing_rollback"]
    assert 0 <= rollback["to_decision"] <= rollback["to_share_zero"] + 1  # status has whole seconds
    assert found["failing"]["rescued"] > 0
    worse = found["worse"]
    assert worse["reason"] == "CanaryFailed"
    assert worse["points"][-1]["harm"] >= worse["harm_at"]
    assert 0 < worse["canary"]["bad"] < worse["canary"]["answers"]
    assert worse["known_failures"] > 0
    assert found["clients"]["failed"] == 0
    # The failing model never answered anybody; the first, the searched and the retrained one did.
    answered = {found["models"][0]["digest"], found["better"]["digest"], found["retrained"]["digest"]}
    assert set(found["clients"]["by_model"]) == {digest.removeprefix("sha256:")[:12] for digest in answered}


def check_drift_and_retrain(found: dict[str, Any]) -> None:
    """The alarm names what was moved and nothing else; the retrained model is another one, and better on the same held-out rows."""
    drift, retrain = found["drift"], found["retrain"]
    assert drift["alarms_before"] == 0
    assert set(drift["features"]) == set(records.SHIFTED)
    assert retrain["new_digest"] == found["retrained"]["digest"] != retrain["old_digest"] == found["better"]["digest"]
    assert retrain["compared"]["rows"] == 114
    assert retrain["compared"]["new_right"] > retrain["compared"]["old_right"]
