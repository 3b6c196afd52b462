"""What the API server accepts and refuses of an Experiment, and what it says: each rule of the schema from both sides."""

import copy
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.experiment_lab import MINIMAL

Kubectl = Callable[..., str]
Spec = dict[str, Any]

LOG = {"min": "0.01", "max": "0.3", "distribution": "logUniform"}


def double(**space: str) -> Spec:
    return {"name": "lr", "parameterType": "double", "feasibleSpace": space}


def whole(**space: str) -> Spec:
    return {"name": "depth", "parameterType": "int", "feasibleSpace": space}


def listed(kind: str, *values: str) -> Spec:
    return {"name": "c", "parameterType": kind, "feasibleSpace": {"list": list(values)}}


def spec(**fields: Any) -> Spec:
    return {**copy.deepcopy(dict(MINIMAL)), **fields}


def data(**fields: Any) -> Spec:
    return {"data": {**MINIMAL["data"], **fields}}


def resources(**lists: Spec) -> Spec:
    return spec(trainer={"estimator": "sklearn.svm.SVC", "resources": lists})


PIPELINE = [
    {"name": "scale", "estimator": "sklearn.preprocessing.StandardScaler"},
    {"name": "model", "estimator": "sklearn.linear_model.LogisticRegression", "fixed": {"max_iter": 500}},
]
KEY = {"keySecretRef": {"name": "k"}}
NOT_WORSE = {"notWorseThan": {"modelDeployment": "scrap"}}

ACCEPTED: dict[str, Spec] = {
    "minimal": spec(),
    "double": spec(parameters=[double(min="0", max="1")]),
    "double with step": spec(parameters=[double(min="-1.5", max="1e3", step="0.5")]),
    "logUniform": spec(parameters=[double(**LOG)]),
    "int": spec(parameters=[whole(min="-7", max="127", step="2")]),
    "discrete": spec(parameters=[listed("discrete", "1", "0.5", "-1e-3")]),
    "categorical": spec(parameters=[listed("categorical", "rbf", "1", "true")]),
    "grid over finite parameters": spec(
        algorithm={"algorithmName": "grid"}, parameters=[double(min="0", max="1", step="0.1"), whole(min="1", max="3")]
    ),
    "counts": spec(maxTrialCount=4, parallelTrialCount=4, maxFailedTrialCount=4),
    "goal": spec(objective={"type": "minimize", "objectiveMetricName": "log_loss", "goal": 0.25}),
    "pipeline": spec(trainer={"pipeline": PIPELINE}, parameters=[{**double(min="0", max="1"), "name": "model__C"}]),
    "fixed values of any JSON": spec(
        trainer={"estimator": "sklearn.svm.SVC", "fixed": {"a": None, "b": [1, "x"], "c": {"d": True}}}
    ),
    "two secrets": spec(seal=KEY, **data(secretRef={"name": "store"})),
    "acceptance": spec(
        acceptance=[
            {"metric": "roc_auc", "minimum": "0.9"},
            {"metric": "log_loss", "maximum": "1e-1", "minimum": "-1"},
            {"notWorseThan": {"modelDeployment": "scrap", "tolerance": "0.01"}},
        ]
    ),
    "acceptance of the same on both sides": spec(acceptance=[{"metric": "r2", "minimum": "0.5", "maximum": "0.5"}]),
    "volumes": spec(**data(uri="pvc://claim/train.csv"), output={"uri": "pvc://claim/models"}),
    "resources": resources(requests={"cpu": 1, "memory": "512Mi"}, limits={"memory": "0.5Gi", "nvidia.com/gpu": 1}),
}

