"""What one decision about a ModelDeployment is made from: frozen views of the objects read, and their parsers.

Owns the views. Does no I/O and decides nothing; raw Kubernetes JSON is kept only where a rendered child is compared with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from modelcycle.api.edition import Edition
from modelcycle.api.modeldeployment import Spec
from modelcycle.deployment.moments import optional_time
from modelcycle.deployment.revision import Target
from modelcycle.deployment.status import State
from modelcycle.kube.names import LABEL_REVISION
from modelcycle.kube.pods import DEFAULT_USER
from modelcycle.metrics.port import Samples
from modelcycle_bundle import traffic

Json = Mapping[str, Any]

FETCH_CONTAINER: Final = "fetch"
SERVER_CONTAINER: Final = "server"
DOOR_PORT: Final = 80


@dataclass(frozen=True, slots=True)
class Owner:
    """A controller ownerReference; `kind` "" when an object has none."""

    kind: str = ""
    name: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Child:
    """An object of ours as it was read."""

    name: str
    uid: str
    revision: str
    body: Json


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """The Deployment of one revision."""

    child: Child
    replicas: int
    ready: int
    """Ready pods of the latest generation, 0 while the controller has not seen it: what a promotion waits for."""
    answering: int
    """Ready pods of any generation: what users have."""
    template: Json
    refused: str | None
    """Message of the ReplicaFailure condition when it is True."""


@dataclass(frozen=True, slots=True)
class RevisionView:
    """A ControllerRevision: the stored pod template of one revision."""

    child: Child
    number: int
    template: Json
    digest: str = ""
    uri: str = ""
    form: int = 1
    """Form of the stored data, see `manifests.STORED_FORM`."""


@dataclass(frozen=True, slots=True)
class PodDefaults:
    """What the operator's settings say about serving pods; each revision keeps those of the time when it was made."""

    image: str
    """Serving image: verifies always, serves where `spec.server.image` names no other."""
    user: int | None = DEFAULT_USER
    """None: the platform's admission gives the ids."""


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container of a pod. Exit code and message are those of the last run that ended."""

    restarts: int = 0
    waiting: str | None = None
    waiting_message: str = ""
    exit_code: int | None = None
    exit_reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod of one of our Deployments."""

    name: str
    uid: str
    deployment: str
    revision: str
    ready: bool
    unschedulable: str | None
    fetch: ContainerView
    server: ContainerView
    traffic: str | None = None
    """Text of its traffic annotation; None when it has none."""
    ready_since: datetime | None = None
    """Since when it is Ready, by the kubelet's clock."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """An object of a name we need that is not ours."""

    kind: str
    name: str
    owner: Owner


@dataclass(frozen=True, slots=True)
class Trust:
    """The trust set of the namespace. `pem` "" means none; `hash` is compared, never shown."""

    pem: str
    hash: str
    keys: int


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Why there is no target yet, or never will be with this spec."""

    reason: str
    message: str
    stalled: bool


@dataclass(frozen=True, slots=True)
class World:
    """Everything `decide` looks at."""

    now: datetime
    namespace: str
    name: str
    uid: str
    edition: Edition
    resource_version: str
    raw_status: Json
    state: State
    newer_state: bool
    """Status was written by a newer operator: hold."""
    spec: Spec | None
    target: Target | Unresolved
    trust: Trust
    defaults: PodDefaults
    trust_source: str
    """`namespace/name` of the trust ConfigMap, for messages."""
    deployments: Mapping[str, DeploymentView] = field(default_factory=dict)
    """By revision hash."""
    revisions: Mapping[str, RevisionView] = field(default_factory=dict)
    superseded: tuple[Child, ...] = ()
    """ControllerRevisions of an earlier form whose revision has one of the present form too."""
    pods: tuple[PodView, ...] = ()
    """Pods of our Deployments, without those being deleted and those that have ended."""
    ending: tuple[PodView, ...] = ()
    """Those being deleted: they may still answer, and hand requests on."""
    service: Child | None = None
    doors: Mapping[str, Child] = field(default_factory=dict)
    """Services through which pods of another revision reach a revision, by its hash."""
    samples: Samples | None = None
    """Latest finished reading of the pods' counters; only while a rollout needs it."""
    samples_problem: str | None = None
    """Why the last reading failed as a whole."""
    approvals_enforced: bool = False
    """The admission policies that bind an approval to its author are in force."""
    trust_map: Child | None = None
    evidence_map: Child | None = None
    evidence_problem: str = ""
    """Why the evidence that status names is not there."""
    foreign: tuple[Foreign, ...] = ()

    @property
    def generation(self) -> int:
        """metadata.generation."""
        return self.edition.generation

    @property
    def ready(self) -> Mapping[str, int]:
        """Pods that answer, by revision hash."""
        return {revision: view.answering for revision, view in self.deployments.items()}

    def answering(self, revision: str) -> tuple[PodView, ...]:
        """Ready pods of a revision that are not being deleted."""
        return tuple(pod for pod in self.pods if pod.ready and pod.revision == revision)

    def address(self, revision: str) -> str | None:
        """`address:port` of the door to a revision; None before it has one."""
        door = self.doors.get(revision)
        address = door.body.get("spec", {}).get("clusterIP", "") if door else ""
        if not address or address == "None":
            return None
        return f"[{address}]:{DOOR_PORT}" if ":" in address else f"{address}:{DOOR_PORT}"

    @property
    def selected(self) -> str | None:
        """Hash of the revision that the Service points to; None when there is no Service."""
        if self.service is None:
            return None
        return str(self.service.body.get("spec", {}).get("selector", {}).get(LABEL_REVISION, ""))


