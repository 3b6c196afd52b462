"""The real Kubernetes API behind the port. Owns which request each method is, what may be repeated, and how long lists are paged.

Decides nothing about our kinds. `managedFields` never cross the port: they are large, and who owns which field is this module's business.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from modelcycle.kube import kinds
from modelcycle.kube.errors import ApiError, Conflict, NotFound, Throttled, Unavailable
from modelcycle.kube.kinds import Kind
from modelcycle.kube.port import FIELD_MANAGER, STATUS_FIELD_MANAGER, Object
from modelcycle.kube.transport import ContentType, Transport, path_of

PAGE: Final = 500
ATTEMPTS: Final = 3
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
LIST_RESTARTS: Final = 3
ADOPTIONS: Final = 5

Answer = TypeVar("Answer")
Objects = list[Object]


class RestKube:
    """Implements `kube.port.Kube` on a Transport. Reads, applies and deletes are tried up to ATTEMPTS times; POST and PUT once."""

    def __init__(self, transport: Transport, jitter: Callable[[], float] = random.random) -> None:
        self.transport = transport
        self._jitter = jitter

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """See the port."""
        path = path_of(kind, namespace, name)
        try:
            return _trim(await self._repeat(lambda: self.transport.request("GET", path)))
        except NotFound:
            return None

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None = None) -> list[Object]:
        """See the port. A page token that expired in between (410) starts the list anew."""
        for _ in range(LIST_RESTARTS):
            try:
                return await self._pages(kind, namespace, labels or {})
            except NotFound as error:
                if error.status != 410:
                    raise
        raise Unavailable(f"listing {kind.plural}: the page token expired {LIST_RESTARTS} times", status=410)

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        """See the port."""
        query = {"fieldManager": FIELD_MANAGER}
        path = path_of(kind, namespace)
        return _trim(await self.transport.request("POST", path, query=query, body=body, content_type=ContentType.YAML))

    async def apply(self, kind: Kind, namespace: str, body: Object) -> Object:
        """See the port. One request; three when the live object still has fields that our own POST owns."""
        path = path_of(kind, namespace, body["metadata"]["name"])
        for _ in range(ADOPTIONS):
            applied = await self._apply(path, FIELD_MANAGER, body)
            adopted = _created_fields_as_applied(applied)
            if adopted is None:
                return _trim(applied)
            body = _on_version_of(applied, body)
            # A controller that writes the status in between is no reason to give up what landed already.
            with contextlib.suppress(Conflict):
                moved = await self.transport.request("PATCH", path, body=adopted, content_type=ContentType.JSON_PATCH)
                body = _on_version_of(moved, body)
        raise Conflict(f"{path} changed {ADOPTIONS} times while its fields were taken over", status=409)

    async def replace(self, kind: Kind, namespace: str, body: Object) -> Object:
        """See the port."""
        path = path_of(kind, namespace, body["metadata"]["name"])
        return _trim(await self.transport.request("PUT", path, query={"fieldManager": FIELD_MANAGER}, body=body))

    async def apply_status(
        self, kind: Kind, namespace: str, name: str, status: Object, resource_version: str
    ) -> Object:
        """See the port."""
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": name, "resourceVersion": resource_version},
            "status": status,
        }
        return _trim(await self._apply(path_of(kind, namespace, name, "status"), STATUS_FIELD_MANAGER, body))

    async def merge_patch(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        """See the port."""
        path, query = path_of(kind, namespace, name), {"fieldManager": FIELD_MANAGER}
        return _trim(
            await self._repeat(
                lambda: self.transport.request(
                    "PATCH", path, query=query, body=patch, content_type=ContentType.MERGE_PATCH
                )
            )
        )

    async def patch_pod_annotation(self, namespace: str, name: str, uid: str, key: str, value: str) -> Object:
        """See the port."""
        return await self.merge_patch(
            kinds.POD, namespace, name, {"metadata": {"uid": uid, "annotations": {key: value}}}
        )

    async def log(self, namespace: str, pod: str, container: str, tail_lines: int, limit_bytes: int) -> str:
        """See the port."""
        path = path_of(kinds.POD, namespace, pod, "log")
        query = {"container": container, "tailLines": str(tail_lines), "limitBytes": str(limit_bytes)}
        return await self._repeat(lambda: self.transport.text("GET", path, query=query))

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """See the port."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        path = path_of(kind, namespace, name)
        try:
            await self._repeat(lambda: self.transport.request("DELETE", path, body=body))
        except NotFound:
            return

    async def _apply(self, path: str, manager: str, body: Object) -> dict[str, Any]:
        query = {"fieldManager": manager, "force": "true"}
        return await self._repeat(
            lambda: self.transport.request("PATCH", path, query=query, body=body, content_type=ContentType.APPLY)
        )

    async def _pages(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> Objects:
        query = {"limit": str(PAGE)}
        if labels:
            query["labelSelector"] = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        found: Objects = []
        path = path_of(kind, namespace)
        while True:
            page = await self._repeat(lambda: self.transport.request("GET", path, query=dict(query)))
            # Items of a typed list carry no apiVersion and kind; callers get whole objects from every method.
            found += [_trim({"apiVersion": kind.api_version, "kind": kind.kind, **item}) for item in page["items"]]
            token = page.get("metadata", {}).get("continue")
            if not token:
                return found
            query["continue"] = token

    async def _repeat(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Only for calls that may land twice: full jitter, or as long as the server asks within LONGEST_PAUSE."""
        for attempt in range(ATTEMPTS - 1):
            try:
                return await call()
            except (Throttled, Unavailable) as error:
                await asyncio.sleep(self._pause(error, attempt))
        return await call()

    def _pause(self, error: ApiError, attempt: int) -> float:
        if isinstance(error, Throttled) and error.retry_after is not None:
            return min(error.retry_after, LONGEST_PAUSE)
        return min(LONGEST_PAUSE, FIRST_PAUSE * float(2**attempt)) * self._jitter()


def _on_version_of(live: Object, body: Object) -> Object:
    """`body` with the resourceVersion of `live` where it names one: our own step in between is no conflict."""
    if "resourceVersion" not in body["metadata"]:
        return body
    return {**body, "metadata": {**body["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}}


def _trim(body: dict[str, Any]) -> dict[str, Any]:
    body.get("metadata", {}).pop("managedFields", None)
    return body


def _created_fields_as_applied(live: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    """A JSON patch that hands the fields of our POST to our apply entry, or None when there are none.

    The API server books a POST as an update. A field that only the update entry owns is never pruned by a later apply, so a label
    that a newer operator no longer writes would stay for ever.
    """
    managed = live["metadata"].get("managedFields", [])
    ours = [e for e in managed if e.get("manager") == FIELD_MANAGER and not e.get("subresource")]
    created = [e for e in ours if e.get("operation") == "Update"]
    applied = [e for e in ours if e.get("operation") == "Apply"]
    if not created or not applied:
        return None
    fields: dict[str, Any] = {}
    for entry in (*created, *applied):
        _union(fields, entry.get("fieldsV1", {}))
    kept = [e for e in managed if e not in ours]
    version = live["metadata"]["resourceVersion"]
    return [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/metadata/managedFields", "value": [*kept, {**applied[0], "fieldsV1": fields}]},
    ]


def _union(into: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for key, inner in fields.items():
        _union(into.setdefault(key, {}), inner)
