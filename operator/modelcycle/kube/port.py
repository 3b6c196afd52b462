"""The port: every call the operator makes to a Kubernetes API, as a Protocol.

Two implementations, one conformance suite: `kube.client.RestKube` (the real one) and `tests/fakes/memory_kube.py` (in memory, for
properties). Objects cross the port as plain JSON mappings; reconcilers turn them into frozen views in `observe`.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from modelcycle.kube.kinds import Kind

Object = Mapping[str, Any]
"""A Kubernetes object as decoded JSON. Read-only by convention."""

FIELD_MANAGER: Final = "modelcycle"
"""Field manager of applied children. Changing it orphans fields on every managed object: it is API."""
STATUS_FIELD_MANAGER: Final = "modelcycle-status"
"""Field manager of the status of our own kinds."""


class Kube(Protocol):
    """Each method is one request. All raise subclasses of `kube.errors.ApiError`."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object as a quorum read, or None when there is none. `namespace` is "" for cluster kinds."""

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None = None) -> list[Object]:
        """All objects with these label values; `namespace` None lists the whole cluster."""

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        """POST. Raises AlreadyExists when the name is taken, by whomever."""

    async def apply(self, kind: Kind, namespace: str, body: Object) -> Object:
        """Server-side apply as FIELD_MANAGER with force. The caller has seen that the object is ours (controller uid).

        `metadata.uid` in the body, when given, must match the live object, else Conflict: never resurrects another's name.
        So must `metadata.resourceVersion`, when given: for a child whose new content follows from the old.
        """

    async def replace(self, kind: Kind, namespace: str, body: Object) -> Object:
        """PUT with the resourceVersion in the body (Leases). Raises Conflict when stale."""

    async def apply_status(
        self, kind: Kind, namespace: str, name: str, status: Object, resource_version: str
    ) -> Object:
        """Server-side apply of `/status` as STATUS_FIELD_MANAGER. Raises Conflict when `resource_version` is stale."""

    async def merge_patch(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        """Merge patch (RFC 7386) as FIELD_MANAGER: null removes whoever owns it, lists are replaced as a whole.

        `metadata.uid` and `metadata.resourceVersion`, when given, must match the live object, else Conflict.
        """

    async def patch_pod_annotation(self, namespace: str, name: str, uid: str, key: str, value: str) -> Object:
        """Merge-patch of one annotation of one pod; Conflict when the uid differs."""

    async def log(self, namespace: str, pod: str, container: str, tail_lines: int, limit_bytes: int) -> str:
        """The end of a container's log; what is no UTF-8 is replaced. Empty for a pod without a node. NotFound: no such pod."""

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Background deletion with a uid precondition. An object that is gone already is success; another uid is Conflict."""
