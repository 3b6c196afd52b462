"""Every read a decision about a ModelDeployment needs, live from the API server. Owns the I/O; holds no decision.

About nine requests: the object, its Deployments, ControllerRevisions, pods and Services by label, its trust copy, its evidence, the trust
ConfigMap, and the Experiment with its lineage when one is named. Objects that labels no longer find are looked up by name, so that an
edited label loses nothing.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from modelcycle.api import policies
from modelcycle.api.edition import edition_of
from modelcycle.api.modeldeployment import DeploymentReason, Spec, SpecError, parse
from modelcycle.api.rollout import Approval, Verb
from modelcycle.deployment import evidence_entries, manifests, status
from modelcycle.deployment.lineage import follow
from modelcycle.deployment.resolve import resolve
from modelcycle.deployment.revision import Target
from modelcycle.deployment.status import State
from modelcycle.deployment.world import (
    Child,
    DeploymentView,
    Foreign,
    PodDefaults,
    PodView,
    Trust,
    Unresolved,
    World,
    child_view,
    deployment_view,
    owner_of,
    pod_deployment,
    pod_view,
    revision_view,
)
from modelcycle.engine.plan import Key
from modelcycle.kube.kinds import (
    ADMISSION_POLICY,
    ADMISSION_POLICY_BINDING,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    EXPERIMENT,
    MODEL_DEPLOYMENT,
    POD,
    SERVICE,
    Kind,
)
from modelcycle.kube.names import LABEL_DEPLOYMENT, LABEL_LINEAGE
from modelcycle.kube.pods import has_ended, is_ready
from modelcycle.kube.port import Kube, Object
from modelcycle.metrics.port import Samples
from modelcycle.settings import Settings

TRUST_CONFIG_MAP: Final = "modelcycle-trust"
"""In the operator's namespace; data: namespace -> PEM public keys."""
_PUBLIC_KEY: Final = re.compile(r"-----BEGIN PUBLIC KEY-----")


@dataclass(frozen=True, slots=True)
class Reading:
    """The latest reading of the pods' counters, or why there is none. Nothing here ever waits for one."""

    samples: Samples | None = None
    problem: str | None = None


Read = Callable[[Key, Spec | None, State, frozenset[str]], Reading]
"""Gives the latest reading of a key, and says to the sampler whether the key's pods are to be read."""


async def observe(kube: Kube, settings: Settings, key: Key, now: datetime, read: Read) -> World | None:
    """The World of one ModelDeployment; None when it is gone or being deleted."""
    body = await kube.get(MODEL_DEPLOYMENT, key.namespace, key.name)
    if body is None or body["metadata"].get("deletionTimestamp"):
        return None
    metadata = body["metadata"]
    raw_status: Mapping[str, Any] = body.get("status") or {}
    newer = raw_status.get("stateVersion", 0) > status.STATE_VERSION
    state = State() if newer else status.parse(raw_status)  # held: what is in it may mean something else
    spec, target = await _wanted(kube, key, body, settings.allowed_server_images)
    wanted = {ref.revision for ref in state.referenced()}
    if isinstance(target, Target):
        wanted.add(target.hash)
    children = await _Children.read(kube, key, metadata["uid"], wanted)
    evidence = children.named(CONFIG_MAP, manifests.evidence_name(key.name, metadata["uid"]))
    found = evidence_entries.read(raw_status, (evidence.body.get("data") or {}) if evidence else {})
    state = state if newer else replace(state, analysis=found.analysis)
    trust = await kube.get(CONFIG_MAP, settings.operator_namespace, TRUST_CONFIG_MAP)
    reading = read(key, spec, state, frozenset(pod["metadata"]["uid"] for pod in children.pods if is_ready(pod)))
    deployments = [deployment_view(item) for item in children.ours(DEPLOYMENT)]
    stored = sorted((revision_view(item) for item in children.ours(CONTROLLER_REVISION)), key=lambda view: view.form)
    revisions = {view.child.revision: view for view in stored}
    return World(
        now=now,
        namespace=key.namespace,
        name=key.name,
        uid=metadata["uid"],
        edition=edition_of(body),
        resource_version=metadata.get("resourceVersion", ""),
        raw_status=raw_status,
        state=state,
        newer_state=newer,
        spec=spec,
        target=target,
        trust=trust_of(trust, key.namespace),
        defaults=PodDefaults(settings.serving_image, settings.pod_user),
        trust_source=f"{settings.operator_namespace}/{TRUST_CONFIG_MAP}",
        deployments={view.child.revision: view for view in deployments},
        revisions=revisions,
        superseded=tuple(view.child for view in stored if view is not revisions[view.child.revision]),
        pods=_pods((pod for pod in children.pods if not _is_ending(pod)), deployments),
        ending=_pods((pod for pod in children.pods if _is_ending(pod)), deployments),
        service=children.named(SERVICE, key.name),
        doors=children.doors(key.name),
        samples=reading.samples,
        samples_problem=reading.problem,
        approvals_enforced=await _approvals_enforced(kube, spec),
        trust_map=children.named(CONFIG_MAP, manifests.trust_name(key.name, metadata["uid"])),
        evidence_map=evidence,
        evidence_problem=found.problem,
        foreign=children.foreign(),
    )