REFUSED: dict[str, tuple[Spec, str, str]] = {
    "request over limit": (
        resources(requests={"memory": "2Gi"}, limits={"memory": "1Gi"}),
        "resources",
        "a request must not be larger than the limit",
    ),
    "output that nothing can write": (
        spec(output={"uri": "https://models.example/scrap"}),
        "spec.output.uri",
        "https:// can be read and not written: name a folder in s3://, gs://, az:// or pvc://",
    ),
    "request of an unknown resource": (resources(requests={"gpu": 1}), "requests", "a name with a domain"),
    "limit of an unknown resource": (resources(limits={"ram": "1Gi"}), "limits", "a name with a domain"),
    "min above max experiment_1": (
        spec(parameters=[double(min="1", max="0.5")]),
        "min",
        "parameter lr: feasibleSpace.min must be less",
    ),
    "min equals max experiment_1": (spec(parameters=[whole(min="3", max="3")]), "min", "parameter depth"),
    "no max": (spec(parameters=[double(min="1")]), "feasibleSpace", "min and feasibleSpace.max are required"),
    "log of zero experiment_2": (
        spec(parameters=[double(**{**LOG, "min": "0"})]),
        "min",
        "logUniform needs feasibleSpace.min greater than 0",
    ),
    "log with step": (spec(parameters=[double(**LOG, step="0.1")]), "step", "logUniform has no feasibleSpace.step"),
    "step of zero": (spec(parameters=[double(min="0", max="1", step="0")]), "step", "greater than 0"),
    "int with fraction": (spec(parameters=[whole(min="0.5", max="3")]), "feasibleSpace", "needs whole numbers"),
    "list for double": (
        spec(parameters=[{**double(min="0", max="1"), "feasibleSpace": {"min": "0", "max": "1", "list": ["1"]}}]),
        "list",
        "for discrete and categorical only",
    ),
    "categorical without list": (
        spec(parameters=[{"name": "c", "parameterType": "categorical", "feasibleSpace": {}}]),
        "feasibleSpace",
        "list is required",
    ),
    "min for categorical": (
        spec(parameters=[{**listed("categorical", "a"), "feasibleSpace": {"list": ["a"], "min": "1"}}]),
        "feasibleSpace",
        "for double and int only",
    ),
    "text in discrete": (spec(parameters=[listed("discrete", "one")]), "list", "needs numbers"),
    "unquoted fraction experiment_8": (
        spec(parameters=[{**listed("discrete"), "feasibleSpace": {"list": [1, 0.5]}}]),
        "list",
        "string",
    ),
    "parallel above max experiment_3": (
        spec(maxTrialCount=2, parallelTrialCount=3),
        "parallelTrialCount",
        "must not be greater",
    ),
    "failed above max experiment_3": (
        spec(maxTrialCount=2, maxFailedTrialCount=3),
        "maxFailedTrialCount",
        "must not be greater",
    ),
    "unknown algorithm experiment_4": (spec(algorithm={"algorithmName": "tpe"}), "algorithmName", '"random", "grid"'),
    "misspelt field experiment_4": (spec(maxTrials=3), "maxTrials", "unknown field"),
    "same name twice experiment_6": (
        spec(parameters=[double(min="0", max="1"), double(min="0", max="1")]),
        "parameters",
        "Duplicate",
    ),
    "same value twice": (spec(parameters=[listed("categorical", "a", "a")]), "list", "Duplicate"),
    "grid over a continuum": (
        spec(algorithm={"algorithmName": "grid"}, parameters=[double(min="0", max="1")]),
        "parameters",
        "grid needs a finite space",
    ),
    "estimator and pipeline": (
        spec(trainer={"estimator": "sklearn.svm.SVC", "pipeline": PIPELINE}),
        "trainer",
        "exactly one of",
    ),
    "no estimator": (spec(trainer={}), "trainer", "exactly one of"),
    "fixed beside pipeline": (
        spec(trainer={"pipeline": PIPELINE, "fixed": {"C": 1}}),
        "fixed",
        "each step has its own",
    ),
    "parameter of no step": (
        spec(trainer={"pipeline": PIPELINE}, parameters=[double(min="0", max="1")]),
        "parameters",
        "<step>__<parameter>",
    ),
    "key as data secret": (spec(seal=KEY, **data(secretRef={"name": "k"})), "data.secretRef", "never reach the key"),
    "key as output secret": (
        spec(seal=KEY, output={**MINIMAL["output"], "secretRef": {"name": "k"}}),
        "output.secretRef",
        "never reach the key",
    ),
    "credentials in the address": (spec(**data(uri="s3://me:secret@factory/x.csv")), "data.uri", "should match"),
    "unknown scheme": (spec(**data(uri="ftp://factory/x.csv")), "data.uri", "should match"),
    "holdout of nothing": (spec(**data(split={"holdoutFraction": "0.0"})), "holdoutFraction", "should match"),
    "short digest": (spec(**data(digest="sha256:abc")), "data.digest", "71"),
    "two comparisons": (spec(acceptance=[NOT_WORSE, NOT_WORSE]), "acceptance", "holds at most one notWorseThan"),
    "demand of nothing": (spec(acceptance=[{}]), "acceptance[0]", "either metric (with minimum or maximum) or"),
    "two demands in one item": (
        spec(acceptance=[{"metric": "f1", "minimum": "1", **NOT_WORSE}]),
        "acceptance[0]",
        "either metric (with minimum or maximum) or notWorseThan",
    ),
    "metric without bound": (spec(acceptance=[{"metric": "f1"}]), "metric", "metric f1 needs a minimum or a maximum"),
    "bound without metric": (spec(acceptance=[{**NOT_WORSE, "minimum": "1"}]), "acceptance[0]", "go with metric"),
    "minimum above maximum": (
        spec(acceptance=[{"metric": "f1", "minimum": "1e0", "maximum": "0.9"}]),
        "minimum",
        "minimum must not be greater than maximum",
    ),
    "unquoted minimum": (spec(acceptance=[{"metric": "f1", "minimum": 0.9}]), "minimum", "string"),
    "negative tolerance": (
        spec(acceptance=[{"notWorseThan": {"modelDeployment": "scrap", "tolerance": "-0.1"}}]),
        "tolerance",
        "should match",
    ),
    "comparison with nothing": (spec(acceptance=[{"notWorseThan": {}}]), "modelDeployment", "Required value"),
    "latency, which is not offered yet": (
        spec(acceptance=[{"latency": {"p99": "2ms"}}]),
        "latency",
        "unknown field",
    ),
    "no data": ({k: v for k, v in spec().items() if k != "data"}, "data", "Required value"),
}


