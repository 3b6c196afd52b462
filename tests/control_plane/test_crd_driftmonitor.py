"""The schema of DriftMonitor on a real API server: defaults, what is accepted, what is refused and with which words."""

import copy
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from conformance.world import eventually
from fakes.counting_pods import BASE, OK, ROWS, CountingPod, at, bin_of, take
from modelcycle.drift.reconciler import MonitorReconciler
from modelcycle.engine.executor import Executor, Result
from modelcycle.engine.plan import Emit, Key
from modelcycle.kube import kinds
from modelcycle.kube.client import RestKube
from modelcycle.kube.errors import ApiError
from modelcycle.metrics.port import Round, Target
from modelcycle.metrics.sampler import Sampler
from modelcycle.settings import Settings

Kubectl = Callable[..., str]


def monitor(name: str = "scrap", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "modelcycle.dev/v1alpha1",
        "kind": "DriftMonitor",
        "metadata": {"name": name},
        "spec": {"targetRef": {"name": "scrap"}, **spec},
    }


def create(kubectl: Kubectl, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
    text = kubectl("create", "-n", namespace, "-f", "-", "-o", "json", "--validate=strict", stdin=json.dumps(body))
    made: dict[str, Any] = json.loads(text)
    return made


def refusal(kubectl: Kubectl, namespace: str, body: dict[str, Any]) -> str:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        create(kubectl, namespace, body)
    return str(refused.value.stderr)


def test_minimal_gets_the_documented_defaults(kubectl: Kubectl, namespace: str) -> None:
    assert create(kubectl, namespace, monitor())["spec"] == {
        "targetRef": {"name": "scrap"},
        "window": {"length": "1h"},
        "interval": "15s",
        "suspend": False,
    }


@pytest.mark.parametrize(
    "spec",
    [
        {"window": {"length": "10s"}, "interval": "1s"},
        {"window": {"length": "10s"}, "interval": "10s"},
        {"window": {"length": "168h"}, "interval": "1h"},
        {"window": {"length": "1h30m"}},
        {"window": {"length": "90m5s"}},
        {"window": {}},
        {"suspend": True},
    ],
)
def test_accepts(kubectl: Kubectl, namespace: str, spec: dict[str, Any]) -> None:
    assert create(kubectl, namespace, monitor(**spec))["spec"]["targetRef"] == {"name": "scrap"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"window": {"length": "9s"}}, ["spec.window.length", "must be a duration from 10s to 168h"]),
        ({"window": {"length": "169h"}}, ["spec.window.length", "must be a duration from 10s to 168h"]),
        ({"window": {"length": "1d"}}, ["spec.window.length", "should match"]),
        ({"window": {"length": ""}}, ["spec.window.length"]),
        ({"window": {"length": "1.5h"}}, ["spec.window.length", "should match"]),
        ({"window": {"length": 3600}}, ["spec.window.length", "must be of type string"]),
        ({"interval": "0s"}, ["spec.interval", "must be a duration from 1s to 1h"]),
        ({"interval": "61m", "window": {"length": "2h"}}, ["spec.interval", "must be a duration from 1s to 1h"]),
        ({"interval": "500ms"}, ["spec.interval", "should match"]),
        ({"window": {"length": "10s"}}, ["spec.interval", "must not be longer than spec.window.length"]),
        ({"targetRef": {"name": "Scrap"}}, ["spec.targetRef.name", "should match"]),
        ({"targetRef": {"name": "s" * 64}}, ["spec.targetRef.name", "may not be more than 63"]),
        ({"targetRef": {}}, ["spec.targetRef.name", "Required value"]),
        ({"suspend": "yes"}, ["spec.suspend", "must be of type boolean"]),
        ({"mode": "observe"}, ['unknown field "spec.mode"']),
    ],
)
def test_refuses_naming_the_field(kubectl: Kubectl, namespace: str, spec: dict[str, Any], said: list[str]) -> None:
    words = refusal(kubectl, namespace, monitor(**spec))
    assert [word for word in said if word not in words] == []


def test_refuses_a_missing_target(kubectl: Kubectl, namespace: str) -> None:
    body = monitor()
    del body["spec"]["targetRef"]
    assert "spec.targetRef: Required value" in refusal(kubectl, namespace, body)


def test_refuses_a_name_too_long_for_its_children_engineering_35(kubectl: Kubectl, namespace: str) -> None:
    assert create(kubectl, namespace, monitor("s" * 63))["metadata"]["name"] == "s" * 63
    assert "metadata.name must be at most 63 characters" in refusal(kubectl, namespace, monitor("s" * 64))


@pytest.mark.parametrize("field", ["window", "interval", "suspend"])
def test_removed_field_returns_to_its_default_engineering_80(kubectl: Kubectl, namespace: str, field: str) -> None:
    given: dict[str, Any] = {"window": {"length": "2h"}, "interval": "30s", "suspend": True}
    apply = ("apply", "--server-side", "-n", namespace, "-f", "-", "-o", "json")
    kubectl(*apply, stdin=json.dumps(monitor(**given)))
    kept = {key: value for key, value in given.items() if key != field}
    after = json.loads(kubectl(*apply, stdin=json.dumps(monitor(**kept))))
    default = {"window": {"length": "1h"}, "interval": "15s", "suspend": False}
    assert after["spec"][field] == default[field]


