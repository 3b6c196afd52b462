"""The safety net under lost events: lists every kind of ours at start and every `resync_seconds`, and enqueues all of it.

Owns the rhythm and feeds the reverse index. Nothing may depend on having seen an event, deletions included.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from modelcycle.engine.plan import Key
from modelcycle.engine.reconciler import Reconciler
from modelcycle.engine.references import References
from modelcycle.kube.errors import ApiError
from modelcycle.kube.kinds import Kind
from modelcycle.kube.port import Kube, Object

RETRY_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


def key_of(kind: Kind, obj: Object) -> Key:
    """The key of one of our objects."""
    metadata = obj["metadata"]
    return Key(kind.kind, metadata["namespace"], metadata["name"])


class ListObserver(Protocol):
    """Who is told what exists; `telemetry.Telemetry` is one."""

    def listed(self, kind: Kind, objects: Sequence[Object]) -> None:
        """All objects of one of our kinds."""


class Resync:
    """Lists `namespace` (None: all). `listed` is set once every kind has been listed for the first time."""

    def __init__(
        self,
        kube: Kube,
        reconcilers: Sequence[Reconciler[Any]],
        references: References,
        enqueue: Callable[[Key], None],
        observer: ListObserver,
        *,
        namespace: str | None,
        period: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._kube = kube
        self._reconcilers = reconcilers
        self._references = references
        self._enqueue = enqueue
        self._observer = observer
        self._namespace = namespace
        self._period = period
        self._jitter = jitter
        self.listed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled: list, wait 0.9 to 1.1 periods, list again. A failed list is tried again after RETRY_SECONDS."""
        while True:
            try:
                await self.once()
                self.listed.set()
                pause = self._period * (0.9 + 0.2 * self._jitter())
            except ApiError as error:
                _log.warning("listing failed", extra={"problem": str(error)})
                pause = RETRY_SECONDS
            await asyncio.sleep(pause)

    async def once(self) -> None:
        """One pass over all kinds. Raises ApiError."""
        for reconciler in self._reconcilers:
            found = await self._kube.list(reconciler.kind, self._namespace)
            self._observer.listed(reconciler.kind, found)
            listed: Mapping[Key, Sequence[Key]] = {
                key_of(reconciler.kind, obj): reconciler.references(obj) for obj in found
            }
            self._references.replace(reconciler.kind.kind, listed)
            for key in listed:
                self._enqueue(key)


async def poll(kube: Kube, kind: Kind, namespace: str, name: str, seconds: float, changed: Callable[[], None]) -> None:
    """Until cancelled: call `changed` whenever one object that no label selects has another resourceVersion than before."""
    known: str | None = None
    first = True
    while True:
        try:
            live = await kube.get(kind, namespace, name)
            version = live["metadata"]["resourceVersion"] if live else None
            if version != known and not first:
                changed()
            known, first = version, False
        except ApiError as error:
            _log.warning("cannot read %s %s/%s", kind.kind, namespace, name, extra={"problem": str(error)})
        await asyncio.sleep(seconds)
