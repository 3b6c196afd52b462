"""Stand-ins for the Deployment controller, the ReplicaSet controller, the scheduler and the kubelet, on a `MemoryKube`.

Owns pods and Deployment statuses, one `tick` at a time: deterministic, no clock of its own but the kube's. How the pods of a model behave
is data (`Behaviour` by digest or image). Only what the ModelDeployment reconciler reads is modelled: replicas, readiness, container states.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from fakes.memory_kube import MemoryKube
from modelcycle.api.conditions import timestamp
from modelcycle.kube.kinds import DEPLOYMENT, POD, SERVICE, Kind
from modelcycle.kube.names import owner_reference
from modelcycle_bundle import client_inputs
from modelcycle_bundle.contract import (
    EXIT_FAILED,
    EXIT_RETRY,
    Failure,
    FailureClass,
    FailureReason,
    FetchResult,
    FetchTask,
    from_json,
    to_json,
)

REPLICA_SET: Final = Kind("apps", "v1", "replicasets", "ReplicaSet")
MAXIMUM_TICKS: Final = 10
"""An older pod changes no more."""
TEMPLATE: Final = "tpl"
TOLD: Final = "told"
"""Hashes of a template, without and with what clients send."""
START_TICKS: Final = 2
"""Ticks a healthy pod takes from its creation until it is Ready."""


class Behaviour(StrEnum):
    """What becomes of the pods of a model."""

    HEALTHY = "Healthy"
    """Fetches, verifies, becomes Ready."""
    SLOW = "Slow"
    """Never becomes Ready, never fails."""
    TAMPERED = "Tampered"
    """The fetch step ends with exit code 1: DigestMismatch."""
    UNSIGNED = "Unsigned"
    """The fetch step ends with exit code 1: SignatureInvalid."""
    STORE_DOWN = "StoreDown"
    """The fetch step ends with exit code 75: StoreUnreachable."""
    NO_IMAGE = "NoImage"
    """ErrImagePull for ever."""
    CRASHING = "Crashing"
    """The server ends with exit code 1 again and again, without a message."""
    GOLDEN = "Golden"
    """The server ends because it does not reproduce the golden answers."""
    REFUSED = "Refused"
    """No pod is created: quota."""
    UNSCHEDULABLE = "Unschedulable"
    """No node has room."""


_FAILURES: Final = {
    Behaviour.TAMPERED: (
        EXIT_FAILED,
        Failure(FailureClass.POLICY, FailureReason.DIGEST_MISMATCH, "model/model.onnx has other bytes than signed"),
    ),
    Behaviour.UNSIGNED: (
        EXIT_FAILED,
        Failure(FailureClass.POLICY, FailureReason.SIGNATURE_INVALID, "no signature verifies with a trusted key"),
    ),
    Behaviour.STORE_DOWN: (
        EXIT_RETRY,
        Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_UNREACHABLE, "s3://models: connection refused"),
    ),
    Behaviour.GOLDEN: (
        EXIT_FAILED,
        Failure(FailureClass.POLICY, FailureReason.GOLDEN_MISMATCH, "row 3 differs by 0.2"),
    ),
}


@dataclass
class Workloads:
    """Acts on every Deployment of the kube. `behave` gets the digest and the image of a pod."""

    kube: MemoryKube
    behave: Callable[[str, str], Behaviour] = lambda digest, image: Behaviour.HEALTHY
    _ages: dict[str, int] = field(default_factory=dict)
    """Ticks that a pod has lived, by uid."""
    changes: int = 0
    """Writes of these controllers so far."""
    _addresses: int = 0

    def tick(self) -> None:
        """One step of every controller and kubelet."""
        for service in self.kube.find(SERVICE):
            if "clusterIP" not in service["spec"]:
                self._allocate(service)
        for deployment in self.kube.find(DEPLOYMENT):
            self._deployment(deployment)

    def _allocate(self, service: dict[str, Any]) -> None:
        self._addresses += 1
        address = f"10.96.0.{self._addresses}"
        metadata = service["metadata"]
        self.kube.edit(
            SERVICE, metadata["namespace"], metadata["name"], lambda body: body["spec"].update(clusterIP=address)
        )
        self.changes += 1

    def ready(self, namespace: str, selector: dict[str, str]) -> int:
        """Ready pods that a Service with this selector would send requests to."""
        return sum(_ready(pod) for pod in self.kube.find(POD, namespace, selector))

    def kill(self, namespace: str, selector: dict[str, str]) -> None:
        """Delete the pods, as a node failure does; the next tick makes new ones."""
        for pod in self.kube.find(POD, namespace, selector):
            self.kube.remove(POD, namespace, pod["metadata"]["name"])
        for deployment in self.kube.find(DEPLOYMENT, namespace):
            self._report(deployment, refused=False)

    def evict(self, namespace: str, selector: dict[str, str]) -> None:
        """End the pods as a node under pressure does: their objects stay, and a controller makes others beside them."""
        for pod in self.kube.find(POD, namespace, selector):
            metadata = pod["metadata"]
            self.kube.remove(POD, namespace, metadata["name"])
            body = {
                "metadata": {
                    "name": f"{metadata['name']}-evicted",
                    "labels": metadata["labels"],
                    "ownerReferences": metadata["ownerReferences"],
                },
                "spec": {},
                "status": {**pod["status"], "phase": "Failed", "reason": "Evicted", "conditions": []},
            }
            self.kube.seed(POD, namespace, body, manager="kubelet")
        for deployment in self.kube.find(DEPLOYMENT, namespace):
            self._report(deployment, refused=False)

    def _deployment(self, deployment: dict[str, Any]) -> None:
        template = deployment["spec"]["template"]
        behaviour = self.behave(_digest(template), template["spec"]["containers"][0]["image"])
        pods = self._pods(deployment)
        wanted = deployment["spec"]["replicas"]
        for pod in pods[wanted:]:
            self.kube.remove(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
            self.changes += 1
        former = self._former(deployment)
        for pod in (*pods[:wanted], *former):
            self._kubelet(pod, behaviour)
        if behaviour is not Behaviour.REFUSED:
            taken = {pod["metadata"]["name"] for pod in pods[:wanted]}
            for index in range(wanted):
                if f"{_set_name(deployment)}-{index}" not in taken:
                    self._create_pod(deployment, index)
        if sum(_ready(pod) for pod in self._pods(deployment)) >= wanted:
            for pod in former:
                self.kube.remove(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
                self.changes += 1
        self._report(deployment, refused=behaviour is Behaviour.REFUSED and wanted > 0)

    def _pods(self, deployment: dict[str, Any]) -> list[dict[str, Any]]:
        labels = deployment["spec"]["selector"]["matchLabels"]
        owned = self.kube.find(POD, deployment["metadata"]["namespace"], labels)
        name = _set_name(deployment)
        mine = [pod for pod in owned if pod["metadata"]["ownerReferences"][0]["name"] == name]
        return [pod for pod in mine if pod["status"].get("phase") not in ("Succeeded", "Failed")]

    def _former(self, deployment: dict[str, Any]) -> list[dict[str, Any]]:
        """Pods of an earlier template: they answer until those of the present one are Ready."""
        labels = deployment["spec"]["selector"]["matchLabels"]
        owned = self.kube.find(POD, deployment["metadata"]["namespace"], labels)
        sets = (f"{deployment['metadata']['name']}-{TEMPLATE}", f"{deployment['metadata']['name']}-{TOLD}")
        others = [name for name in sets if name != _set_name(deployment)]
        return [pod for pod in owned if pod["metadata"]["ownerReferences"][0]["name"] in others]

    def _create_pod(self, deployment: dict[str, Any], index: int) -> None:
        namespace, name = deployment["metadata"]["namespace"], _set_name(deployment)
        template = deployment["spec"]["template"]
        body = {
            "metadata": {
                "name": f"{name}-{index}",
                "labels": {**template["metadata"]["labels"], "pod-template-hash": _template_hash(template)},
                "ownerReferences": [owner_reference(REPLICA_SET, name, self._set_uid(deployment))],
            },
            "spec": {"containers": [{"name": "server", "env": _told(template)}]},
            "status": {"phase": "Pending"},
        }
        self.kube.seed(POD, namespace, body, manager="replicaset")
        self.changes += 1

    def _set_uid(self, deployment: dict[str, Any]) -> str:
        namespace, name = deployment["metadata"]["namespace"], _set_name(deployment)
        found = self.kube.read(REPLICA_SET, namespace, name)
        if found is None:
            owner = owner_reference(DEPLOYMENT, deployment["metadata"]["name"], deployment["metadata"]["uid"])
            body = {"metadata": {"name": name, "ownerReferences": [owner]}, "spec": {}}
            found = self.kube.seed(REPLICA_SET, namespace, body, manager="deployment")
        uid: str = found["metadata"]["uid"]
        return uid

    def _kubelet(self, pod: dict[str, Any], behaviour: Behaviour) -> None:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        uid = pod["metadata"]["uid"]
        self._ages[uid] = ticks = min(self._ages.get(uid, 0) + 1, MAXIMUM_TICKS)
        status = pod_status(behaviour, ticks, was_ready=_ready(pod))
        before = {c["type"]: c.get("lastTransitionTime") for c in pod["status"].get("conditions", ())}
        for condition in status.get("conditions", ()):
            condition["lastTransitionTime"] = before.get(condition["type"]) or timestamp(self.kube.clock())
        if status != pod["status"]:
            self.kube.set_status(POD, namespace, name, status, manager="kubelet")
            self.changes += 1

    def _report(self, deployment: dict[str, Any], *, refused: bool) -> None:
        metadata = deployment["metadata"]
        pods, former = self._pods(deployment), self._former(deployment)
        status: dict[str, Any] = {
            "observedGeneration": metadata["generation"],
            "replicas": len(pods) + len(former),
            "updatedReplicas": len(pods),
            "readyReplicas": sum(_ready(pod) for pod in (*pods, *former)),
            "conditions": [],
        }
        if refused:
            message = "pods is forbidden: exceeded quota: small"
            status["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": message}]
        if status != deployment.get("status"):
            self.kube.set_status(DEPLOYMENT, metadata["namespace"], metadata["name"], status, manager="deployment")
            self.changes += 1


def pod_status(behaviour: Behaviour, ticks: int, *, was_ready: bool = False) -> dict[str, Any]:
    """The status a kubelet writes for a pod of this behaviour that is `ticks` old. A pod that was Ready stays so."""
    if was_ready or (behaviour is Behaviour.HEALTHY and ticks >= START_TICKS):
        return _running()
    if behaviour is Behaviour.UNSCHEDULABLE:
        scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: cpu"}
        return {"phase": "Pending", "conditions": [scheduled]}
    if ticks < START_TICKS or behaviour in (Behaviour.HEALTHY, Behaviour.SLOW):
        return {"phase": "Pending", "initContainerStatuses": [_waiting("fetch", "PodInitializing", "", 0)]}
    if behaviour is Behaviour.NO_IMAGE:
        waiting = _waiting("fetch", "ErrImagePull", "localhost/gone:1 not found", 0)
        return {"phase": "Pending", "initContainerStatuses": [waiting]}
    restarts = ticks - START_TICKS + 1
    if behaviour in (Behaviour.CRASHING, Behaviour.GOLDEN):
        code, message = (1, "")
        if behaviour is Behaviour.GOLDEN:
            message = to_json(FetchResult(failure=_FAILURES[behaviour][1]))
        crashed = _ended("server", code, message, restarts)
        return {
            "phase": "Running",
            "initContainerStatuses": [{"name": "fetch", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}],
            "containerStatuses": [crashed],
        }
    code, failure = _FAILURES[behaviour]
    return {
        "phase": "Pending",
        "initContainerStatuses": [_ended("fetch", code, to_json(FetchResult(failure=failure)), restarts)],
    }


def _running() -> dict[str, Any]:
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "initContainerStatuses": [{"name": "fetch", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}],
        "containerStatuses": [{"name": "server", "restartCount": 0, "ready": True, "state": {"running": {}}}],
    }


def _waiting(name: str, reason: str, message: str, restarts: int) -> dict[str, Any]:
    waiting = {"reason": reason, "message": message}
    return {"name": name, "restartCount": restarts, "ready": False, "state": {"waiting": waiting}}


def _ended(name: str, code: int, message: str, restarts: int) -> dict[str, Any]:
    ended = {"exitCode": code, "reason": "Error", "message": message}
    status = _waiting(name, "CrashLoopBackOff", "back-off", restarts)
    return {**status, "lastState": {"terminated": ended}}


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _set_name(deployment: dict[str, Any]) -> str:
    return f"{deployment['metadata']['name']}-{_template_hash(deployment['spec']['template'])}"


def _template_hash(template: dict[str, Any]) -> str:
    """Of all that may change in a template, only what the server is told makes other pods here."""
    return TOLD if _told(template) else TEMPLATE


def _told(template: dict[str, Any]) -> list[dict[str, Any]]:
    env = template["spec"]["containers"][0].get("env", ())
    return [item for item in env if item["name"] == client_inputs.ENVIRONMENT]


def _digest(template: dict[str, Any]) -> str:
    task = template["spec"]["initContainers"][0]["env"][0]["value"]
    return from_json(FetchTask, task).digest
