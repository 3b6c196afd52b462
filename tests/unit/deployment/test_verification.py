"""Who verifies what is served: the operator's own image, whatever an editor of the ModelDeployment names."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from fakes.deployment_lab import IMAGE, NAME, NAMESPACE, SYSTEM, UID, Lab, digest, model
from fakes.faults import RaiseAt, crash
from modelcycle.api.modeldeployment import parse
from modelcycle.deployment import manifests
from modelcycle.deployment.resolve import resolve
from modelcycle.deployment.revision import Target
from modelcycle.deployment.verification import is_by_server_image
from modelcycle.deployment.world import PodDefaults, Unresolved, revision_view
from modelcycle.kube.kinds import CONTROLLER_REVISION, DEPLOYMENT, POD
from modelcycle.settings import Settings, SettingsError, from_environment
from modelcycle_bundle import layout

STORED = json.loads((Path(__file__).parent / "stored" / "controller_revisions.json").read_text())
"""ControllerRevisions as the release before wrote them, the image of its settings the same for all."""
OTHERS = "registry.example/ours:1"
NEEDED = {"MODELCYCLE_TRAINING_IMAGE": "t", "MODELCYCLE_SERVING_IMAGE": "s"}


def stored(case: str) -> dict[str, Any]:
    body = copy.deepcopy(next(one["body"] for one in STORED if one["case"] == case))
    return {**body, "metadata": {**body["metadata"], "uid": "u"}}


def template_of(lab: Lab, letter: str) -> dict[str, Any]:
    found = [r for r in lab.kube.find(CONTROLLER_REVISION, NAMESPACE) if r["data"]["digest"] == digest(letter)]
    template: dict[str, Any] = found[0]["data"]["template"]
    return template


def images(template: dict[str, Any]) -> tuple[str, str]:
    """Of the fetch step and of the server."""
    return template["spec"]["initContainers"][0]["image"], template["spec"]["containers"][0]["image"]


def template(image: str | None, uri: str = model("a")["uri"]) -> dict[str, Any]:
    target = Target(uri, digest("a"), None, image)
    return manifests.pod_template("scrap", "uid-1", "abc", target, PodDefaults(IMAGE))


async def upgraded(case: str, seconds: float = 10) -> Lab:
    """A ModelDeployment that an operator of the release before left serving."""
    lab = Lab()
    body = stored(case)
    template = body["data"]["template"]
    lab.apply(model=model("a"), server={"image": OTHERS} if images(template)[1] == OTHERS else {})
    await lab.run(seconds=10)
    made = lab.kube.find(CONTROLLER_REVISION, NAMESPACE)[0]["metadata"]["name"]
    lab.kube.remove(CONTROLLER_REVISION, NAMESPACE, made)
    lab.kube.seed(CONTROLLER_REVISION, NAMESPACE, body, manager="modelcycle")
    deployment = manifests.deployment_name(NAME, UID, body["data"]["hash"])
    change = {"template": template}
    lab.kube.edit(DEPLOYMENT, NAMESPACE, deployment, lambda b: b["spec"].update(change), manager="modelcycle")
    await lab.run(seconds=seconds)
    return lab


def test_image_that_a_user_names_serves_and_does_not_verify() -> None:
    assert images(template(OTHERS)) == (IMAGE, OTHERS)
    assert images(template(None)) == (IMAGE, IMAGE)


@pytest.mark.parametrize("uri", [model("a")["uri"], "pvc://models/scrap"])
def test_server_writes_nothing_that_the_fetch_step_wrote_or_reads(uri: str) -> None:
    spec = template(OTHERS, uri)["spec"]
    verifying = {m["name"] for m in spec["initContainers"][0]["volumeMounts"]}
    for container in spec["containers"]:
        writable = {m["name"] for m in container["volumeMounts"] if not m.get("readOnly")}
        assert not writable & verifying
        assert layout.BUNDLE_MOUNT in {m["mountPath"] for m in container["volumeMounts"]}


async def test_revision_that_the_image_of_a_user_had_verified_keeps_its_pods_and_is_reported_until_the_next_rollout() -> (
    None
):
    lab = await upgraded("image")
    assert template_of(lab, "a") == stored("image")["data"]["template"]
    assert (lab.reason, lab.condition("Trusted")["reason"]) == ("Serving", "FetchByServerImage")  # type: ignore[index]
    assert lab.condition("Trusted")["status"] == "False"  # type: ignore[index]
    assert await lab.quiet() == []
    lab.apply(model=model("b"), server={"image": OTHERS})
    await lab.run(seconds=90)
    assert (lab.serving, images(template_of(lab, "b"))) == ("b", (IMAGE, OTHERS))
    assert lab.condition("Trusted")["reason"] == "KeysTrusted"  # type: ignore[index]


async def test_going_back_to_such_a_revision_verifies_it_with_the_operators_image() -> None:
    lab = await upgraded("image")
    lab.apply(model=model("b"), server={"image": OTHERS})
    await lab.run(seconds=90)
    lab.apply(model=model("a"), server={"image": OTHERS})
    await lab.run(seconds=90)
    assert (lab.serving, images(template_of(lab, "a"))) == ("a", (IMAGE, OTHERS))
    pods = [d["spec"]["template"] for d in lab.kube.find(DEPLOYMENT, NAMESPACE) if d["spec"]["replicas"]]
    assert [images(one) for one in pods] == [(IMAGE, OTHERS)]
    assert lab.condition("Trusted")["reason"] == "KeysTrusted"  # type: ignore[index]


@pytest.mark.parametrize("at", [None, 0, 1])
async def test_template_in_bytes_that_nobody_can_patch_is_stored_once_more_and_starts_no_rollout(
    at: int | None,
) -> None:
    lab = await upgraded("default", seconds=0)
    pods = lab.kube.find(POD, NAMESPACE)
    if at is not None:
        lab.fault(RaiseAt(at, crash), landed=True)
        await lab.reconcile()
        lab.no_fault()
    await lab.run(seconds=10)
    found = lab.kube.find(CONTROLLER_REVISION, NAMESPACE)
    assert [one["data"] for one in found] == [{**stored("default")["data"], "schema": 2}]
    assert found[0]["metadata"]["name"] != stored("default")["metadata"]["name"]
    assert (lab.kube.find(POD, NAMESPACE), lab.reason) == (pods, "Serving")
    assert await lab.quiet() == []


@pytest.mark.parametrize("case", [one["case"] for one in STORED])
def test_revisions_of_the_release_before_are_told_apart_by_what_their_spec_named(case: str) -> None:
    assert is_by_server_image(revision_view(stored(case)), IMAGE) is ("image" in case)


def test_image_of_a_user_that_is_the_operators_own_is_no_finding() -> None:
    assert not is_by_server_image(revision_view(stored("image")), OTHERS)


def test_own_revision_stays_trusted_when_the_operators_image_moves_on() -> None:
    target = Target(model("a")["uri"], digest("a"), None, IMAGE)
    own = {"spec": {}, "metadata": {"name": "r", "uid": "u"}, "revision": 1}
    data = {"hash": target.hash, "uri": target.uri, "digest": target.digest}
    data["template"] = manifests.pod_template("scrap", "uid-1", target.hash, target, PodDefaults(IMAGE))  # type: ignore[assignment]
    assert not is_by_server_image(revision_view({**own, "data": data}), "localhost/newer:1")


@pytest.mark.parametrize(
    ("image", "allowed"),
    [
        ("registry.example/ours:1", True),
        ("registry.example/team/ours@sha256:" + "1" * 64, True),
        ("registry.example.evil/ours:1", False),
        ("evil/registry.example/ours:1", False),
        ("REGISTRY.example/ours:1", False),
    ],
)
def test_images_that_may_serve_are_those_of_the_operators_patterns(image: str, allowed: bool) -> None:
    spec = parse({"model": model("a"), "server": {"image": image}})
    found = resolve(spec, None, ("registry.example/*", "localhost/x:?"))
    assert isinstance(found, Target) is allowed
    if isinstance(found, Unresolved):
        assert (found.reason, found.stalled) == ("ImageNotAllowed", True)
        for part in ("spec.server.image", image, "MODELCYCLE_ALLOWED_SERVER_IMAGES", "registry.example/*"):
            assert part in found.message


async def test_image_that_is_not_allowed_is_refused_and_stable_goes_on() -> None:
    lab = Lab()
    lab.apply(model=model("a"))
    await lab.run(seconds=10)
    lab.allowed_server_images = ("registry.example/*",)
    lab.apply(model=model("b"), server={"image": "evil/x:1"})
    await lab.run(seconds=10)
    assert (lab.reason, lab.serving, set(lab.sizes())) == ("ImageNotAllowed", "a", {"a"})
    lab.apply(model=model("b"), server={"image": OTHERS})
    await lab.run(seconds=90)
    assert (lab.reason, lab.serving) == ("Serving", "b")


def test_settings_of_images_and_ids() -> None:
    assert from_environment(NEEDED).allowed_server_images == ("*",)
    named = from_environment({**NEEDED, "MODELCYCLE_ALLOWED_SERVER_IMAGES": " a/* , b:? "})
    assert named.allowed_server_images == ("a/*", "b:?")
    assert from_environment(NEEDED).pod_user == Settings("t", "s", SYSTEM).pod_user == 65532
    assert from_environment({**NEEDED, "MODELCYCLE_POD_USER": "1000650000"}).pod_user == 1000650000
    assert from_environment({**NEEDED, "MODELCYCLE_POD_USER": "platform"}).pod_user is None


@pytest.mark.parametrize("text", ["0", "root", "-1", "1.5"])
def test_user_id_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError, match="MODELCYCLE_POD_USER"):
        from_environment({**NEEDED, "MODELCYCLE_POD_USER": text})
