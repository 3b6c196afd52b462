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
from fakes.judged_pods import Factory, JudgedPod
from modelcycle.api.driftmonitor import parse
from modelcycle.drift.reconciler import MonitorReconciler
from modelcycle.engine.executor import Executor, Result
from modelcycle.engine.plan import Emit, Key
from modelcycle.kube import kinds
from modelcycle.kube.client import RestKube
from modelcycle.kube.errors import ApiError
from modelcycle.metrics.port import Round, Target
from modelcycle.metrics.profiles import ProfileMemory
from modelcycle.metrics.sampler import Sampler
from modelcycle.settings import Settings

Kubectl = Callable[..., str]
RETRAIN: dict[str, Any] = {
    "experimentTemplateRef": {"name": "scrap"},
    "data": {"uri": "s3://factory/scrap/latest.json"},
}


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
        "mode": "observe",
        "window": {"length": "1h"},
        "interval": "15s",
        "reference": "training",
        "falseAlarmsPerQuarter": 1,
        "effect": {"warn": "0.1", "critical": "0.25"},
        "persistence": {"k": 2, "of": 3},
        "actions": {"alert": {"minPriority": "P4"}},
        "suspend": False,
    }


def test_defaults_are_those_that_the_operator_takes(kubectl: Kubectl, namespace: str) -> None:
    """An object that was stored before a field had a default is read as if it had it."""
    full = monitor(actions={"retrain": RETRAIN}, features=[{"name": "t"}])
    made = create(kubectl, namespace, full)
    assert parse(made).spec == parse({"metadata": made["metadata"], "spec": full["spec"]}).spec


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
        {"mode": "act"},
        {"window": {"length": "48h"}},
        {"window": {"length": "1h", "max": "1h"}},
        {"effect": {"warn": "0.25"}},
        {"effect": {"warn": "0.02", "critical": "9"}},
        {"persistence": {"k": 1, "of": 1}},
        {"falseAlarmsPerQuarter": 1000},
        {"features": [{"name": "t", "importance": "high", "owner": "line-3"}, {"name": "p"}]},
        {"actions": {"alert": {"minPriority": "P1"}}},
        {"actions": {"retrain": RETRAIN}},
        {"actions": {"retrain": {**RETRAIN, "data": {"uri": "s3://f/{windowStart}.csv", "secretRef": {"name": "s"}}}}},
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
        ({"mode": "watch"}, ["spec.mode", 'supported values: "observe", "act"']),
        ({"reference": "lastGood"}, ["spec.reference", 'supported values: "training"']),
        ({"reference": "seasonal"}, ["spec.reference", 'supported values: "training"']),
        ({"quality": {"tolerance": "0.02"}}, ['unknown field "spec.quality"']),
        ({"actions": {"notify": {"receiver": "x"}}}, ['unknown field "spec.actions.notify"']),
        ({"actions": {"rollback": {"minPriority": "P1"}}}, ['unknown field "spec.actions.rollback"']),
        ({"window": {"length": "2h", "max": "1h"}}, ["spec.window.max", "must not be shorter than spec.window.length"]),
        ({"window": {"max": "169h"}}, ["spec.window.max", "must be a duration from 10s to 168h"]),
        ({"falseAlarmsPerQuarter": 0}, ["spec.falseAlarmsPerQuarter", "greater than or equal to 1"]),
        ({"falseAlarmsPerQuarter": 1001}, ["spec.falseAlarmsPerQuarter", "less than or equal to 1000"]),
        ({"effect": {"warn": "0.3"}}, ["spec.effect.warn", "must be at least 0.02 and at most critical"]),
        ({"effect": {"warn": "0.01"}}, ["spec.effect.warn", "must be at least 0.02 and at most critical"]),
        ({"effect": {"warn": "NaN"}}, ["spec.effect.warn", "should match"]),
        ({"effect": {"warn": "-0.1"}}, ["spec.effect.warn", "should match"]),
        ({"effect": {"critical": 0.5}}, ["spec.effect.critical", "must be of type integer,string"]),
        ({"persistence": {"k": 4}}, ["spec.persistence.k", "k must not be larger than of"]),
        ({"persistence": {"k": 0}}, ["spec.persistence.k", "greater than or equal to 1"]),
        ({"features": [{"name": "t"}, {"name": "t"}]}, ["spec.features[1]", "Duplicate value"]),
        ({"features": [{"name": "t", "importance": "huge"}]}, ["spec.features[0].importance", "supported values"]),
        ({"features": [{"name": ""}]}, ["spec.features[0].name"]),
        ({"actions": {"alert": {"minPriority": "P5"}}}, ["spec.actions.alert.minPriority", "supported values"]),
        ({"actions": {"retrain": {"data": RETRAIN["data"]}}}, ["experimentTemplateRef", "Required value"]),
        ({"actions": {"retrain": {**RETRAIN, "data": {"uri": "/etc/passwd"}}}}, ["data.uri", "should match"]),
        ({"actions": {"retrain": {**RETRAIN, "data": {"uri": "s3://key@f/x"}}}}, ["data.uri", "should match"]),
        ({"actions": {"retrain": {**RETRAIN, "cooldown": "30s"}}}, ["cooldown", "must be a duration from 1m to 8760h"]),
        ({"actions": {"retrain": {**RETRAIN, "minNewRows": 0}}}, ["minNewRows", "greater than or equal to 1"]),
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