def owner_of(body: Json) -> Owner:
    """The controller of an object, or the empty Owner."""
    for reference in body.get("metadata", {}).get("ownerReferences", ()):
        if reference.get("controller"):
            return Owner(reference.get("kind", ""), reference.get("name", ""), reference.get("uid", ""))
    return Owner()


def child_view(body: Json) -> Child:
    """View of one of our objects."""
    metadata = body["metadata"]
    return Child(metadata["name"], metadata["uid"], (metadata.get("labels") or {}).get(LABEL_REVISION, ""), body)


def deployment_view(body: Json) -> DeploymentView:
    """View of an `apps/v1` Deployment."""
    spec, status = body.get("spec", {}), body.get("status", {})
    seen = status.get("observedGeneration", 0) >= body["metadata"].get("generation", 0)
    refused = next(
        (
            c.get("message", "")
            for c in status.get("conditions", ())
            if c["type"] == "ReplicaFailure" and c["status"] == "True"
        ),
        None,
    )
    template = spec.get("template", {})
    # The revision is read from the immutable selector: labels of the object itself can be edited away.
    revision = spec.get("selector", {}).get("matchLabels", {}).get(LABEL_REVISION, "")
    child = child_view(body)
    return DeploymentView(
        child=Child(child.name, child.uid, revision, body),
        replicas=spec.get("replicas", 1),
        ready=min(status.get("readyReplicas", 0), status.get("updatedReplicas", 0)) if seen else 0,
        answering=status.get("readyReplicas", 0),
        template=template,
        refused=refused,
    )


def revision_view(body: Json) -> RevisionView:
    """View of a ControllerRevision written by `manifests.controller_revision`."""
    data = body.get("data", {})
    child = child_view(body)
    return RevisionView(
        child=Child(child.name, child.uid, data.get("hash", child.revision), body),
        number=body.get("revision", 0),
        template=data.get("template", {}),
        digest=data.get("digest", ""),
        uri=data.get("uri", ""),
        form=data.get("schema", 1),
    )


def pod_deployment(body: Json) -> str | None:
    """Name of the Deployment a pod belongs to, by the names that the Deployment and ReplicaSet controllers give."""
    owner = owner_of(body)
    suffix = (body["metadata"].get("labels") or {}).get("pod-template-hash")
    if owner.kind != "ReplicaSet" or not suffix or not owner.name.endswith(f"-{suffix}"):
        return None
    return owner.name.removesuffix(f"-{suffix}")


def pod_view(body: Json, deployment: str) -> PodView:
    """View of a pod."""
    status = body.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", ())}
    scheduled = conditions.get("PodScheduled", {})
    unschedulable = scheduled.get("reason") == "Unschedulable" and scheduled.get("status") == "False"
    ready = conditions.get("Ready", {})
    metadata = body["metadata"]
    return PodView(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        deployment=deployment,
        revision=(metadata.get("labels") or {}).get(LABEL_REVISION, ""),
        ready=ready.get("status") == "True",
        unschedulable=scheduled.get("message", "") if unschedulable else None,
        fetch=_container(status.get("initContainerStatuses", ()), FETCH_CONTAINER),
        server=_container(status.get("containerStatuses", ()), SERVER_CONTAINER),
        traffic=(metadata.get("annotations") or {}).get(traffic.ANNOTATION),
        ready_since=optional_time(ready.get("lastTransitionTime")) if ready.get("status") == "True" else None,
    )


def _container(statuses: Any, name: str) -> ContainerView:
    raw = next((item for item in statuses or () if item.get("name") == name), None)
    if raw is None:
        return ContainerView()
    state, last = raw.get("state") or {}, raw.get("lastState") or {}
    ended = state.get("terminated") or last.get("terminated") or {}
    waiting = state.get("waiting") or {}
    return ContainerView(
        restarts=raw.get("restartCount", 0),
        waiting=waiting.get("reason"),
        waiting_message=waiting.get("message", ""),
        exit_code=ended.get("exitCode"),
        exit_reason=ended.get("reason", ""),
        message=ended.get("message", ""),
    )
