"""Removes trust entries of deleted namespaces: whoever makes a namespace of that name later must not inherit trust in old keys.

Owns the rhythm, the reads and the one write. For an operator of the whole cluster: one of a single namespace cannot tell what exists.
"""

import asyncio
import logging
from collections.abc import Callable

from modelcycle.deployment.observe import TRUST_CONFIG_MAP
from modelcycle.deployment.trust_entries import Sightings, judge
from modelcycle.kube import kinds
from modelcycle.kube.errors import ApiError
from modelcycle.kube.port import Kube

_log = logging.getLogger(__name__)


class TrustKeeper:
    """`namespace` is the operator's; `clock` gives seconds and never goes back."""

    def __init__(self, kube: Kube, namespace: str, clock: Callable[[], float], period: float) -> None:
        self._kube = kube
        self._namespace = namespace
        self._clock = clock
        self._period = period
        self._sightings = Sightings()

    async def run(self) -> None:
        """Until cancelled: look every period, after a failure too, since nothing waits for this."""
        while True:
            try:
                await self.once()
            except ApiError as error:
                _log.warning("cannot tidy ConfigMap %s/%s: %s", self._namespace, TRUST_CONFIG_MAP, error)
            await asyncio.sleep(self._period)

    async def once(self) -> None:
        """One look. Raises ApiError, Conflict when somebody wrote the entries after they were read."""
        trust = await self._kube.get(kinds.CONFIG_MAP, self._namespace, TRUST_CONFIG_MAP)
        entries = (trust or {}).get("data") or {}
        if trust is None or not entries:
            self._sightings = Sightings()
            return
        # After the entries: a namespace that is made together with its entry is never missed.
        namespaces = {one["metadata"]["name"] for one in await self._kube.list(kinds.NAMESPACE, None)}
        judgement = judge(entries.keys(), namespaces, self._namespace, self._sightings, self._clock())
        self._sightings = judgement.sightings
        if not judgement.removed:
            return
        precondition = {key: trust["metadata"][key] for key in ("uid", "resourceVersion")}
        patch = {"metadata": precondition, "data": dict.fromkeys(judgement.removed)}
        await self._kube.merge_patch(kinds.CONFIG_MAP, self._namespace, TRUST_CONFIG_MAP, patch)
        self._sightings = self._sightings.without(judgement.removed)
        gone = ", ".join(judgement.removed)
        _log.info("ConfigMap %s/%s: removed entries of deleted namespaces: %s", self._namespace, TRUST_CONFIG_MAP, gone)
