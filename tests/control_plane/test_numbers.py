"""Numbers as people write them in YAML, on a real API server: whole ones need no quotes, fractions do.

Owns that docs/gitops.md has the words of the refusal.
"""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from fakes.experiment_lab import MINIMAL
from modelcycle.api import driftmonitor, experiment, modeldeployment

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))
Kubectl = Callable[..., str]
Spec = Mapping[str, Any]
WAYS: Final = {"client-side": (), "server-side": ("--server-side", "--field-manager=kustomize-controller")}


BARE: Final = """
Experiment:
  parameters:
    - {name: a, parameterType: double, feasibleSpace: {min: 1, max: 9, step: 2}}
    - {name: b, parameterType: int, feasibleSpace: {min: -7, max: 100, step: 1}}
    - {name: c, parameterType: discrete, feasibleSpace: {list: [1, 2, 30]}}
    - {name: d, parameterType: categorical, feasibleSpace: {list: [4, rbf]}}
    - {name: e, parameterType: double, feasibleSpace: {min: 1, max: 1000, distribution: logUniform}}
  acceptance:
    - {metric: r2, minimum: 0, maximum: 1}
    - {notWorseThan: {modelDeployment: scrap, tolerance: 0}}
ModelDeployment:
  model: {experimentRef: {name: scrap}}
  server: {resources: {requests: {cpu: 1}, limits: {cpu: 2, memory: 1073741824}}}
  strategy:
    canary:
      steps: [{setWeight: 5}, {shadow: {weight: 1, duration: 30s}}, {analysis: {}}]
      analysis: {metrics: [{name: errors, harmRatio: 3}]}
DriftMonitor:
  targetRef: {name: scrap}
  effect: {warn: 1, critical: 2}
"""
"""Each kind with every number that may be whole, without quotes."""
PARSED: Final[dict[str, Callable[[Mapping[str, Any]], object]]] = {
    "Experiment": experiment.parse,
    "ModelDeployment": lambda obj: modeldeployment.parse(obj["spec"]),
    "DriftMonitor": lambda obj: driftmonitor.parse(obj).spec,
}


def quoted(value: Any) -> Any:
    """The same with every number as text, as all releases took it."""
    if isinstance(value, dict):
        return {name: quoted(one) for name, one in value.items()}
    if isinstance(value, list):
        return [quoted(one) for one in value]
    return str(value) if isinstance(value, int) else value


def body(kind: str, spec: Spec) -> str:
    whole = {**MINIMAL, **spec} if kind == "Experiment" else dict(spec)
    obj = {"apiVersion": "modelcycle.dev/v1alpha1", "kind": kind, "metadata": {"name": "scrap"}, "spec": whole}
    return json.dumps(obj)