def test_minimal_sample_applies_verbatim(kubectl: Kubectl, namespace: str, pytestconfig: pytest.Config) -> None:
    path = pytestconfig.rootpath / "manifests" / "samples" / "minimal.yaml"
    kubectl("apply", "-n", namespace, "-f", str(path))
    assert kubectl("get", "driftmonitor", "scrap", "-n", namespace, "-o", "name").strip().endswith("/scrap")


def test_driftmonitor_sample_applies(kubectl: Kubectl, namespace: str, pytestconfig: pytest.Config) -> None:
    body = yaml.safe_load((pytestconfig.rootpath / "manifests" / "samples" / "driftmonitor.yaml").read_text())
    body["metadata"]["namespace"] = namespace
    assert create(kubectl, namespace, body)["spec"]["interval"] == "15s"


class Operator:
    """The real reconciler on the real API, with pods whose counters are in memory."""

    def __init__(self, kube: RestKube, namespace: str, pods: list[CountingPod]) -> None:
        self.key = Key("DriftMonitor", namespace, "scrap")
        self.kube, self.pods, self.now = kube, pods, 0.0
        self.sampler: Sampler[Key] = Sampler(self, lambda: at(self.now))
        self.reconciler = MonitorReconciler(kube, Settings("t@sha256:0", "s@sha256:0"), self.sampler)

    async def read(self, target: Target, now: Any) -> Round:
        return take(self.pods, self.now, target.deployment)

    async def emit(self, event: Emit) -> None:
        """Events are not looked at here."""

    async def look(self, seconds: float) -> None:
        self.now = seconds
        if self.key in self.sampler._targets:
            await self.sampler._read_once(self.key)
        for _ in range(2):
            world = await self.reconciler.observe(self.key, at(self.now))
            assert world is not None
            outcome = await Executor(self.kube, self).run(self.reconciler.decide(world))
            assert outcome.result is Result.SUCCESS, outcome.message


async def test_reconciler_writes_what_the_schema_takes(kubectl: Kubectl, rest_kube: RestKube, namespace: str) -> None:
    create(kubectl, namespace, monitor(window={"length": "60s"}, interval="2s"))
    deployment = {
        "apiVersion": "modelcycle.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "scrap"},
        "spec": {"model": {"experimentRef": {"name": "scrap"}}},
    }
    kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(deployment))
    pod = CountingPod("a", BASE - 1000)
    for feature in range(120):
        pod.counts.update({bin_of(f"{'long name ' * 30}{feature}", f"b{b:02d}"): 0 for b in range(10)})
    operator = Operator(rest_kube, namespace, [pod])
    for seconds in (0.0, 1.0):
        await operator.look(seconds)
    pod.counts[ROWS] += 12
    pod.counts[OK] += 12
    await operator.look(60)
    found = await rest_kube.get(kinds.DRIFT_MONITOR, namespace, "scrap")
    assert found is not None
    assert found["status"]["lastWindow"]["requests"] == 12
    assert len(found["status"]["lastWindow"]["features"]) == 100
    assert len(json.dumps(found)) < 256 * 1024
    lines = kubectl("get", "driftmonitors", "-n", namespace).splitlines()
    assert lines[0].split() == ["NAME", "READY", "STATUS", "REQUESTS", "WINDOW", "AGE"]
    assert lines[1].split()[:5] == ["scrap", "False", "CountsInconsistent", "12", "07:00:01-07:01:00"]
    assert max(len(line.rstrip()) for line in lines) <= 80


async def test_counts_go_with_the_monitor_engineering_12(kubectl: Kubectl, rest_kube: RestKube, namespace: str) -> None:
    create(kubectl, namespace, monitor())
    operator = Operator(rest_kube, namespace, [CountingPod("a", BASE - 1000)])
    for seconds in (0.0, 1.0):
        await operator.look(seconds)
    labels = {"modelcycle.dev/monitor": "scrap"}
    assert len(await rest_kube.list(kinds.CONFIG_MAP, namespace, labels)) == 1
    kubectl("delete", "driftmonitor", "scrap", "-n", namespace)

    async def gone() -> bool:
        return not await rest_kube.list(kinds.CONFIG_MAP, namespace, labels)

    assert await eventually(gone), "the ConfigMap outlived its DriftMonitor"


async def test_status_out_of_form_is_refused(kubectl: Kubectl, rest_kube: RestKube, namespace: str) -> None:
    made = create(kubectl, namespace, monitor())
    for status in ({"lastWindow": {"complete": "2.5"}}, {"total": {"rows": -1}}):
        with pytest.raises(ApiError):
            await rest_kube.apply_status(
                kinds.DRIFT_MONITOR,
                namespace,
                "scrap",
                copy.deepcopy(status),
                made["metadata"]["resourceVersion"],
            )
