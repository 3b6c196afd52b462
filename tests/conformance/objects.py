"""Small valid objects for the facts. Owns no state."""

from collections.abc import Mapping
from typing import Any

from conformance.world import PROBE
from modelcycle.kube.names import owner_reference
from modelcycle.kube.port import Object


def config_map(
    name: str,
    data: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    owner: Object | None = None,
) -> dict[str, Any]:
    """A ConfigMap, owned by a probe when given."""
    metadata: dict[str, Any] = {"name": name}
    if labels is not None:
        metadata["labels"] = dict(labels)
    if owner is not None:
        metadata["ownerReferences"] = [owner_reference(PROBE, owner["metadata"]["name"], owner["metadata"]["uid"])]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data or {"a": "1"})}


def probe(name: str, spec: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An object of the suite's own kind."""
    return {
        "apiVersion": PROBE.api_version,
        "kind": PROBE.kind,
        "metadata": {"name": name},
        "spec": dict(spec or {"n": 1}),
    }


def condition(type_: str, status: str = "True") -> dict[str, str]:
    """A status condition."""
    return {"type": type_, "status": status}


def pod_spec() -> dict[str, Any]:
    """A pod that no admission refuses and nobody runs."""
    container = {"name": "main", "image": "localhost/none", "env": [{"name": "A", "value": "1"}]}
    return {"containers": [container], "automountServiceAccountToken": False, "restartPolicy": "Never"}


def pod(name: str) -> dict[str, Any]:
    """A pod that is never scheduled."""
    spec = {**pod_spec(), "schedulerName": "nobody"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def job(name: str) -> dict[str, Any]:
    """A suspended Job."""
    spec = {"suspend": True, "template": {"spec": pod_spec()}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def deployment(name: str, env: list[dict[str, str]]) -> dict[str, Any]:
    """A Deployment without replicas."""
    labels = {"app": name}
    container = {"name": "main", "image": "localhost/none", "env": env}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def lease(name: str, holder: str) -> dict[str, Any]:
    """A Lease."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
    }