def stored(kubectl: Kubectl, namespace: str, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", kind, "scrap", "-n", namespace, "-o", "json"))
    return found


def refusal(kubectl: Kubectl, *arguments: str, stdin: str) -> str:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        kubectl(*arguments, stdin=stdin)
    return str(refused.value.stderr)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", PARSED)
def test_whole_numbers_need_no_quotes_and_mean_what_quoted_ones_mean(
    kind: str, way: str, kubectl: Kubectl, namespace: str
) -> None:
    spec = yaml.safe_load(BARE)[kind]
    apply = ("apply", *WAYS[way], "-n", namespace, "-f", "-")
    kubectl(*apply, stdin=body(kind, quoted(spec)))
    before = stored(kubectl, namespace, kind)
    kubectl(*apply, stdin=body(kind, spec))
    after = stored(kubectl, namespace, kind)
    assert after["spec"] != before["spec"], (
        "the API server keeps numbers as they are written, so Git and cluster stay equal"
    )
    assert PARSED[kind](after) == PARSED[kind](before)
    again = (*WAYS[way], "-n", namespace, "-f", "-")
    kubectl("diff", *again, stdin=body(kind, spec))
    kubectl(*apply, stdin=body(kind, spec))
    assert stored(kubectl, namespace, kind)["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]


FRACTIONS: Final[dict[str, tuple[str, str]]] = {
    "spec.server.resources.requests.cpu": (
        "ModelDeployment",
        "{model: {experimentRef: {name: a}}, server: {resources: {requests: {cpu: 0.01}}}}",
    ),
    "spec.strategy.canary.steps[0].setWeight": (
        "ModelDeployment",
        "{model: {experimentRef: {name: a}}, strategy: {canary: {steps: [{setWeight: 0.5}]}}}",
    ),
    "spec.trainer.resources.limits.cpu": (
        "Experiment",
        "{trainer: {estimator: sklearn.svm.SVC, resources: {limits: {cpu: 0.5}}}}",
    ),
    "spec.parameters[0].feasibleSpace.max": (
        "Experiment",
        "{parameters: [{name: a, parameterType: double, feasibleSpace: {min: 0, max: 0.5}}]}",
    ),
    "spec.effect.critical": ("DriftMonitor", "{targetRef: {name: a}, effect: {critical: 0.25}}"),
}
PAGE: Final = (ROOT / "docs" / "gitops.md").read_text()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("field", FRACTIONS)
def test_a_fraction_without_quotes_is_refused_in_the_words_of_the_page(
    field: str, way: str, kubectl: Kubectl, namespace: str
) -> None:
    kind, spec = FRACTIONS[field]
    wanted = 'in body must be of type integer,string: "number"'
    assert f"spec.effect.critical {wanted}" in PAGE
    for dry in ((), ("--dry-run=server",)):
        said = refusal(
            kubectl, "apply", *WAYS[way], *dry, "-n", namespace, "-f", "-", stdin=body(kind, yaml.safe_load(spec))
        )
        assert f'{field}: Invalid value: "number": {field} {wanted}' in said


@pytest.mark.parametrize("way", WAYS)
def test_a_field_that_is_never_whole_says_so(way: str, kubectl: Kubectl, namespace: str) -> None:
    spec = "{model: {experimentRef: {name: a}}, strategy: {canary: {analysis: {alpha: 0.05}}}}"
    said = refusal(
        kubectl, "apply", *WAYS[way], "-n", namespace, "-f", "-", stdin=body("ModelDeployment", yaml.safe_load(spec))
    )
    words = {
        "client-side": 'alpha in body must be of type string: "number"',
        "server-side": "alpha: expected string, got",
    }
    assert words[way] in said
    assert words[way] in PAGE


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("ModelDeployment", "{server: {resources: {requests: {cpu: -1}}}}", "requests.cpu"),
        ("ModelDeployment", "{strategy: {canary: {analysis: {metrics: [{name: errors, harmRatio: 1}]}}}}", "harmRatio"),
        (
            "ModelDeployment",
            "{strategy: {canary: {analysis: {metrics: [{name: errors, harmRatio: 101}]}}}}",
            "harmRatio",
        ),
        ("DriftMonitor", "{effect: {warn: 0}}", "warn"),
        ("DriftMonitor", "{effect: {critical: 10}}", "critical"),
        (
            "DriftMonitor",
            "{effect: {warn: 2, critical: 1}}",
            "warn must be at least 0.02 and at most critical",
        ),
        ("Experiment", "{trainer: {estimator: sklearn.svm.SVC, resources: {limits: {cpu: -1}}}}", "limits.cpu"),
        (
            "Experiment",
            "{acceptance: [{notWorseThan: {modelDeployment: scrap, tolerance: -1}}]}",
            "tolerance",
        ),
        (
            "Experiment",
            "{parameters: [{name: a, parameterType: int, feasibleSpace: {min: 3, max: 3}}]}",
            "feasibleSpace.min must be less",
        ),
        (
            "Experiment",
            "{parameters: [{name: a, parameterType: int, feasibleSpace: {min: 1, max: 3, step: 0}}]}",
            "feasibleSpace.step must be greater than 0",
        ),
        (
            "Experiment",
            "{parameters: [{name: a, parameterType: int, feasibleSpace: {min: 1, max: '3.5'}}]}",
            "type int needs whole numbers",
        ),
    ],
)
def test_whole_numbers_have_the_bounds_of_quoted_ones(
    kind: str, spec: str, field: str, kubectl: Kubectl, namespace: str
) -> None:
    base: dict[str, dict[str, Any]] = {
        "ModelDeployment": {"model": {"experimentRef": {"name": "a"}}},
        "DriftMonitor": {"targetRef": {"name": "a"}},
    }
    whole = {**base.get(kind, {}), **yaml.safe_load(spec)}
    assert field in refusal(kubectl, "create", "-n", namespace, "-f", "-", stdin=body(kind, whole))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_quoted_manifests_of_before_apply_and_stay(path: Path, way: str, kubectl: Kubectl, namespace: str) -> None:
    text = path.read_text().replace(", namespace: plant-7}", "}")
    apply = ("apply", *WAYS[way], "-n", namespace, "-f", "-")
    kubectl(*apply, stdin=text)
    listed = ("get", "-n", namespace, "-f", "-", "-o", "jsonpath={..resourceVersion}")
    first = kubectl(*listed, stdin=text).split()
    kubectl("diff", *apply[1:], stdin=text)
    kubectl(*apply, stdin=text)
    assert kubectl(*listed, stdin=text).split() == first
