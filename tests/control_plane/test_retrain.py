"""The Experiment of a retrain on a real API server: admitted as it is rendered, made once, and never changed by the operator."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fakes.experiment_lab import search
from modelcycle.api import driftmonitor
from modelcycle.api.driftmonitor import Monitor, Priority
from modelcycle.drift import retrain_manifests as manifests
from modelcycle.drift.retrain_state import Asked, NewData, RetrainWish

Kubectl = Callable[..., str]
BASE = Path(__file__).resolve().parents[2] / "manifests" / "base"
OPERATOR = "--as=system:serviceaccount:modelcycle-system:modelcycle-operator"
NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
DATA = NewData("s3://factory/scrap/2026-11-23.csv", "sha256:" + "e" * 64, 5000, 4000)


@pytest.fixture(scope="module")
def installed(kubectl: Kubectl) -> None:
    """The operator's role; the operator itself never starts."""
    for part in ("namespace", "service_account", "rbac_operator"):
        namespace = ["-n", "modelcycle-system"] if part != "namespace" else []
        kubectl("apply", "--server-side", "--force-conflicts", *namespace, "-f", str(BASE / f"{part}.yaml"))


def applied(kubectl: Kubectl, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A user's Experiment, as stored."""
    metadata = {"name": "scrap", "namespace": namespace}
    body = {"apiVersion": "modelcycle.dev/v1alpha1", "kind": "Experiment", "metadata": metadata, "spec": spec}
    stored: dict[str, Any] = json.loads(kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(body)))
    return stored


def monitor(namespace: str) -> Monitor:
    retrain = {"experimentTemplateRef": {"name": "scrap"}, "data": {"uri": "s3://factory/scrap/latest.json"}}
    spec = {"targetRef": {"name": "scrap"}, "mode": "act", "actions": {"retrain": retrain}}
    metadata = {"name": "scrap", "namespace": namespace, "uid": "m-1", "resourceVersion": "1"}
    return driftmonitor.parse({"metadata": metadata, "spec": spec})


@pytest.mark.usefixtures("installed")
def test_operator_makes_a_retrain_once_and_can_never_change_it_monitoring_36(kubectl: Kubectl, namespace: str) -> None:
    template = applied(kubectl, namespace, search(suspend=True))
    ours = monitor(namespace)
    assert ours.spec.retrain is not None
    wish = RetrainWish("3c9e1f", Priority.P2, NOW - timedelta(hours=1), NOW, "temperature above 85: 2 % -> 19 %")
    asked = Asked(manifests.experiment_name(ours, "scrap", DATA.digest), wish, DATA, NOW, None)
    body = json.dumps(manifests.experiment(ours, ours.spec.retrain, template, asked))
    stored = json.loads(kubectl("create", OPERATOR, "-f", "-", "-o", "json", stdin=body))
    assert {**stored["spec"]["data"], "uri": "", "digest": ""} == {**template["spec"]["data"], "uri": "", "digest": ""}
    assert (stored["spec"]["data"]["uri"], stored["spec"]["data"]["digest"]) == (DATA.uri, DATA.digest)
    assert stored["spec"]["acceptance"] == [{"notWorseThan": {"modelDeployment": "scrap", "tolerance": "0"}}]
    assert "ownerReferences" not in stored["metadata"]
    found = kubectl("get", "experiments", "-n", namespace, "-l", "modelcycle.dev/lineage=scrap", "-o", "name")
    assert found.split() == [f"experiment.modelcycle.dev/{asked.experiment}"]
    with pytest.raises(subprocess.CalledProcessError) as twice:
        kubectl("create", OPERATOR, "-f", "-", stdin=body)
    assert "already exists" in twice.value.stderr
    for name in ("scrap", asked.experiment):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            kubectl(
                "patch",
                OPERATOR,
                "experiment",
                name,
                "-n",
                namespace,
                "--type=merge",
                "-p",
                '{"spec":{"suspend":true}}',
            )
        assert "cannot patch resource" in refused.value.stderr
