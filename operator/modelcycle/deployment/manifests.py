"""The children of a ModelDeployment as rendered manifests. Pure: same input, same JSON.

Owns the pod template (rendered once per revision, then kept in its ControllerRevision), Deployment, Service, trust ConfigMap. Must
never read a live object or decide whether a child is wanted.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelcycle.api.modeldeployment import DEFAULT_STORE_SECRET
from modelcycle.deployment.revision import Target
from modelcycle.deployment.status import RevisionRef
from modelcycle.deployment.world import DOOR_PORT, FETCH_CONTAINER, SERVER_CONTAINER, PodDefaults
from modelcycle.kube.kinds import CONFIG_MAP, CONTROLLER_REVISION, DEPLOYMENT, GROUP, MODEL_DEPLOYMENT, SERVICE, Kind
from modelcycle.kube.names import LABEL_DEPLOYMENT, LABEL_REVISION, child_labels, child_name, owner_reference
from modelcycle.kube.pods import container_security, pod_security
from modelcycle_bundle import client_inputs, layout, traffic
from modelcycle_bundle.contract import FetchTask, to_environment
from modelcycle_bundle.metric_names import METRICS_PORT, SERVING_PORT

Json = dict[str, Any]

SERVICE_PORT: Final = DOOR_PORT
GRACE_SECONDS: Final = 75
"""The server drains for at most 60 s."""
NO_REVISION: Final = "none"
"""Selector value before the first revision is Ready: the Service exists and has no endpoints."""
ANNOTATION_VERIFIER: Final = f"{GROUP}/verifier"
"""On a pod template: whose image its fetch step runs. Templates of earlier operators, where a user could name it, have none."""
OPERATORS_IMAGE: Final = "operator"
STORED_FORM: Final = 2
"""Of a ControllerRevision's data. 1: the same fields, in bytes with which the API server refuses every patch, also of labels and owners."""
DEFAULT_CPU: Final = "100m"
DEFAULT_MEMORY: Final = "128Mi"
DEFAULT_MEMORY_LIMIT: Final = "512Mi"

_PVC: Final = re.compile(r"^pvc://([^/]+)/")


def service_url(namespace: str, name: str) -> str:
    """Where clients inside the cluster send requests."""
    return f"http://{name}.{namespace}.svc:{SERVICE_PORT}"


def deployment_name(owner: str, uid: str, revision: str) -> str:
    """Name of a revision's Deployment."""
    return child_name(owner, uid, revision)


def revision_name(owner: str, uid: str, revision: str) -> str:
    """Name of a revision's ControllerRevision. Those of STORED_FORM 1 are named `r-<revision>`, so that both can be there at once."""
    return child_name(owner, uid, f"v-{revision}")


def door_name(owner: str, uid: str, revision: str) -> str:
    """Name of the Service through which pods of another revision reach this one."""
    return child_name(owner, uid, f"to-{revision}")


def trust_name(owner: str, uid: str) -> str:
    """Name of the owned copy of the trust set."""
    return child_name(owner, uid, "trust")


def evidence_name(owner: str, uid: str) -> str:
    """Name of the ConfigMap that keeps the evidence of a rollout."""
    return child_name(owner, uid, "evidence")


def pod_labels(owner: str, revision: str) -> dict[str, str]:
    """Labels of a serving pod; the last two are the selectors."""
    return child_labels("server", LABEL_DEPLOYMENT, owner, {LABEL_REVISION: revision})


def selector(owner: str, revision: str) -> dict[str, str]:
    """What the Service and the Deployment select pods by."""
    return {LABEL_DEPLOYMENT: owner, LABEL_REVISION: revision}


