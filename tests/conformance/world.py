"""What the facts need beside the port: a kind of their own, and somebody else who acts on the same API.

`Others` has two implementations, for the fake and for the real API server; both act under another field manager.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from fakes.memory_kube import MemoryKube
from modelcycle.kube.client import RestKube
from modelcycle.kube.errors import Conflict
from modelcycle.kube.kinds import Kind
from modelcycle.kube.port import Object
from modelcycle.kube.transport import path_of

PROBE: Final = Kind("conformance.modelcycle.dev", "v1", "probes", "Probe")
MANAGER: Final = "kubectl"
PROBE_DEFINITION: Final[Mapping[str, Any]] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{PROBE.plural}.{PROBE.group}"},
    "spec": {
        "group": PROBE.group,
        "names": {"kind": PROBE.kind, "plural": PROBE.plural, "singular": "probe", "listKind": "ProbeList"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": PROBE.version,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                            "status": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": True,
                                "properties": {
                                    "conditions": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["type"],
                                        "items": {
                                            "type": "object",
                                            "required": ["type"],
                                            "x-kubernetes-preserve-unknown-fields": True,
                                            "properties": {"type": {"type": "string"}},
                                        },
                                    }
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}

Change = Callable[[dict[str, Any]], None]


class Others(Protocol):
    """Somebody else: a person or another controller."""

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        """POST."""

    async def edit(self, kind: Kind, namespace: str, name: str, change: Change) -> Object:
        """GET, change, PUT."""

    async def edit_status(self, kind: Kind, namespace: str, name: str, change: Change) -> Object:
        """GET, change, PUT of the status."""

    async def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """DELETE in the background."""


class MemoryOthers:
    """Others of a MemoryKube."""

    def __init__(self, kube: MemoryKube) -> None:
        self._kube = kube

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        return self._kube.seed(kind, namespace, body)

    async def edit(self, kind: Kind, namespace: str, name: str, change: Change) -> Object:
        return self._kube.edit(kind, namespace, name, change)

    async def edit_status(self, kind: Kind, namespace: str, name: str, change: Change) -> Object:
        return self._kube.edit(kind, namespace, name, change)

    async def remove(self, kind: Kind, namespace: str, name: str) -> None:
        self._kube.remove(kind, namespace, name)


class RestOthers:
    """Others of a real API server."""

    def __init__(self, kube: RestKube) -> None:
        self._transport = kube.transport

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        query = {"fieldManager": MANAGER}
        return await self._transport.request("POST", path_of(kind, namespace), query=query, body=body)

    async def edit(self, kind: Kind, namespace: str, name: str, change: Change) -> Object:
        return await self._put(path_of(kind, namespace, name), change)

    async def edit_status(self, kind: Kind, namespace: str, name: str, change: Change) -> Object:
        return await self._put(path_of(kind, namespace, name, "status"), change)

    async def remove(self, kind: Kind, namespace: str, name: str) -> None:
        await self._transport.request(
            "DELETE", path_of(kind, namespace, name), body={"propagationPolicy": "Background"}
        )

    async def _put(self, path: str, change: Change) -> Object:
        for _ in range(10):
            body = await self._transport.request("GET", path)
            change(body)
            # Controllers write too: read again, as anybody would.
            with contextlib.suppress(Conflict):
                return await self._transport.request("PUT", path, query={"fieldManager": MANAGER}, body=body)
        raise Conflict(f"{path} changed ten times in a row", status=409)


async def eventually(check: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> bool:
    """Whether `check` becomes true within `seconds`: other controllers act in their own time."""
    deadline = time.monotonic() + seconds
    while not await check():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True
