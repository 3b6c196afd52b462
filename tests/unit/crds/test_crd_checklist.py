"""The checklist for CRDs, walked over every property of every file in crds/: types, descriptions, bounds, rules with messages."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

CRDS = Path(__file__).parents[3] / "crds"
FILES = sorted(p for p in CRDS.glob("*.yaml") if p.name != "kustomization.yaml")
Node = Mapping[str, Any]
STANDARD: Final = {"/apiVersion", "/kind", "/metadata"}
ID = [p.stem for p in FILES]


def crd(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def nodes(schema: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every schema node with its path; items are `[]`, additionalProperties `{}`."""
    if path in STANDARD:
        return
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}/{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def versions(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = crd(path)["spec"]["versions"]
    return found


def every_node(path: Path) -> list[tuple[str, Node]]:
    return [node for v in versions(path) for node in nodes(v["schema"]["openAPIV3Schema"])]


def is_free(node: Node) -> bool:
    return bool(node.get("x-kubernetes-int-or-string") or node.get("x-kubernetes-preserve-unknown-fields"))


def missing_bounds(at: str, node: Node) -> list[str]:
    """Bounds that a node lacks. What the operator alone writes is bounded by its format: date-time, int32, int64."""
    if "enum" in node or is_free(node):
        return []
    kind = node.get("type")
    if at.startswith("/status/") and "format" in node:
        return [] if kind == "string" or "minimum" in node else ["minimum"]
    if kind == "string":
        return [] if "maxLength" in node else ["maxLength"]
    if kind == "array":
        return [] if "maxItems" in node else ["maxItems"]
    if kind in ("integer", "number"):
        return [bound for bound in ("minimum", "maximum") if bound not in node]
    if kind == "object" and "additionalProperties" in node:
        return [] if "maxProperties" in node else ["maxProperties"]
    return []


def test_there_is_something_to_check() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=ID)
def test_names_and_versions(path: Path) -> None:
    spec = crd(path)["spec"]
    assert crd(path)["metadata"]["annotations"]["modelcycle.dev/schema"] == "3"
    assert (spec["group"], spec["scope"]) == ("modelcycle.dev", "Namespaced")
    assert spec["names"]["categories"] == ["modelcycle"]
    assert {"singular", "plural", "listKind", "kind"} <= spec["names"].keys()
    assert not set(spec["names"].get("shortNames", ())) & {"md", "ma", "ms", "mp", "mhc"}
    for version in spec["versions"]:
        assert "status" in version["subresources"]
        assert "scale" not in version["subresources"]
        assert [c["name"].upper() for c in version["additionalPrinterColumns"] if not c.get("priority")][-1] == "AGE"


@pytest.mark.parametrize("path", FILES, ids=ID)
def test_each_node_has_a_type(path: Path) -> None:
    assert [at for at, node in every_node(path) if "type" not in node and not is_free(node)] == []


@pytest.mark.parametrize("path", FILES, ids=ID)
def test_each_node_is_described(path: Path) -> None:
    assert [at for at, node in every_node(path) if len(node.get("description", "")) < 4] == []


@pytest.mark.parametrize("path", FILES, ids=ID)
def test_each_node_is_bounded(path: Path) -> None:
    assert {at: bounds for at, node in every_node(path) if (bounds := missing_bounds(at, node))} == {}


@pytest.mark.parametrize("path", FILES, ids=ID)
def test_bounds_survive_the_float_that_carries_them(path: Path) -> None:
    """A maximum beyond 2^53 is rounded up out of int64, and the API server then refuses every object."""
    assert [
        at for at, node in every_node(path) if node.get("type") == "integer" and node.get("maximum", 0) > 2**53
    ] == []


@pytest.mark.parametrize("path", FILES, ids=ID)
def test_patterns_are_anchored(path: Path) -> None:
    patterns = {at: node["pattern"] for at, node in every_node(path) if "pattern" in node}
    assert {at: p for at, p in patterns.items() if not (p.startswith("^") and p.endswith("$"))} == {}


@pytest.mark.parametrize("path", FILES, ids=ID)
def test_lists_say_how_they_merge(path: Path) -> None:
    lists = {at: node for at, node in every_node(path) if node.get("type") == "array"}
    assert [at for at, node in lists.items() if "x-kubernetes-list-type" not in node] == []
    assert lists["/status/conditions"]["x-kubernetes-list-map-keys"] == ["type"]


@pytest.mark.parametrize("path", FILES, ids=ID)
def test_rules_have_a_message_and_a_place(path: Path) -> None:
    rules = [(at, rule) for at, node in every_node(path) for rule in node.get("x-kubernetes-validations", ())]
    assert [at for at, rule in rules if not rule.get("message")] == []
    assert rules[0][0] == "", "the first rule checks metadata.name at the root"


@pytest.mark.parametrize("path", FILES, ids=ID)
def test_nothing_unknown_is_kept_but_where_it_is_said(path: Path) -> None:
    kept = {at for at, node in every_node(path) if node.get("x-kubernetes-preserve-unknown-fields")}
    assert {at for at in kept if not at.endswith("/fixed")} == set()


@pytest.mark.parametrize("path", FILES, ids=ID)
def test_conditions_are_those_of_kubernetes(path: Path) -> None:
    by_path = dict(every_node(path))
    wanted = {"type", "status", "reason", "message", "observedGeneration", "lastTransitionTime"}
    assert set(by_path["/status/conditions[]"]["properties"]) == wanted
    assert {"/status/observedGeneration", "/status/stateVersion"} <= by_path.keys()


@pytest.mark.parametrize("path", FILES, ids=ID)
def test_the_schema_itself_is_small(path: Path) -> None:
    assert len(json.dumps(crd(path))) < 256 * 1024


@pytest.mark.parametrize("path", FILES, ids=ID)
def test_no_key_is_a_truth_value_for_a_reader_of_older_yaml(path: Path) -> None:
    bare = re.findall(r"^\s*(?:[yYnN]|yes|no|on|off):", path.read_text(), re.MULTILINE | re.IGNORECASE)
    assert bare == []


@pytest.mark.parametrize("path", FILES, ids=ID)
def test_explain_says_of_every_number_that_may_be_text_that_fractions_are_quoted(path: Path) -> None:
    numbers = {
        at: node["description"].lower()
        for at, node in every_node(path)
        if at.startswith("/spec/") and (node.get("x-kubernetes-int-or-string") or "[0-9]" in decimal_part(node))
    }
    assert numbers
    assert [at for at, said in numbers.items() if "quote" not in said] == []


def decimal_part(node: Node) -> str:
    """The pattern of a node where it takes a fraction, a point and digits, without a unit."""
    pattern: str = node.get("pattern", "")
    return pattern if re.fullmatch(r"\^.*(\\\.|\[\.\]).*\$", pattern) and re.fullmatch(pattern, "0.5") else ""
