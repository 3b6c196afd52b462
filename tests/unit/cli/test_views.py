"""What `status` and `explain` say about frozen objects, to the letter; and that they say something about any object."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from modelcycle.api.driftmonitor import MonitorReason
from modelcycle.api.experiment import ExperimentReason
from modelcycle.api.modeldeployment import DeploymentReason
from modelcycle.cli import advice, status, views
from modelcycle.cli.explain import explain
from modelcycle.cli.views import Score

HERE = Path(__file__).parent
STATES = HERE.parents[1] / "states"
EXPECTED = HERE / "expected"
NAMES = sorted(f"{path.parent.name}/{path.stem}" for path in STATES.glob("*/*.yaml"))
Object = dict[str, Any]


def state(name: str) -> Object:
    loaded: Object = yaml.safe_load((STATES / f"{name}.yaml").read_text())
    return loaded


def shown(objects: list[Object], width: int) -> str:
    console = Console(width=width, highlight=False, force_terminal=False)
    with console.capture() as captured:
        console.print(status.render(status.overview("plant-7", objects), width))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def plant() -> list[Object]:
    """One namespace with objects in different states, named after them."""
    names = ["canary", "rejected", "awaiting-approval", "serving"]
    chosen = [f"modeldeployment/{n}" for n in names] + ["experiment/searching", "driftmonitor/drift"]
    objects = []
    for name in chosen:
        obj = state(name)
        obj["metadata"]["name"] = name.partition("/")[2]
        objects.append(obj)
    return objects


@pytest.mark.parametrize("width", [80, 140])
def test_status_shows_a_namespace(width: int) -> None:
    assert shown(plant(), width) == (EXPECTED / f"status-{width}.txt").read_text()


def test_status_of_an_empty_namespace_says_so() -> None:
    assert shown([], 120) == "nothing of modelcycle in namespace plant-7 (-n names another)\n"


@pytest.mark.parametrize(
    "name",
    [
        "modeldeployment/canary",
        "modeldeployment/rejected",
        "modeldeployment/awaiting-approval",
        "experiment/searching",
        "driftmonitor/drift",
    ],
)
def test_explain_says_why(name: str) -> None:
    assert explain(state(name)).as_text() + "\n" == (EXPECTED / f"explain-{name.replace('/', '-')}.txt").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_state_is_shown_and_explained(name: str) -> None:
    obj = state(name)
    assert obj["metadata"]["name"] in shown([obj], 100)
    text = explain(obj).as_text()
    ready = next((c for c in obj.get("status", {}).get("conditions", ()) if c["type"] == "Ready"), None)
    assert ready is None or (ready["reason"] in text and ready["message"] in text)


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith(("new", "stale"))])
def test_what_the_operator_has_not_answered_is_not_passed_off_as_current_delivery_73(name: str) -> None:
    obj = state(name)
    generation = obj["metadata"]["generation"]
    assert f"the operator has not answered generation {generation} yet" in shown([obj], 200)
    assert "NOT answered by the operator yet" in explain(obj).as_text()


def test_figures_of_all_looks_are_computed_again_and_agree_with_status() -> None:
    obj = state("modeldeployment/rejected")
    recorded = obj["status"]["analysis"]["metrics"][0]["evidence"]
    same = f"computed again from all 3 looks: E = {recorded['rollback']}, P = {recorded['promote']}\n"
    assert same in explain(obj).as_text()
    kept = json.loads(obj["status"]["analysis"]["state"])
    kept["recent"][0][2] = 0
    obj["status"]["analysis"]["state"] = json.dumps(kept)
    assert same not in explain(obj).as_text()


@pytest.mark.parametrize(
    ("now", "bar", "progress"),
    [
        (1.0, 100.0, 0.0),
        (0.2, 100.0, 0.0),
        (10.0, 100.0, 0.5),
        (100.0, 100.0, 1.0),
        (1e9, 100.0, 1.0),
        (None, 20.0, 0.0),
    ],
)
def test_bars_go_by_logarithms(now: float | None, bar: float, progress: float) -> None:
    assert Score(now, bar).progress == pytest.approx(progress)
    assert status.bar(Score(now, bar), 10) == "█" * round(progress * 10) + "░" * round(10 - progress * 10)


def test_advice_is_about_reasons_that_exist() -> None:
    known = {*DeploymentReason, *ExperimentReason, *MonitorReason}
    assert set(advice.BY_REASON) <= known


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("modeldeployment/awaiting-approval", "kubectl modelcycle approve scrap -n plant-7"),
        ("modeldeployment/canary-paused", "kubectl modelcycle promote scrap -n plant-7"),
        ("modeldeployment/rejected", "kubectl modelcycle retry scrap -n plant-7"),
        ("experiment/stalled", "kubectl modelcycle keygen -n plant-7"),
    ],
)
def test_advice_names_the_command(name: str, command: str) -> None:
    assert any(command in line for line in advice.steps(state(name)))


def test_serving_needs_no_advice() -> None:
    assert advice.steps(state("modeldeployment/serving")) == ()


def properties(schema: Object) -> set[str]:
    """Names of all properties of a schema, at any depth."""
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return {*schema.get("properties", {})}.union(*(properties(child) for child in inner))


SCHEMAS = [
    yaml.safe_load(path.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    for path in sorted((HERE.parents[2] / "crds").glob("*s.yaml"))
]
FIELDS = sorted(set().union(*(schema["properties"] for schema in SCHEMAS)))
KEYS = st.sampled_from(sorted(set().union(*map(properties, SCHEMAS))))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["Steps", "1.5", "1,2"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(
    kind=st.sampled_from(["ModelDeployment", "Experiment", "DriftMonitor"]),
    fields=st.dictionaries(st.sampled_from(FIELDS), json_values),
    spec=json_values,
)
def test_objects_of_other_versions_are_shown_too(kind: str, fields: Object, spec: Any) -> None:
    obj = {"kind": kind, "metadata": {"name": "x", "namespace": "y"}, "spec": spec, "status": fields}
    assert "x" in shown([obj], 100)
    assert explain(obj).as_text()
    assert views.pending(obj) is not None
