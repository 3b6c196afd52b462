"""No value that a spec lets people choose without a difference: each has a case in the labs, and no two cases come to the same."""

import dataclasses
import enum
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from fakes.choices import CHOICES, refusal
from modelcycle.api import driftmonitor, experiment, modeldeployment

ROOT: Final = Path(__file__).parents[3]
SPECS: Final = (modeldeployment.Spec, experiment.ExperimentSpec, driftmonitor.MonitorSpec)
NOT_REQUIRED: Final = "None"
"""The value of an approval that is not required: no `source` at all."""
EVERY: Final = [(path, value) for path, choice in CHOICES.items() for value in choice.cases]


def typed(spec: type, seen: set[type]) -> Iterator[tuple[str, list[str]]]:
    """Fields of a spec, at any depth, with a choice of values: members of enumerations, and kinds of steps."""
    seen.add(spec)
    for name, hint in typing.get_type_hints(spec).items():
        parts = list(leaves(hint))
        kinds = [part for part in parts if dataclasses.is_dataclass(part)]
        if len(kinds) > 1:
            yield f"{spec.__name__}.{name}", [kind.__name__[0].lower() + kind.__name__[1:] for kind in kinds]
        for part in parts:
            if issubclass(part, enum.Enum):
                yield f"{spec.__name__}.{name}", [str(member.value) for member in part]
        for kind in kinds:
            if kind not in seen:
                yield from typed(kind, seen)


def leaves(hint: Any) -> Iterator[type]:
    """The classes in a type: of `tuple[Step, ...] | None` those of `Step`, and that of None."""
    inner = [argument for argument in typing.get_args(hint) if argument is not ...]
    for argument in inner:
        yield from leaves(argument)
    if not inner and isinstance(hint, type):
        yield hint


def admitted(kind: str, node: Mapping[str, Any], path: str) -> Iterator[tuple[str, list[str]]]:
    """Fields of a schema with a choice of values."""
    if "enum" in node:
        yield f"{kind} {path}", [str(value) for value in node["enum"]]
    for name, child in node.get("properties", {}).items():
        yield from admitted(kind, child, f"{path}.{name}")
    if isinstance(node.get("items"), Mapping):
        yield from admitted(kind, node["items"], f"{path}[]")


def in_schemas() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file in sorted((ROOT / "crds").glob("*s.yaml")):
        body = yaml.safe_load(file.read_text())
        if body["kind"] == "CustomResourceDefinition":
            schema = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            found |= dict(admitted(body["spec"]["names"]["kind"], schema["properties"]["spec"], "spec"))
    return found


def test_every_choice_in_the_types_of_the_api_has_its_cases() -> None:
    found = {field: values for spec in SPECS for field, values in typed(spec, set())}
    cases = {choice.field: list(choice.cases) for choice in CHOICES.values() if choice.field}
    assert {field: sorted(values) for field, values in cases.items()} == {
        field: sorted(values) for field, values in found.items()
    }


def test_every_choice_in_the_schemas_has_its_cases() -> None:
    schemas = in_schemas()
    cases = {
        path: sorted(set(choice.cases) - {NOT_REQUIRED})
        for path, choice in CHOICES.items()
        if not path.endswith("steps[]")  # fields of their own in the schema
    }
    assert cases == {path: sorted(values) for path, values in schemas.items()}


@pytest.mark.parametrize("path", CHOICES)
def test_no_two_values_come_to_the_same(path: str) -> None:
    by_outcome: dict[str, list[str]] = {}
    for value, outcome in CHOICES[path].cases.items():
        by_outcome.setdefault(repr(outcome), []).append(value)
    assert [values for values in by_outcome.values() if len(values) > 1] == []


@pytest.mark.parametrize(("path", "value"), EVERY)
def test_a_value_does_what_its_case_says(path: str, value: str) -> None:
    choice = CHOICES[path]
    assert choice.outcome(choice.spec(value)) == choice.cases[value]


@pytest.mark.parametrize("path", CHOICES)
def test_a_value_that_nobody_knows_is_refused_with_its_field_and_what_is_possible(path: str) -> None:
    kind, field = path.split()
    said = refusal(kind, CHOICES[path].spec("unheard"))
    assert re.match(re.escape(field).replace(r"\[\]", r"\[\d\]") + ": ", said), said
    assert all(value in said for value in CHOICES[path].cases if value != NOT_REQUIRED)
    assert "'unheard' is unknown" in said or "exactly one of" in said


@pytest.mark.parametrize("text", ["1e999", "nan", "true", "a"])
def test_a_discrete_value_that_is_no_number_is_refused_by_name(text: str) -> None:
    # The schema admits 1e999; it ended every look at the object.
    spec = CHOICES["Experiment spec.parameters[].parameterType"].spec("discrete")
    spec["parameters"][0]["feasibleSpace"]["list"] = ["1", text]
    assert refusal("Experiment", spec).startswith(f"spec.parameters[0].feasibleSpace.list: '{text}' is no number")
