"""Argo CD's health.lua in Lua 5.1 and Flux's expressions in CEL, over recorded objects of the three kinds in each state."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cel_expr_python import cel
from lupa.lua51 import LuaRuntime

from modelcycle.api.driftmonitor import MonitorReason
from modelcycle.api.experiment import ExperimentReason
from modelcycle.api.modeldeployment import DeploymentReason

ROOT = Path(__file__).resolve().parents[3]
INTEGRATIONS = ROOT / "manifests" / "integrations"
STATES = ROOT / "tests" / "states"
KUBECTL = Path(sys.executable).parent / "kubectl"
KINDS = {"experiment": ExperimentReason, "modeldeployment": DeploymentReason, "driftmonitor": MonitorReason}
Object = dict[str, Any]

HEALTH = {
    "modeldeployment/new": ("Progressing", "Waiting"),
    "modeldeployment/stale": ("Progressing", "InProgress"),
    "modeldeployment/starting": ("Progressing", "InProgress"),
    "modeldeployment/serving": ("Healthy", "Current"),
    "modeldeployment/canary": ("Progressing", "InProgress"),
    "modeldeployment/canary-paused": ("Suspended", "InProgress"),
    "modeldeployment/awaiting-approval": ("Suspended", "InProgress"),
    "modeldeployment/metrics-unavailable": ("Progressing", "InProgress"),
    "modeldeployment/promoting": ("Progressing", "InProgress"),
    "modeldeployment/guard-window": ("Progressing", "InProgress"),
    "modeldeployment/paused-idle": ("Suspended", "Current"),
    "modeldeployment/paused-waiting": ("Suspended", "InProgress"),
    "modeldeployment/rejected": ("Degraded", "Failed"),
    "experiment/new": ("Progressing", "Waiting"),
    "experiment/stale": ("Progressing", "InProgress"),
    "experiment/searching": ("Progressing", "InProgress"),
    "experiment/suspended": ("Suspended", "InProgress"),
    "experiment/succeeded": ("Healthy", "Current"),
    "experiment/stalled": ("Degraded", "Failed"),
    "driftmonitor/new": ("Progressing", "Waiting"),
    "driftmonitor/stale": ("Progressing", "InProgress"),
    "driftmonitor/observing": ("Healthy", "Current"),
    "driftmonitor/drift": ("Healthy", "Current"),
    "driftmonitor/suspended": ("Suspended", "Current"),
    "driftmonitor/waiting": ("Progressing", "InProgress"),
    "driftmonitor/stalled": ("Degraded", "Failed"),
}
"""What Argo CD and Flux make of each state."""


def state(name: str) -> Object:
    loaded: Object = yaml.safe_load((STATES / f"{name}.yaml").read_text())
    return loaded


def test_each_recorded_state_has_its_expected_health() -> None:
    assert sorted(HEALTH) == sorted(f"{path.parent.name}/{path.stem}" for path in STATES.glob("*/*.yaml"))


@pytest.mark.parametrize("name", HEALTH)
def test_recorded_states_match_schema_and_vocabulary(name: str) -> None:
    obj, kind = state(name), name.partition("/")[0]
    crd = yaml.safe_load((ROOT / "crds" / f"{kind}s.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    jsonschema.Draft202012Validator(closed(schema)).validate(obj.get("status", {}))
    reasons = {c["reason"] for c in obj.get("status", {}).get("conditions", ()) if c["type"] == "Ready"}
    assert reasons <= {reason.value for reason in KINDS[kind]}


def closed(schema: Object) -> Object:
    """The schema with unknown fields refused, where the API server would prune them."""
    out = {k: v for k, v in schema.items() if not k.startswith("x-kubernetes-")}
    if "properties" in schema:
        out["properties"] = {k: closed(v) for k, v in schema["properties"].items()}
        out["additionalProperties"] = False
    if "items" in schema:
        out["items"] = closed(schema["items"])
    return out


# ---- Argo CD ----


@pytest.fixture(scope="module")
def customizations() -> dict[str, str]:
    """The keys that the kustomization adds to argocd-cm."""
    done = subprocess.run([str(KUBECTL), "kustomize", str(INTEGRATIONS / "argocd")], capture_output=True, check=True)
    config: Object = yaml.safe_load(done.stdout)
    assert (config["kind"], config["metadata"]["name"]) == ("ConfigMap", "argocd-cm")
    return dict(config["data"])


def health(script: str, obj: Object) -> tuple[str, str]:
    """Status and message, from Lua 5.1 as Argo CD's interpreter speaks it, without its standard libraries' doors."""
    lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    lua.globals().obj = lua.table_from(obj, recursive=True)
    result = lua.execute(script)
    return result.status, result.message


def test_argocd_knows_the_three_kinds(customizations: dict[str, str]) -> None:
    kinds = ("Experiment", "ModelDeployment", "DriftMonitor")
    assert sorted(customizations) == sorted(f"resource.customizations.health.modelcycle.dev_{kind}" for kind in kinds)


@pytest.mark.parametrize("name", HEALTH)
def test_argocd_reads_each_state_delivery_72(customizations: dict[str, str], name: str) -> None:
    obj = state(name)
    status, message = health(customizations[f"resource.customizations.health.modelcycle.dev_{obj['kind']}"], obj)
    assert (status, bool(message)) == (HEALTH[name][0], True)


@pytest.mark.parametrize("name", [n for n in HEALTH if not n.endswith("/new")])
def test_argocd_never_shows_an_older_specs_health_delivery_73(customizations: dict[str, str], name: str) -> None:
    obj = state(name)
    obj["metadata"]["generation"] = obj["status"]["observedGeneration"] + 1
    script = customizations[f"resource.customizations.health.modelcycle.dev_{obj['kind']}"]
    assert health(script, obj) == ("Progressing", "the operator has not answered the latest spec yet")


@pytest.mark.parametrize(
    "status",
    [{}, {"conditions": []}, {"observedGeneration": 4}, {"observedGeneration": 4, "conditions": []}]
    + [
        {"observedGeneration": 4, "conditions": [c]}
        for c in ({}, {"type": "Ready"}, {"type": "Ready", "status": "Unknown"})
    ],
)
def test_argocd_is_never_left_without_an_answer_delivery_72(customizations: dict[str, str], status: Object) -> None:
    obj = {**state("modeldeployment/new"), "status": status}
    assert health(next(iter(customizations.values())), obj)[0] == "Progressing"


@pytest.mark.parametrize("kind", KINDS)
def test_every_reason_with_every_outcome_has_a_health(customizations: dict[str, str], kind: str) -> None:
    obj = state(f"{kind}/stale")
    obj["metadata"]["generation"] = obj["status"]["observedGeneration"]
    script = next(iter(customizations.values()))
    for reason in KINDS[kind]:
        for outcome, wanted in (("Ready", "Healthy"), ("Reconciling", "Progressing"), ("Stalled", "Degraded")):
            obj["status"]["conditions"] = conditions(outcome, reason)
            waits = outcome != "Stalled" and reason in ("Suspended", "Paused", "CanaryPaused", "AwaitingApproval")
            assert health(script, obj) == ("Suspended" if waits else wanted, f"{reason}: because")


def conditions(outcome: str, reason: str) -> list[Object]:
    ready = {
        "type": "Ready",
        "status": "True" if outcome == "Ready" else "False",
        "reason": reason,
        "message": "because",
    }
    return [ready] if outcome == "Ready" else [ready, {**ready, "type": outcome, "status": "True"}]


# ---- Flux ----

VARIABLES = dict.fromkeys(("apiVersion", "kind", "metadata", "spec", "status"), cel.Type.DYN)


def expressions(kind: str) -> dict[str, str]:
    flux = yaml.safe_load((INTEGRATIONS / "flux" / "models.yaml").read_text())
    (found,) = [e for e in flux["spec"]["healthCheckExprs"] if e["kind"] == kind]
    assert found["apiVersion"] == "modelcycle.dev/v1alpha1"
    return dict(found)


def evaluate(obj: Object) -> str:
    """As Flux does: an older generation is in progress, then inProgress, failed, current in this order; an error keeps it waiting."""
    observed = obj.get("status", {}).get("observedGeneration")
    if observed is not None and observed != obj["metadata"]["generation"]:
        return "InProgress"
    found = expressions(obj["kind"])
    environment = cel.NewEnv(variables=VARIABLES)
    for name, answer in (("inProgress", "InProgress"), ("failed", "Failed"), ("current", "Current")):
        value = environment.compile(found[name]).eval(data=obj)
        if value.type() == cel.Type.ERROR:
            return "Waiting"
        if value.value() is True:
            return answer
    return "InProgress"


@pytest.mark.parametrize("name", HEALTH)
def test_flux_reads_each_state_delivery_72(name: str) -> None:
    assert evaluate(state(name)) == HEALTH[name][1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("outcome", "wanted"), [("Ready", "Current"), ("Reconciling", "InProgress"), ("Stalled", "Failed")]
)
def test_flux_tells_the_three_outcomes_apart(kind: str, outcome: str, wanted: str) -> None:
    obj = state(f"{kind}/stale")
    obj["metadata"]["generation"] = obj["status"]["observedGeneration"]
    obj["status"]["conditions"] = conditions(outcome, "Serving")
    assert evaluate(obj) == wanted
