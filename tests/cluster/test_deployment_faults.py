"""What goes wrong with a ModelDeployment on the real thing: refused with a reason, and what serves goes on serving."""

import json
import urllib.request
from typing import Any

import pytest

from canary_ground import Ground
from demo.kubectl import condition, describe, is_current, is_stalled
from demo.store import MODEL_BUCKET
from modelcycle_bundle import keys, layout, oms
from plant import Plant

SECONDS = 240.0


@pytest.fixture(scope="module")
def site(shared_ground: Ground) -> Plant:
    """The namespace."""
    return shared_ground.plant


@pytest.fixture(scope="module")
def sealed(shared_ground: Ground) -> dict[str, str]:
    """A sealed model: uri and digest."""
    return shared_ground.usual.spec


@pytest.fixture(scope="module")
def serving(site: Plant, sealed: dict[str, str]) -> str:
    """A deployment that serves it."""
    site.kubectl.apply(site.deployment("live", model=sealed))
    done = site.kubectl.wait("modeldeployment", "live", lambda o: is_current(o) or is_stalled(o), SECONDS)
    assert is_current(done), describe(done)
    return "live"


def copied(plant: Plant, uri: str, to: str, change: dict[str, bytes | None]) -> str:
    """Copy a bundle; a file whose path ends with a key of `change` gets other bytes, or is left out (None)."""
    prefix = uri.removeprefix(f"s3://{MODEL_BUCKET}/")
    for entry in plant.models.list(prefix):
        content: bytes | None = plant.models.get(entry.path)
        for suffix, other in change.items():
            content = other if entry.path.endswith(suffix) else content
        if content is not None:
            plant.models.put_new(entry.path.replace(prefix, f"{plant.name}/{to}"), content)
    return f"s3://{MODEL_BUCKET}/{plant.name}/{to}"


def flipped(plant: Plant, uri: str) -> bytes:
    content = plant.models.get(f"{uri.removeprefix(f's3://{MODEL_BUCKET}/')}/model/{layout.MODEL_FILE}")
    return content[:-1] + bytes([content[-1] ^ 1])


def refused(plant: Plant, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    plant.kubectl.apply(plant.deployment(name, **spec))
    seen = plant.kubectl.wait("modeldeployment", name, lambda o: is_current(o) or is_stalled(o), SECONDS)
    assert is_stalled(seen), describe(seen)
    return seen


def test_flipped_bit_is_refused(site: Plant, sealed: dict[str, str]) -> None:
    uri = copied(site, sealed["uri"], "flipped", {layout.MODEL_FILE: flipped(site, sealed["uri"])})
    seen = refused(site, "flipped", {"model": {**sealed, "uri": uri}})
    assert condition(seen, "Stalled")["reason"] == "DigestMismatch", describe(seen)
    site.kubectl.wait("modeldeployment", "flipped", lambda o: _no_pods(site, "flipped"), 60)


def test_signature_of_another_key_is_refused_experiment_57(site: Plant, sealed: dict[str, str]) -> None:
    prefix = sealed["uri"].removeprefix(f"s3://{MODEL_BUCKET}/")
    signature = next(e.path for e in site.models.list(f"{prefix}/{layout.SIGNATURES_DIR}"))
    trust = site.kubectl.run("get", "secret", "modelcycle-signing-key", "-o", "jsonpath={.data.public\\.pem}")
    import base64

    manifest = oms.verify(site.models.get(signature), keys.split_pems(base64.b64decode(trust).decode())).manifest
    stranger = keys.generate()
    forged = oms.sign(manifest, stranger.private_pem)
    uri = copied(site, sealed["uri"], "forged", {".sig": forged})
    seen = refused(site, "forged", {"model": {**sealed, "uri": uri}})
    assert condition(seen, "Stalled")["reason"] == "SignatureInvalid", describe(seen)


def test_missing_signature_is_refused(site: Plant, sealed: dict[str, str]) -> None:
    uri = copied(site, sealed["uri"], "unsigned", {".sig": None})
    seen = refused(site, "unsigned", {"model": {**sealed, "uri": uri}})
    assert condition(seen, "Stalled")["reason"] == "SignatureMissing", describe(seen)


def test_image_that_does_not_exist_leaves_stable_serving(site: Plant, sealed: dict[str, str], serving: str) -> None:
    spec = {"model": sealed, "server": {"image": "localhost/no-such-image:none"}}
    seen = refused(site, serving, spec)
    assert condition(seen, "Stalled")["reason"] == "ImageUnavailable", describe(seen)
    assert condition(seen, "Available")["status"] == "True"
    assert _answers(site, serving) == 200
    site.kubectl.apply(site.deployment(serving, model=sealed))
    site.kubectl.wait("modeldeployment", serving, is_current, SECONDS)


def test_tampered_replacement_leaves_stable_serving(site: Plant, sealed: dict[str, str], serving: str) -> None:
    uri = copied(site, sealed["uri"], "swapped", {layout.MODEL_FILE: flipped(site, sealed["uri"])})
    seen = refused(site, serving, {"model": {**sealed, "uri": uri}})
    assert condition(seen, "Stalled")["reason"] == "DigestMismatch", describe(seen)
    assert _answers(site, serving) == 200
    site.kubectl.apply(site.deployment(serving, model=sealed))
    site.kubectl.wait("modeldeployment", serving, is_current, SECONDS)


def _no_pods(plant: Plant, name: str) -> bool:
    return not json.loads(plant.kubectl.run("get", "pods", "-l", f"modelcycle.dev/deployment={name}", "-o", "json"))[
        "items"
    ]


def _answers(plant: Plant, name: str) -> int:
    with (
        plant.kubectl.forward(f"svc/{name}", 80) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready") as answer,
    ):
        return int(answer.status)
