"""The component manifests/components/references: two prefixed overlays of one base, each of which refers to its own objects alone."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
KUBECTL = Path(sys.executable).parent / "kubectl"
SAMPLES = ("experiment", "modeldeployment", "driftmonitor")
SECRETS = ("store-credentials", "modelcycle-signing-key")
CRDS = ROOT / "crds"


def overlay(folder: Path, prefix: str, *components: str) -> list[dict[str, Any]]:
    """What kustomize makes of the samples and generated Secrets under a prefix."""
    base = folder / "base"
    if not base.exists():
        base.mkdir()
        for name in SAMPLES:
            shutil.copy(ROOT / "manifests" / "samples" / f"{name}.yaml", base)
        monitor = yaml.safe_load((base / "driftmonitor.yaml").read_text())
        monitor["spec"]["actions"]["retrain"]["data"]["secretRef"] = {"name": "store-credentials"}
        (base / "driftmonitor.yaml").write_text(yaml.safe_dump(monitor))
        experiment = yaml.safe_load((base / "experiment.yaml").read_text())
        experiment["spec"]["acceptance"] = [{"notWorseThan": {"modelDeployment": "scrap"}}]
        (base / "experiment.yaml").write_text(yaml.safe_dump(experiment))
        generated = [{"name": name, "namespace": "plant-7", "literals": ["key=value"]} for name in SECRETS]
        text = {"resources": [f"{name}.yaml" for name in SAMPLES], "secretGenerator": generated}
        (base / "kustomization.yaml").write_text(yaml.safe_dump(text))
        shutil.copytree(ROOT / "manifests" / "components" / "references", folder / "references")
    mine = folder / prefix.strip("-")
    mine.mkdir()
    text = {"resources": ["../base"], "namePrefix": prefix, "components": list(components)}
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(text))
    done = subprocess.run([str(KUBECTL), "kustomize", str(mine)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def references(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every `...Ref: {name}`, and the ModelDeployment of an acceptance, with its path."""
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from references(item, f"{path}[{at}]")
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key.endswith("Ref") and isinstance(item, dict):
            yield f"{path}.{key}", item["name"]
        if key == "modelDeployment":
            yield f"{path}.{key}", item
        yield from references(item, f"{path}.{key}")


@pytest.mark.parametrize("prefix", ["line-3-", "line-4-"])
def test_an_overlay_with_a_prefix_refers_to_its_own_objects(tmp_path: Path, prefix: str) -> None:
    overlay(tmp_path, "other-", "../references")
    rendered = overlay(tmp_path, prefix, "../references")
    names = {obj["metadata"]["name"] for obj in rendered}
    found = dict(ref for obj in rendered for ref in references(obj.get("spec"), obj["kind"]))
    assert len(found) == 9, found
    assert {path: name for path, name in found.items() if name not in names} == {}
    assert all(name.startswith(prefix) for name in found.values())


def test_every_reference_of_the_schemas_is_configured() -> None:
    text = yaml.safe_load((ROOT / "manifests/components/references/references.yaml").read_text())
    configured = {(f["kind"], f["path"]) for entry in text["nameReference"] for f in entry["fieldSpecs"]}
    assert configured == {found for crd in CRDS.glob("*s.yaml") for found in in_schema(yaml.safe_load(crd.read_text()))}


def in_schema(crd: dict[str, Any]) -> Iterator[tuple[str, str]]:
    def walk(schema: dict[str, Any], path: str) -> Iterator[str]:
        for name, inner in (schema.get("items") or schema).get("properties", {}).items():
            if name.endswith("Ref"):
                yield f"{path}/{name}/name"
            if name == "modelDeployment":
                yield f"{path}/{name}"
            yield from walk(inner, f"{path}/{name}")

    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return ((crd["spec"]["names"]["kind"], path) for path in walk(spec, "spec"))
