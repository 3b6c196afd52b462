"""Children that somebody else touches, on the real API server with the real controllers: patched, orphaned, edited, mutated."""

import json
import subprocess
from typing import Any

import pytest

from conformance.world import eventually
from control_plane.conftest import Kubectl
from control_plane.test_replacement import Hand, ready
from fakes.deployment_lab import PEM
from modelcycle.kube.client import RestKube
from modelcycle.kube.kinds import CONFIG_MAP, CONTROLLER_REVISION, MODEL_DEPLOYMENT


async def serving(kube: RestKube, namespace: str) -> Hand:
    """A ModelDeployment that serves model a with two replicas."""
    hand = Hand(kube, namespace)
    trust = {"metadata": {"name": "modelcycle-trust", "namespace": namespace}, "data": {namespace: PEM}}
    await kube.create(CONFIG_MAP, namespace, {"apiVersion": "v1", "kind": "ConfigMap", **trust})
    await hand.apply("a")
    await hand.until(lambda status: ready(status, "a"))
    return hand


async def stored(kube: RestKube, namespace: str) -> dict[str, Any]:
    found = await kube.list(CONTROLLER_REVISION, namespace)
    assert len(found) == 1
    return dict(found[0])


async def as_the_release_before_stored(kube: RestKube, kubectl: Kubectl, namespace: str) -> None:
    """Its JSON had spaces, and its form was 1."""
    now = await stored(kube, namespace)
    metadata = now["metadata"]
    kept = {key: metadata[key] for key in ("namespace", "labels", "ownerReferences")}
    name = metadata["name"].replace("-v-", "-r-")
    before = {**now, "metadata": {**kept, "name": name}, "data": {**now["data"], "schema": 1}}
    path = f"/apis/apps/v1/namespaces/{namespace}/controllerrevisions"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(before))
    await kube.delete(CONTROLLER_REVISION, namespace, metadata["name"], metadata["uid"])


async def test_kubectl_can_label_a_controller_revision(rest_kube: RestKube, kubectl: Kubectl, namespace: str) -> None:
    await serving(rest_kube, namespace)
    made = await stored(rest_kube, namespace)
    kubectl("-n", namespace, "label", "controllerrevision", made["metadata"]["name"], "team=line-3")
    assert (await stored(rest_kube, namespace))["metadata"]["labels"]["team"] == "line-3"


async def test_deletion_that_leaves_children_ends_also_where_the_release_before_stored_them(
    rest_kube: RestKube, kubectl: Kubectl, namespace: str
) -> None:
    hand = await serving(rest_kube, namespace)
    await as_the_release_before_stored(rest_kube, kubectl, namespace)
    old = await stored(rest_kube, namespace)
    with pytest.raises(subprocess.CalledProcessError, match="non-zero"):
        kubectl("-n", namespace, "label", "controllerrevision", old["metadata"]["name"], "team=line-3")
    await hand.executor.run(await hand.plan())
    new = await stored(rest_kube, namespace)
    assert new["data"] == {**old["data"], "schema": 2}
    assert (await hand.plan()).actions == ()
    kubectl("-n", namespace, "delete", "modeldeployment", "scrap", "--cascade=orphan", "--wait=false")

    async def gone() -> bool:
        return await rest_kube.get(MODEL_DEPLOYMENT, namespace, "scrap") is None

    assert await eventually(gone)
    assert "ownerReferences" not in (await stored(rest_kube, namespace))["metadata"]


async def test_data_of_a_controller_revision_are_patchable_whatever_they_hold(
    rest_kube: RestKube, kubectl: Kubectl, namespace: str
) -> None:
    data = {"b": "x&<>\u00e9 \U0001d11e\u2028 \x7f\n\t\x01", "a": {"z": 1, "y": [1, {"q": True}]}}
    body = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": "c"},
        "revision": 1,
        "data": data,
    }
    made = await rest_kube.create(CONTROLLER_REVISION, namespace, body)
    kubectl("-n", namespace, "label", "controllerrevision", "c", "team=line-3")
    assert (await stored(rest_kube, namespace))["data"] == made["data"] == data