def manifest(body: Mapping[str, Any], name: str = "schema-probe") -> str:
    return json.dumps(
        {"apiVersion": "modelcycle.dev/v1alpha1", "kind": "Experiment", "metadata": {"name": name}, "spec": body}
    )


def refusal(kubectl: Kubectl, *arguments: str, stdin: str) -> str:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        kubectl(*arguments, stdin=stdin)
    return str(caught.value.stderr)


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(kubectl: Kubectl, case: str) -> None:
    kubectl("create", "--dry-run=server", "-n", "default", "-f", "-", stdin=manifest(ACCEPTED[case]))


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name_of_the_field(kubectl: Kubectl, case: str) -> None:
    body, field, text = REFUSED[case]
    told = refusal(kubectl, "create", "--dry-run=server", "-n", "default", "-f", "-", stdin=manifest(body))
    assert field in told
    assert text in told


@pytest.mark.parametrize("name", ["a.b", "x" * 64])
def test_names_are_dns_labels(kubectl: Kubectl, name: str) -> None:
    told = refusal(kubectl, "create", "--dry-run=server", "-n", "default", "-f", "-", stdin=manifest(spec(), name))
    assert "metadata.name must be a DNS label" in told


def test_sample_applies_verbatim(kubectl: Kubectl) -> None:
    samples = Path(__file__).parents[2] / "manifests" / "samples" / "minimal.yaml"
    kinds = [d["kind"] for d in yaml.safe_load_all(samples.read_text())]
    assert kinds[0] == "Experiment"
    kubectl("apply", "--dry-run=server", "-n", "default", "-f", str(samples))