def pod_template(owner: str, uid: str, revision: str, target: Target, defaults: PodDefaults) -> Json:
    """The pod template of a revision. The operator's own image verifies, whichever serves; only it may write what is served."""
    wanted = resources(target.requests, target.limits)
    claim = _PVC.match(target.uri)
    volumes: list[Json] = [
        {"name": "bundle", "emptyDir": {"sizeLimit": "3Gi"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        # The fetch step runs again when a sandbox is made again: nothing that the server wrote may be in its way.
        {"name": "fetch-tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        {"name": "trust", "configMap": {"name": trust_name(owner, uid)}},
        {"name": "traffic", "downwardAPI": {"items": [_traffic_item()]}},
    ]
    if claim:
        source = {"claimName": claim.group(1), "readOnly": True}
        volumes.append({"name": "store", "persistentVolumeClaim": source})
    return {
        "metadata": {
            "labels": pod_labels(owner, revision),
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(METRICS_PORT),
                "kubectl.kubernetes.io/default-container": SERVER_CONTAINER,
                ANNOTATION_VERIFIER: OPERATORS_IMAGE,
            },
        },
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": pod_security(defaults.user),
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": selector(owner, revision)},
                }
            ],
            "initContainers": [_fetch_container(target, defaults.image, wanted, claim.group(1) if claim else None)],
            "containers": [_server_container(target, revision, target.image or defaults.image, wanted)],
            "volumes": volumes,
        },
    }


def telling(template: Mapping[str, Any], inputs: Sequence[str]) -> Json:
    """A stored template whose server is told what clients send. Part of no hash: it is the same revision."""
    spec = template["spec"]
    value = {"name": client_inputs.ENVIRONMENT, "value": client_inputs.to_text(inputs)}

    def told(container: Mapping[str, Any]) -> Mapping[str, Any]:
        if container["name"] != SERVER_CONTAINER:
            return container
        kept = [item for item in container.get("env") or () if item["name"] != client_inputs.ENVIRONMENT]
        return {**container, "env": [*kept, value]}

    return {**template, "spec": {**spec, "containers": [told(each) for each in spec["containers"]]}}


def is_telling(template: Mapping[str, Any]) -> bool:
    """Whether it is a template of `telling`."""
    containers = (template.get("spec") or {}).get("containers") or ()
    names = (item["name"] for each in containers for item in each.get("env") or ())
    return client_inputs.ENVIRONMENT in names


def _traffic_item() -> Json:
    """The annotation as a file: the kubelet writes it anew within tenths of a second."""
    return {"path": traffic.VOLUME_FILE, "fieldRef": {"fieldPath": f"metadata.annotations['{traffic.ANNOTATION}']"}}


