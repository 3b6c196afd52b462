"""Children that somebody else touches, on the real API server with the real controllers: patched, orphaned, edited, mutated."""

import json
import subprocess
from typing import Any

import pytest

from conformance.world import eventually
from control_plane.conftest import Kubectl
from control_plane.test_replacement import Hand, ready
from fakes.deployment_lab import PEM
from modelcycle.engine.plan import Emit, WriteStatus
from modelcycle.kube.client import RestKube
from modelcycle.kube.kinds import CONFIG_MAP, CONTROLLER_REVISION, DEPLOYMENT, MODEL_DEPLOYMENT, SERVICE


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


async def settled(hand: Hand) -> dict[str, Any]:
    """Reconciled until the model serves and nothing is left to do."""
    status = await hand.until(lambda status: ready(status, "a"))
    assert [action for action in (await hand.plan()).actions if not isinstance(action, Emit | WriteStatus)] == []
    return status


def altered(status: dict[str, Any]) -> str:
    found = [c["message"] for c in status["conditions"] if c["type"] == "ChildrenAltered"]
    return str(found[0]) if found else ""


async def test_port_of_a_service_that_was_changed_by_hand_is_put_back(
    rest_kube: RestKube, kubectl: Kubectl, namespace: str
) -> None:
    hand = await serving(rest_kube, namespace)
    patch = [{"op": "replace", "path": "/spec/ports/0/port", "value": 8080}]
    kubectl("-n", namespace, "patch", "service", "scrap", "--type=json", "-p", json.dumps(patch))
    await hand.executor.run(await hand.plan())
    service = await rest_kube.get(SERVICE, namespace, "scrap")
    assert service is not None
    assert [port["port"] for port in service["spec"]["ports"]] == [80]
    assert altered(await settled(hand)) == ""


async def test_what_was_added_to_a_pod_template_by_hand_is_put_back(
    rest_kube: RestKube, kubectl: Kubectl, namespace: str
) -> None:
    hand = await serving(rest_kube, namespace)
    before = await template_of(rest_kube, namespace)
    sidecar = {"name": "sidecar", "image": "x", "ports": [{"containerPort": 9}]}
    server = {"name": "server", "securityContext": {"runAsUser": 0}, "env": [{"name": "PYTHONPATH", "value": "/x"}]}
    added = {"hostNetwork": True, "serviceAccountName": "x", "containers": [sidecar, server]}
    patch = {"spec": {"paused": True, "template": {"spec": added}}}
    name = (await rest_kube.list(DEPLOYMENT, namespace))[0]["metadata"]["name"]
    kubectl("-n", namespace, "patch", "deployment", name, "--type=strategic", "-p", json.dumps(patch))

    async def put_back() -> bool:
        # A write of the Deployment controller in between is answered by observing again, as in the operator.
        await hand.executor.run(await hand.plan())
        return await template_of(rest_kube, namespace) == before

    assert await eventually(put_back)
    assert altered(await settled(hand)) == ""


async def test_rollout_restart_is_nothing_to_put_back(rest_kube: RestKube, kubectl: Kubectl, namespace: str) -> None:
    hand = await serving(rest_kube, namespace)
    name = (await rest_kube.list(DEPLOYMENT, namespace))[0]["metadata"]["name"]
    kubectl("-n", namespace, "rollout", "restart", f"deployment/{name}")
    await settled(hand)
    found = (await rest_kube.list(DEPLOYMENT, namespace))[0]["spec"]["template"]["metadata"]["annotations"]
    assert "kubectl.kubernetes.io/restartedAt" in found


async def test_policy_that_changes_deployments_is_told_of_and_not_fought(
    rest_kube: RestKube, kubectl: Kubectl, namespace: str
) -> None:
    hand = await serving(rest_kube, namespace)
    kubectl("apply", "-f", "-", stdin=POLICY.replace("NAMESPACE", namespace))
    try:
        await mutated(rest_kube, kubectl, namespace)
        status = await hand.until(lambda status: bool(altered(status)) and ready(status, "a"))
        assert "spec.replicas" in altered(status)
        assert "spec.template.spec.hostNetwork" in altered(status)
        await settled(hand)
    finally:
        kubectl("delete", "-f", "-", stdin=POLICY.replace("NAMESPACE", namespace))


async def template_of(kube: RestKube, namespace: str) -> dict[str, Any]:
    spec: dict[str, Any] = (await kube.list(DEPLOYMENT, namespace))[0]["spec"]["template"]["spec"]
    return spec


async def mutated(kube: RestKube, kubectl: Kubectl, namespace: str) -> None:
    """Writes of others until the policy acts on them: it takes a moment from its creation."""
    writes = iter(range(1000))

    async def acts() -> bool:
        deployment = (await kube.list(DEPLOYMENT, namespace))[0]
        kubectl(
            "-n",
            namespace,
            "annotate",
            "deployment",
            deployment["metadata"]["name"],
            f"n={next(writes)}",
            "--overwrite",
        )
        return bool((await kube.list(DEPLOYMENT, namespace))[0]["spec"]["replicas"] == 5)

    assert await eventually(acts)


POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: NAMESPACE}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  reinvocationPolicy: Never
  mutations:
    - patchType: ApplyConfiguration
      applyConfiguration:
        expression: >-
          Object{spec: Object.spec{replicas: 5, template: Object.spec.template{spec: Object.spec.template.spec{hostNetwork: true}}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: NAMESPACE}
spec: {policyName: NAMESPACE}
"""
