"""The children of an Experiment as Kubernetes JSON: Jobs of four tasks, ledger ConfigMaps. Owns their names and shape; pure.

Only `inspect` and `seal` mount the key. No pod gets a service account token. Store credentials reach pods as environment, the data's
Secret first, the output's second.
"""

import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from modelcycle.api.experiment import DEFAULT_STORE_SECRET, ExperimentSpec
from modelcycle.experiment.ledger import DATA_KEY, PageWrite
from modelcycle.experiment.world import ANNOTATION_ATTEMPT, ANNOTATION_SEARCH, CONTAINER
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT, JOB
from modelcycle.kube.names import (
    LABEL_EXPERIMENT,
    LABEL_TASK,
    LABEL_TRIAL,
    child_labels,
    child_name,
    owner_reference,
)
from modelcycle_bundle import layout
from modelcycle_bundle.contract import EXIT_RETRY, TaskKind, to_environment

USER: Final = 65532
BACKOFF_LIMIT: Final = 3
SHORT_DEADLINE_SECONDS: Final = 900
"""For inspect, seal and collect."""
TASK_LIMIT: Final = 96 * 1024
"""Bytes of a task: one environment variable may hold 128 KiB."""
TRIAL_RESOURCES: Final[dict[str, Any]] = {
    "requests": {"cpu": "250m", "memory": "512Mi"},
    "limits": {"memory": "2Gi"},
}
SHORT_RESOURCES: Final[dict[str, Any]] = {
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"memory": "1Gi"},
}


@dataclass(frozen=True, slots=True)
class Owner:
    """The Experiment that owns a child."""

    name: str
    namespace: str
    uid: str

    def child(self, suffix: str) -> str:
        """The child's name."""
        return child_name(self.name, self.uid, suffix)


@dataclass(frozen=True, slots=True)
class JobOrder:
    """One Job to create. `index` and `attempt` are its identity together with `kind`."""

    kind: TaskKind
    index: int
    attempt: int
    task: object


def job_suffix(kind: TaskKind, index: int, attempt: int) -> str:
    """The end of a Job's name: `t4`, `t4-1` (first repeat), `inspect`, `inspect-2`, `seal-4`, `collect-4`."""
    if kind is TaskKind.TRIAL:
        stem = f"t{index}"
    elif kind is TaskKind.INSPECT:
        stem = kind.value
    else:
        stem = f"{kind.value}-{index}"
    return stem + (f"-{attempt}" if attempt else "")


def page_name(owner: Owner, number: int) -> str:
    """The name of a ledger ConfigMap."""
    return owner.child(f"trials-{number:03d}")


def ledger_page(owner: Owner, write: PageWrite) -> dict[str, Any]:
    """A ledger ConfigMap with all its lines; closed ones are immutable."""
    metadata: dict[str, Any] = _metadata(owner, page_name(owner, write.number), "ledger", {})
    if write.page is not None:
        metadata["resourceVersion"] = write.page.resource_version
    body: dict[str, Any] = {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "metadata": metadata,
        "data": {DATA_KEY: write.text},
    }
    return body | ({"immutable": True} if write.closed else {})


def job(owner: Owner, spec: ExperimentSpec, image: str, order: JobOrder) -> dict[str, Any]:
    """One Job."""
    labels = {LABEL_TASK: order.kind.value, LABEL_TRIAL: str(order.index)}
    metadata = _metadata(owner, owner.child(job_suffix(order.kind, order.index, order.attempt)), order.kind, labels)
    metadata["annotations"] = {ANNOTATION_ATTEMPT: str(order.attempt), ANNOTATION_SEARCH: spec.search_hash}
    trial = order.kind is TaskKind.TRIAL
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.kind,
        "metadata": metadata,
        "spec": {
            "backoffLimit": BACKOFF_LIMIT,
            "activeDeadlineSeconds": spec.trial_deadline_seconds if trial else SHORT_DEADLINE_SECONDS,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "NotIn", "values": [EXIT_RETRY]},
                    },
                ]
            },
            "template": {
                "metadata": {"labels": dict(metadata["labels"])},
                "spec": _pod(spec, image, order),
            },
        },
    }


def _metadata(owner: Owner, name: str, component: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": child_labels(component, LABEL_EXPERIMENT, owner.name, labels),
        "ownerReferences": [owner_reference(EXPERIMENT, owner.name, owner.uid)],
    }


def _pod(spec: ExperimentSpec, image: str, order: JobOrder) -> dict[str, Any]:
    volumes, mounts = _volumes(spec, order.kind)
    trial = order.kind is TaskKind.TRIAL
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": CONTAINER,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": [order.kind.value],
                "env": [{"name": layout.TASK_ENV, "value": to_environment(order.task)}],
                "envFrom": [
                    {"secretRef": {"name": name, "optional": True}} for name in store_secrets(spec, order.kind)
                ],
                "resources": json.loads(spec.resources) if trial and spec.resources else _default_resources(order.kind),
                "terminationMessagePath": layout.TERMINATION_MESSAGE_PATH,
                "terminationMessagePolicy": "File",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }


def _default_resources(kind: TaskKind) -> dict[str, Any]:
    return TRIAL_RESOURCES if kind is TaskKind.TRIAL else SHORT_RESOURCES


def store_secrets(spec: ExperimentSpec, kind: TaskKind) -> tuple[str, ...]:
    """Names of the Secrets whose keys become environment, in order."""
    data, output = spec.data.secret or DEFAULT_STORE_SECRET, spec.output_secret or DEFAULT_STORE_SECRET
    if kind in (TaskKind.SEAL, TaskKind.COLLECT):
        return (output,)
    return tuple(dict.fromkeys((data, output)))


def _volumes(spec: ExperimentSpec, kind: TaskKind) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]
    if kind in (TaskKind.INSPECT, TaskKind.SEAL):
        volumes.append({"name": "key", "secret": {"secretName": spec.key_secret, "optional": True}})
        mounts.append({"name": "key", "mountPath": layout.KEY_DIR, "readOnly": True})
    for at, (claim, writable) in enumerate(sorted(_claims(spec, kind).items())):
        volumes.append({"name": f"claim-{at}", "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": f"claim-{at}", "mountPath": f"{layout.PVC_MOUNT}/{claim}", "readOnly": not writable})
    return volumes, mounts


def _claims(spec: ExperimentSpec, kind: TaskKind) -> dict[str, bool]:
    """Claims to mount -> whether to write there."""
    claims: dict[str, bool] = {}
    data, output = urlsplit(spec.data.uri), urlsplit(spec.output_uri)
    if data.scheme == "pvc" and kind in (TaskKind.INSPECT, TaskKind.TRIAL):
        claims[data.netloc] = False
    if output.scheme == "pvc":
        writable = kind in (TaskKind.TRIAL, TaskKind.SEAL)
        claims[output.netloc] = claims.get(output.netloc, False) or writable
    return claims
