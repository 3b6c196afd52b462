"""A platform whose admission gives each namespace a range of user ids, as OpenShift's does: refused by default, at home by a setting."""

from typing import Any

from conformance.world import eventually
from control_plane.conftest import Kubectl
from control_plane.test_replacement import Hand, ready
from fakes.deployment_lab import PEM
from modelcycle.api.modeldeployment import DeploymentReason
from modelcycle.jobs.manifests import JobDefaults, Order, Owner, job
from modelcycle.kube.client import RestKube
from modelcycle.kube.errors import ApiError, Forbidden, Invalid
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT, JOB, POD
from modelcycle.kube.names import LABEL_DEPLOYMENT, LABEL_EXPERIMENT
from modelcycle_bundle.contract import TaskKind

FIRST = 1000650000
POLICIES = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: ids-NAMESPACE}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  matchConditions:
    - {name: without-an-id, expression: "!has(object.spec.securityContext) || !has(object.spec.securityContext.runAsUser)"}
  reinvocationPolicy: Never
  mutations:
    - patchType: ApplyConfiguration
      applyConfiguration:
        expression: >-
          Object{spec: Object.spec{securityContext: Object.spec.securityContext{runAsUser: 1000650000, fsGroup: 1000650000}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: ids-NAMESPACE}
spec: {policyName: ids-NAMESPACE}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: ids-NAMESPACE}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  validations:
    - expression: "object.spec.?securityContext.?runAsUser.orValue(0) in [1000650000, 1000650001]"
      message: "runAsUser has to be in the range 1000650000/10000 of the namespace"
    - expression: "object.spec.?securityContext.?fsGroup.orValue(1000650000) in [1000650000, 1000650001]"
      message: "fsGroup has to be in the range 1000650000/10000 of the namespace"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: ids-NAMESPACE}
spec: {policyName: ids-NAMESPACE, validationActions: [Deny]}
"""


async def enforced(kube: RestKube, kubectl: Kubectl, namespace: str) -> None:
    """The range is demanded and given: it takes a moment from the creation of the policies."""
    kubectl("apply", "-f", "-", stdin=POLICIES.replace("NAMESPACE", namespace))

    async def tried(user: dict[str, int]) -> str:
        spec = {"containers": [{"name": "c", "image": "x"}], "securityContext": user}
        body = {"metadata": {"name": f"try-{len(user)}"}, "spec": spec}
        try:
            made = await kube.create(POD, namespace, {"apiVersion": "v1", "kind": "Pod", **body})
        except (Forbidden, Invalid) as error:
            return str(error)
        except ApiError as error:
            return f"?{error}"
        await kube.delete(POD, namespace, made["metadata"]["name"], made["metadata"]["uid"])
        return str(made["spec"]["securityContext"].get("runAsUser"))

    async def both() -> bool:
        return "range" in await tried({"runAsUser": 65532}) and await tried({}) == str(FIRST)

    assert await eventually(both, 15), (await tried({"runAsUser": 65532}), await tried({}))


def removed(kubectl: Kubectl, namespace: str) -> None:
    kubectl("delete", "-f", "-", stdin=POLICIES.replace("NAMESPACE", namespace))


async def hand_of(kube: RestKube, namespace: str, **settings: Any) -> Hand:
    trust = {"metadata": {"name": "modelcycle-trust", "namespace": namespace}, "data": {namespace: PEM}}
    await kube.create(CONFIG_MAP, namespace, {"apiVersion": "v1", "kind": "ConfigMap", **trust})
    return Hand(kube, namespace, **settings)


async def test_serving_pods_get_an_id_of_the_range_where_the_setting_leaves_it_out(
    rest_kube: RestKube, kubectl: Kubectl, namespace: str
) -> None:
    await enforced(rest_kube, kubectl, namespace)
    try:
        hand = await hand_of(rest_kube, namespace, pod_user=None)
        await hand.apply("a")
        await hand.until(lambda status: ready(status, "a"))
        pods = await rest_kube.list(POD, namespace, {LABEL_DEPLOYMENT: "scrap"})
        assert {pod["spec"]["securityContext"]["runAsUser"] for pod in pods} == {FIRST}
        assert all(pod["spec"]["securityContext"]["runAsNonRoot"] for pod in pods)
        assert (await hand.plan()).actions == ()
    finally:
        removed(kubectl, namespace)


async def test_refusal_of_a_fixed_id_is_said(rest_kube: RestKube, kubectl: Kubectl, namespace: str) -> None:
    await enforced(rest_kube, kubectl, namespace)
    try:
        hand = await hand_of(rest_kube, namespace)
        await hand.apply("a")
        status = await hand.until(
            lambda status: any(c["reason"] == DeploymentReason.PODS_REFUSED for c in status.get("conditions", ()))
        )
        said = next(c["message"] for c in status["conditions"] if c["type"] == "Ready")
        assert "runAsUser has to be in the range" in said
    finally:
        removed(kubectl, namespace)


async def test_pods_of_jobs_get_an_id_of_the_range_too(rest_kube: RestKube, kubectl: Kubectl, namespace: str) -> None:
    await enforced(rest_kube, kubectl, namespace)
    try:
        defaults = JobDefaults("localhost/t@sha256:" + "1" * 64, None)
        order = Order(TaskKind.INSPECT, 0, 0, "s", None, defaults.image, (), resources={}, user=defaults.user)
        body = job(Owner(EXPERIMENT, LABEL_EXPERIMENT, "e", namespace, "00000000-0000-4000-8000-000000000001"), order)
        body["metadata"].pop("ownerReferences")  # there is no such Experiment: garbage collection would take the Job
        await rest_kube.create(JOB, namespace, body)

        async def has_pod() -> bool:
            return bool(await rest_kube.list(POD, namespace, {LABEL_EXPERIMENT: "e"}))

        assert await eventually(has_pod)
        pods = await rest_kube.list(POD, namespace, {LABEL_EXPERIMENT: "e"})
        context = pods[0]["spec"]["securityContext"]
        assert (context["runAsUser"], context["fsGroup"]) == (FIRST, FIRST)
    finally:
        removed(kubectl, namespace)