GIVEN: dict[str, Any] = {
    "mode": "act",
    "window": {"length": "2h"},
    "interval": "30s",
    "falseAlarmsPerQuarter": 4,
    "effect": {"warn": "0.2"},
    "persistence": {"k": 3},
    "actions": {"alert": {"minPriority": "P2"}, "retrain": RETRAIN},
    "suspend": True,
}


@pytest.mark.parametrize("field", GIVEN)
def test_removed_field_returns_to_its_default_engineering_80(kubectl: Kubectl, namespace: str, field: str) -> None:
    default = create(kubectl, namespace, monitor("untouched"))["spec"][field]
    apply = ("apply", "--server-side", "-n", namespace, "-f", "-", "-o", "json")
    kubectl(*apply, stdin=json.dumps(monitor(**GIVEN)))
    kept = {key: value for key, value in GIVEN.items() if key != field}
    after = json.loads(kubectl(*apply, stdin=json.dumps(monitor(**kept))))
    assert after["spec"][field] == default
    assert after["spec"][field] != GIVEN[field]


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
        self.memory = ProfileMemory()
        settings = Settings("t@sha256:0", "s@sha256:0")
        self.reconciler = MonitorReconciler(kube, settings, self.sampler, self.memory)

    async def read(self, target: Target, now: Any) -> Round:
        for pod in self.pods:
            if isinstance(pod, JudgedPod):
                self.memory.keep(pod.profile.hash, pod.profile, 1)
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
    assert lines[1].split()[:5] == ["scrap", "False", "CountsInconsistent", "-", "-"]
    assert max(len(line.rstrip()) for line in lines) <= 80


async def test_alarms_are_written_as_the_schema_takes_them(
    kubectl: Kubectl, rest_kube: RestKube, namespace: str
) -> None:
    """Everything at once: drift of inputs and answers, values missing and out of range, a retrain that would be."""
    names = ("temperature of the melt", *(f"column {at}" for at in range(40)))
    factory = Factory(0, names=names)
    spec: dict[str, Any] = {
        "window": {"length": "60s"},
        "interval": "2s",
        "features": [{"name": names[0], "importance": "high", "owner": "line-3"}],
        "actions": {"retrain": RETRAIN},
    }
    create(kubectl, namespace, monitor(**spec))
    deployment = {
        "apiVersion": "modelcycle.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "scrap"},
        "spec": {"model": {"experimentRef": {"name": "scrap"}}},
    }
    made = json.loads(kubectl("create", "-n", namespace, "-f", "-", "-o", "json", stdin=json.dumps(deployment)))
    digest = "sha256:" + "a" * 64
    stable = {"stable": {"revision": "abc", "number": 1, "digest": digest, "uri": "s3://models/scrap/x"}}
    version = made["metadata"]["resourceVersion"]
    await rest_kube.apply_status(kinds.MODEL_DEPLOYMENT, namespace, "scrap", stable, version)
    pod = factory.pod("a", BASE - 1000)
    operator = Operator(rest_kube, namespace, [pod])
    for seconds in (0, 1, 60, 120):
        await operator.look(seconds)
        table = factory.rows(1000)
        table[:, 0] += 2
        table[:, 5:] *= 1000
        table[:200, 3] = float("nan")
        pod.predict(table, factory.answers(table))
    await operator.look(180)
    before = kubectl("get", "driftmonitor", "scrap", "-n", namespace, "-o", "json")
    await operator.look(181)
    assert kubectl("get", "driftmonitor", "scrap", "-n", namespace, "-o", "json") == before, "a fixpoint wrote"
    status = json.loads(before)["status"]
    assert {alarm["cause"] for alarm in status["alarms"]} == {
        "input-drift",
        "output-drift",
        "missing-values",
        "out-of-range",
    }
    assert status["recommendation"]["targetUid"] == made["metadata"]["uid"]
    assert status["recommendation"]["digest"] == digest
    assert {alarm["did"] for alarm in status["alarms"] if alarm["priority"] == "P2"} == {
        "alerted, would retrain (observe)"
    }
    assert len(status["judgement"]["most"]) == 20
    lines = kubectl("get", "driftmonitors", "-n", namespace).splitlines()
    assert lines[0].split() == ["NAME", "READY", "STATUS", "PRIORITY", "TOP", "FEATURE", "AGE"]
    assert lines[1].split()[:4] == ["scrap", "True", "DriftDetected", "P2"]
    assert max(len(line.rstrip()) for line in lines) <= 80
    kubectl("wait", "--for=condition=Alarm", "--timeout=5s", "driftmonitor/scrap", "-n", namespace)


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
    for status in ({"lastWindow": {"complete": "2.5"}}, {"total": {"rows": -1}}, {"alarms": [{"priority": "P9"}]}):
        with pytest.raises(ApiError):
            await rest_kube.apply_status(
                kinds.DRIFT_MONITOR,
                namespace,
                "scrap",
                copy.deepcopy(status),
                made["metadata"]["resourceVersion"],
            )