CHANGES: dict[str, Spec] = {
    ".spec.objective": {"objective": {"type": "minimize", "objectiveMetricName": "roc_auc"}},
    ".spec.parameters": {"parameters": [double(min="0", max="2")]},
    ".spec.algorithm": {"algorithm": {"seed": 8}},
    ".spec.data": data(target="other"),
    ".spec.trainer": {"trainer": {"estimator": "sklearn.svm.SVC", "fixed": {"C": 2}}},
    ".spec.output.uri": {"output": {"uri": "s3://elsewhere/scrap"}},
}
STILL: list[Spec] = [
    {"maxTrialCount": 50},
    {"suspend": True},
    {"acceptance": [{"metric": "roc_auc", "minimum": "0.9"}, NOT_WORSE]},
    {"objective": {"type": "maximize", "objectiveMetricName": "roc_auc", "goal": 0.9}},
    data(secretRef={"name": "store"}),
    {"trainer": {"estimator": "sklearn.svm.SVC", "fixed": {"C": 1}, "resources": {"limits": {"memory": "1Gi"}}}},
]


@pytest.fixture
def made(kubectl: Kubectl, namespace: str) -> tuple[str, Spec]:
    body = spec(
        objective={"type": "maximize", "objectiveMetricName": "roc_auc"},
        parameters=[double(min="0", max="1")],
        trainer={"estimator": "sklearn.svm.SVC", "fixed": {"C": 1}},
    )
    kubectl("create", "-n", namespace, "-f", "-", stdin=manifest(body))
    return namespace, body


def succeed(kubectl: Kubectl, namespace: str) -> None:
    status = json.dumps({"status": {"trials": {"succeeded": 1}}})
    kubectl(
        "patch", "experiment", "schema-probe", "-n", namespace, "--subresource=status", "--type=merge", "-p", status
    )


@pytest.mark.parametrize("place", CHANGES)
def test_search_is_frozen_once_a_trial_has_succeeded(kubectl: Kubectl, made: tuple[str, Spec], place: str) -> None:
    namespace, body = made
    changed = manifest({**body, **CHANGES[place]})
    kubectl("replace", "--dry-run=server", "-n", namespace, "-f", "-", stdin=changed)
    succeed(kubectl, namespace)
    told = refusal(kubectl, "replace", "--dry-run=server", "-n", namespace, "-f", "-", stdin=changed)
    assert "cannot change after a trial has succeeded" in told
    assert place.removeprefix(".") in told


def test_the_rest_may_change_for_ever(kubectl: Kubectl, made: tuple[str, Spec]) -> None:
    namespace, body = made
    succeed(kubectl, namespace)
    for change in STILL:
        kubectl("replace", "--dry-run=server", "-n", namespace, "-f", "-", stdin=manifest({**body, **change}))


def test_columns_fit_eighty_characters(kubectl: Kubectl, made: tuple[str, Spec]) -> None:
    namespace, _ = made
    status = {
        "summary": {"trials": "40/40", "best": "roc_auc=0.953", "model": "9f2c1ab0"},
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Succeeded",
                "message": "m",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
                "observedGeneration": 1,
            }
        ],
    }
    patch = json.dumps({"status": status})
    kubectl("patch", "experiment", "schema-probe", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    table = kubectl("get", "experiments", "-n", namespace).splitlines()
    assert table[0].split() == ["NAME", "READY", "STATUS", "TRIALS", "BEST", "MODEL", "AGE"]
    assert table[1].split()[:6] == ["schema-probe", "True", "Succeeded", "40/40", "roc_auc=0.953", "9f2c1ab0"]
    assert max(len(line.rstrip()) for line in table) <= 80
    wide = kubectl("get", "experiments", "-n", namespace, "-o", "wide").splitlines()
    assert wide[0].split()[3:5] == ["GEN", "SEEN"]