def trust_of(config_map: Object | None, namespace: str) -> Trust:
    """The trust set of a namespace; text without a PEM public key counts as none."""
    text = str(((config_map or {}).get("data") or {}).get(namespace, ""))
    keys = len(_PUBLIC_KEY.findall(text))
    pem = text if keys else ""
    return Trust(pem, hashlib.sha256(pem.encode()).hexdigest()[:12], keys)


async def _wanted(
    kube: Kube, key: Key, body: Object, allowed: Sequence[str]
) -> tuple[Spec | None, Target | Unresolved]:
    try:
        spec = parse(body.get("spec") or {})
    except SpecError as error:
        return None, Unresolved(DeploymentReason.INVALID_SPEC, str(error), stalled=True)
    name = spec.model.experiment
    if name is None:
        return spec, resolve(spec, None, allowed)
    named = await kube.get(EXPERIMENT, key.namespace, name)
    lineage = await kube.list(EXPERIMENT, key.namespace, {LABEL_LINEAGE: name})
    return spec, resolve(spec, follow(named, lineage), allowed)


async def _approvals_enforced(kube: Kube, spec: Spec | None) -> bool:
    """Whether the policies behind `spec.requests` stand unaltered. Asked only where an approval matters."""
    if spec is None or (
        spec.approval is not Approval.REQUEST and not any(r.verb is Verb.APPROVE for r in spec.requests)
    ):
        return False
    for name in (policies.REQUESTS, policies.STATUS):
        policy = await kube.get(ADMISSION_POLICY, "", name)
        binding = await kube.get(ADMISSION_POLICY_BINDING, "", name)
        if not policies.enforced(policy, binding):
            return False
    return True


def _is_ending(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _pods(bodies: Iterable[Object], deployments: Sequence[DeploymentView]) -> tuple[PodView, ...]:
    names = {view.child.name for view in deployments}
    owned = ((body, pod_deployment(body)) for body in bodies if not has_ended(body))
    return tuple(pod_view(body, name) for body, name in owned if name is not None and name in names)


class _Children:
    """Objects of our labels and of the names we need, split by whose they are."""

    def __init__(self, uid: str, found: Mapping[Kind, list[Object]], pods: list[Object]) -> None:
        self._uid = uid
        self._found = found
        self.pods = pods

    @classmethod
    async def read(cls, kube: Kube, key: Key, uid: str, wanted: set[str]) -> "_Children":
        labels = {LABEL_DEPLOYMENT: key.name}
        listed = await asyncio.gather(
            kube.list(DEPLOYMENT, key.namespace, labels),
            kube.list(CONTROLLER_REVISION, key.namespace, labels),
            kube.list(POD, key.namespace, labels),
            kube.list(SERVICE, key.namespace, labels),
        )
        found = {DEPLOYMENT: listed[0], CONTROLLER_REVISION: listed[1], SERVICE: listed[3], CONFIG_MAP: []}
        names = [(SERVICE, key.name), (CONFIG_MAP, manifests.trust_name(key.name, uid))]
        names += [(CONFIG_MAP, manifests.evidence_name(key.name, uid))]
        names += [(DEPLOYMENT, manifests.deployment_name(key.name, uid, item)) for item in sorted(wanted)]
        names += [(CONTROLLER_REVISION, manifests.revision_name(key.name, uid, item)) for item in sorted(wanted)]
        names += [(SERVICE, manifests.door_name(key.name, uid, item)) for item in sorted(wanted)]
        missing = [(k, n) for k, n in names if not any(i["metadata"]["name"] == n for i in found[k])]
        extra = await asyncio.gather(*(kube.get(kind, key.namespace, name) for kind, name in missing))
        for (kind, _), body in zip(missing, extra, strict=True):
            if body is not None:
                found[kind] = [*found[kind], body]
        needed = {(kind, name) for kind, name in names}
        relevant = {
            kind: [b for b in bodies if owner_of(b).uid == uid or (kind, b["metadata"]["name"]) in needed]
            for kind, bodies in found.items()
        }
        return cls(uid, relevant, listed[2])

    def ours(self, kind: Kind) -> list[Object]:
        """Objects whose controller we are and that are not on their way out."""
        return [body for body in self._found[kind] if self._is_ours(body)]

    def named(self, kind: Kind, name: str) -> Child | None:
        """Our object of this name."""
        return next((child_view(body) for body in self.ours(kind) if body["metadata"]["name"] == name), None)

    def doors(self, owner: str) -> dict[str, Child]:
        """Our Services but the one that users ask, by the revision they reach."""
        views = (child_view(body) for body in self.ours(SERVICE) if body["metadata"]["name"] != owner)
        return {view.revision: view for view in views}

    def foreign(self) -> tuple[Foreign, ...]:
        """Objects that hold a name we need and are not ours."""
        return tuple(
            Foreign(kind.kind, body["metadata"]["name"], owner_of(body))
            for kind, bodies in self._found.items()
            for body in bodies
            if owner_of(body).uid != self._uid
        )

    def _is_ours(self, body: Object) -> bool:
        return owner_of(body).uid == self._uid
