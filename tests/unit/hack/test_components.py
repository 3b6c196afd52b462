"""A component is found by its name alone: folder, namespace, Deployment, Service, port and image have to fit."""

from pathlib import Path

import pytest
import yaml

from devcluster.addons import COMPONENTS, Component
from devcluster.binaries import ALL, GO_FOLDERS, IN_IMAGES
from devcluster.cli import parser
from devcluster.image_specs import COREDNS, Image

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=COMPONENTS)
def test_manifests_are_as_the_name_says(component: Component) -> None:
    folder = ROOT / "manifests/components" / component.name
    objects = list(yaml.safe_load_all((folder / f"{component.name}.yaml").read_text()))
    found = {(o["kind"], o["metadata"]["name"]): o for o in objects}
    assert ("Namespace", component.namespace) in found
    assert yaml.safe_load((folder / "kustomization.yaml").read_text())["namespace"] == component.namespace
    pod = found["Deployment", component.name]["spec"]["template"]["spec"]
    # Replaced by name and digest: what stayed would be looked for in a registry.
    assert {c["image"] for c in [*pod["containers"], *pod.get("initContainers", ())]} == {component.image.tag}
    assert [p["port"] for p in found["Service", component.name]["spec"]["ports"]] == [component.port]
    assert parser().parse_args([component.name]).command == component.name


@pytest.mark.parametrize("image", [COREDNS, *(c.image for c in COMPONENTS.values())], ids=lambda image: image.name)
def test_an_image_is_made_around_a_program_that_is_built(image: Image) -> None:
    program = IN_IMAGES[image.binary]
    assert program in ALL
    assert image.binary in dict(program.commands)
    assert (GO_FOLDERS / program.folder / "go.sum").is_file()
    assert f"COPY {image.binary} " in (ROOT / image.dockerfile).read_text()
