"""A Job of the training image as Kubernetes JSON. Owns its shape and its safety, whoever owns the Job; pure.

No pod gets a service account token or a writable root. Store credentials reach a pod as environment; the key is mounted only where the
order says so.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from modelcycle.api.experiment import Data, ExperimentSpec
from modelcycle.jobs.views import ANNOTATION_ATTEMPT, ANNOTATION_SEARCH, CONTAINER
from modelcycle.kube.kinds import JOB, Kind
from modelcycle.kube.names import LABEL_TASK, LABEL_TRIAL, child_labels, child_name, owner_reference
from modelcycle.kube.pods import DEFAULT_USER, container_security, pod_security
from modelcycle_bundle import layout
from modelcycle_bundle.contract import EXIT_RETRY, DataRef, Split, TaskKind, to_environment

BACKOFF_LIMIT: Final = 3
SHORT_DEADLINE_SECONDS: Final = 900
"""For inspect, seal, collect and compare."""
SHORT_CPU: Final = "100m"
"""Requested by all Jobs but trials and comparisons."""
TRAINER_RESOURCES: Final = '{"limits":{"memory":"2Gi"},"requests":{"cpu":"250m","memory":"512Mi"}}'
"""For an Experiment that names none in spec.trainer.resources."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The object of ours that owns a child. `label` is the label key that leads from the child's pods to it."""

    kind: Kind
    label: str
    name: str
    namespace: str
    uid: str

    def child(self, suffix: str) -> str:
        """The child's name."""
        return child_name(self.name, self.uid, suffix)

    def metadata(self, suffix: str, component: str, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The child's metadata."""
        return {
            "name": self.child(suffix),
            "namespace": self.namespace,
            "labels": child_labels(component, self.label, self.name, labels),
            "ownerReferences": [owner_reference(self.kind, self.name, self.uid)],
        }


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """What the operator's settings say about every Job."""

    image: str
    """The training image."""
    user: int | None = DEFAULT_USER
    """User, group and fsGroup; None leaves them to the platform."""


@dataclass(frozen=True, slots=True)
class Order:
    """One Job to create. `index` and `attempt` are its identity together with `kind`; `subject` is what it is made for."""

    kind: TaskKind
    index: int
    attempt: int
    subject: str
    task: object
    image: str
    secrets: tuple[str, ...]
    """Secrets whose keys become environment, in order."""
    resources: Mapping[str, Any]
    key_secret: str | None = None
    """Secret with the signing key, mounted as files."""
    claims: Mapping[str, bool] = field(default_factory=dict)
    """Claims to mount -> whether to write there."""
    deadline_seconds: int = SHORT_DEADLINE_SECONDS
    user: int | None = DEFAULT_USER


def job_suffix(kind: TaskKind, index: int, attempt: int) -> str:
    """The end of a Job's name: `t4`, `t4-1` (first repeat), `inspect`, `inspect-2`, `seal-4`, `collect-4`, `compare-4`."""
    if kind is TaskKind.TRIAL:
        stem = f"t{index}"
    elif kind is TaskKind.INSPECT:
        stem = kind.value
    else:
        stem = f"{kind.value}-{index}"
    return stem + (f"-{attempt}" if attempt else "")


def resources(kind: TaskKind, spec: ExperimentSpec) -> dict[str, Any]:
    """Of a Job for this Experiment. All get the trainer's memory, so that one field answers for every OutOfMemory."""
    named: dict[str, Any] = json.loads(spec.resources or TRAINER_RESOURCES)
    if kind in (TaskKind.TRIAL, TaskKind.COMPARE):
        return named
    memory = {of: {"memory": named[of]["memory"]} for of in ("requests", "limits") if "memory" in named.get(of, {})}
    return {**memory, "requests": {"cpu": SHORT_CPU, **memory.get("requests", {})}}


def data_ref(data: Data, digest: str | None) -> DataRef:
    """The table, pinned to `digest` when one is known."""
    return DataRef(
        uri=data.uri,
        digest=digest,
        target=data.target,
        task=data.task,
        format=data.format,
        split=Split(data.holdout_fraction, data.split_seed),
    )


def claim_of(uri: str) -> str | None:
    """The claim that a `pvc://claim/path` lies on; None for other stores."""
    parts = urlsplit(uri)
    return parts.netloc if parts.scheme == "pvc" else None


def job(owner: Owner, order: Order) -> dict[str, Any]:
    """One Job."""
    labels = {LABEL_TASK: order.kind.value, LABEL_TRIAL: str(order.index)}
    metadata = owner.metadata(job_suffix(order.kind, order.index, order.attempt), order.kind, labels)
    metadata["annotations"] = {ANNOTATION_ATTEMPT: str(order.attempt), ANNOTATION_SEARCH: order.subject}
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.kind,
        "metadata": metadata,
        "spec": {
            "backoffLimit": BACKOFF_LIMIT,
            "activeDeadlineSeconds": order.deadline_seconds,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "NotIn", "values": [EXIT_RETRY]},
                    },
                ]
            },
            "template": {"metadata": {"labels": dict(metadata["labels"])}, "spec": _pod(order)},
        },
    }


def _pod(order: Order) -> dict[str, Any]:
    volumes, mounts = _volumes(order)
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {
            **pod_security(order.user),
            **({} if order.user is None else {"fsGroup": order.user}),
        },
        "containers": [
            {
                "name": CONTAINER,
                "image": order.image,
                "imagePullPolicy": "IfNotPresent",
                "args": [order.kind.value],
                "env": [{"name": layout.TASK_ENV, "value": to_environment(order.task)}],
                "envFrom": [
                    {"prefix": layout.STORE_ENV_PREFIX, "secretRef": {"name": name, "optional": True}}
                    for name in order.secrets
                ],
                "resources": dict(order.resources),
                "terminationMessagePath": layout.TERMINATION_MESSAGE_PATH,
                "terminationMessagePolicy": "File",
                "securityContext": container_security(),
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }


def _volumes(order: Order) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]
    if order.key_secret is not None:
        volumes.append({"name": "key", "secret": {"secretName": order.key_secret, "optional": True}})
        mounts.append({"name": "key", "mountPath": layout.KEY_DIR, "readOnly": True})
    for at, (claim, writable) in enumerate(sorted(order.claims.items())):
        volumes.append({"name": f"claim-{at}", "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": f"claim-{at}", "mountPath": f"{layout.PVC_MOUNT}/{claim}", "readOnly": not writable})
    return volumes, mounts