def _fetch_container(target: Target, image: str, resources: Json, claim: str | None) -> Json:
    mounts: list[Json] = [
        {"name": "bundle", "mountPath": layout.BUNDLE_MOUNT},
        {"name": "fetch-tmp", "mountPath": "/tmp"},
        {"name": "trust", "mountPath": layout.TRUST_DIR, "readOnly": True},
    ]
    if claim:
        mounts.append({"name": "store", "mountPath": f"{layout.PVC_MOUNT}/{claim}", "readOnly": True})
    task = FetchTask(uri=target.uri, digest=target.digest)
    return {
        "name": FETCH_CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["fetch"],
        "env": [{"name": layout.TASK_ENV, "value": to_environment(task)}],
        "envFrom": [
            {
                "prefix": layout.STORE_ENV_PREFIX,
                "secretRef": {"name": target.secret or DEFAULT_STORE_SECRET, "optional": True},
            }
        ],
        "resources": resources,
        "securityContext": container_security(),
        "terminationMessagePath": layout.TERMINATION_MESSAGE_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def _server_container(target: Target, revision: str, image: str, resources: Json) -> Json:
    return {
        "name": SERVER_CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            *("--bundle", layout.BUNDLE_MOUNT),
            *("--http-port", str(SERVING_PORT)),
            *("--metrics-port", str(METRICS_PORT)),
        ],
        "env": [
            {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            {"name": "MODELCYCLE_REVISION", "value": revision},
            {"name": "MODELCYCLE_DIGEST", "value": target.digest},
        ],
        "ports": [
            {"name": "http", "containerPort": SERVING_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        # Loading a large model may take minutes; only after it does a silent server mean a dead one.
        "startupProbe": _probe("/v2/health/live", 1, 2, 300),
        "readinessProbe": _probe("/v2/health/ready", 2, 2, 2),
        "livenessProbe": _probe("/v2/health/live", 10, 5, 3),
        "resources": resources,
        "securityContext": container_security(),
        "terminationMessagePath": layout.TERMINATION_MESSAGE_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "bundle", "mountPath": layout.BUNDLE_MOUNT, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "traffic", "mountPath": traffic.VOLUME_DIR, "readOnly": True},
        ],
    }


def _probe(path: str, period: int, timeout: int, failures: int) -> Json:
    return {
        "httpGet": {"path": path, "port": SERVING_PORT},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def resources(requests: Mapping[str, str] | None, limits: Mapping[str, str] | None) -> Json:
    """The user's values; a default only for a resource that the user names in neither list, so that defaults never contradict."""
    named = set(requests or ()) | set(limits or ())
    wanted: Json = {"requests": dict(requests or {}), "limits": dict(limits or {})}
    if "cpu" not in named:
        wanted["requests"]["cpu"] = DEFAULT_CPU
    if "memory" not in named:
        wanted["requests"]["memory"] = DEFAULT_MEMORY
        wanted["limits"]["memory"] = DEFAULT_MEMORY_LIMIT
    return {name: values for name, values in wanted.items() if values}


def _metadata(namespace: str, owner: str, uid: str, name: str, labels: Mapping[str, str]) -> Json:
    return {
        "namespace": namespace,
        "name": name,
        "labels": dict(labels),
        "ownerReferences": [owner_reference(MODEL_DEPLOYMENT, owner, uid)],
    }


def _typed(kind: Kind) -> Json:
    return {"apiVersion": kind.api_version, "kind": kind.kind}


def controller_revision(namespace: str, owner: str, uid: str, ref: RevisionRef, template: Mapping[str, Any]) -> Json:
    """Where the template of a revision is kept; its data is immutable for the API server."""
    return {
        **_typed(CONTROLLER_REVISION),
        "metadata": _metadata(
            namespace, owner, uid, revision_name(owner, uid, ref.revision), pod_labels(owner, ref.revision)
        ),
        "revision": ref.number,
        "data": {
            "schema": STORED_FORM,
            "hash": ref.revision,
            "digest": ref.digest,
            "uri": ref.uri,
            "template": template,
        },
    }


def deployment(namespace: str, owner: str, uid: str, revision: str, template: Mapping[str, Any], replicas: int) -> Json:
    """The Deployment of a revision. The stored template is taken as it is, whatever this version of the operator would render."""
    return {
        **_typed(DEPLOYMENT),
        "metadata": _metadata(
            namespace, owner, uid, deployment_name(owner, uid, revision), pod_labels(owner, revision)
        ),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": selector(owner, revision)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": template,
        },
    }


def service(namespace: str, owner: str, uid: str, revision: str) -> Json:
    """The Service, named like the ModelDeployment; moving its selector is the replacement."""
    return {
        **_typed(SERVICE),
        "metadata": _metadata(namespace, owner, uid, owner, child_labels("server", LABEL_DEPLOYMENT, owner)),
        "spec": {
            "selector": selector(owner, revision),
            "ipFamilyPolicy": "PreferDualStack",
            "ports": [{"name": "http", "port": SERVICE_PORT, "protocol": "TCP", "targetPort": SERVING_PORT}],
        },
    }


def door(namespace: str, owner: str, uid: str, revision: str) -> Json:
    """The Service that reaches one revision only. Requests are handed on through its address, which no other pod can inherit."""
    labels = child_labels("server", LABEL_DEPLOYMENT, owner, {LABEL_REVISION: revision})
    return {
        **_typed(SERVICE),
        "metadata": _metadata(namespace, owner, uid, door_name(owner, uid, revision), labels),
        "spec": {
            "selector": selector(owner, revision),
            "ipFamilyPolicy": "PreferDualStack",
            "ports": [{"name": "http", "port": DOOR_PORT, "protocol": "TCP", "targetPort": SERVING_PORT}],
        },
    }


def trust_map(namespace: str, owner: str, uid: str, pem: str) -> Json:
    """The namespace's trusted keys, mounted by the fetch step. Outside of the revision: a rotation is no rollout."""
    return {
        **_typed(CONFIG_MAP),
        "metadata": _metadata(
            namespace, owner, uid, trust_name(owner, uid), child_labels("trust", LABEL_DEPLOYMENT, owner)
        ),
        "data": {layout.TRUST_FILE: pem},
    }


def evidence_map(namespace: str, owner: str, uid: str, entries: Mapping[str, str]) -> Json:
    """The ConfigMap that keeps the evidence of a rollout."""
    labels = child_labels("evidence", LABEL_DEPLOYMENT, owner)
    return {
        **_typed(CONFIG_MAP),
        "metadata": _metadata(namespace, owner, uid, evidence_name(owner, uid), labels),
        "data": dict(entries),
    }
