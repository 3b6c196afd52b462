"""Leader election on a Lease: a pure decision and the small loop that carries it out. Used only with a Lease name in the settings.

Other replicas' clocks are not trusted: a Lease counts as expired when *this* process has seen it unchanged for its duration. Losing the
lead ends the process: a restart is always safe, a second active replica is not needed.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from modelcycle.kube.errors import AlreadyExists, ApiError, Conflict
from modelcycle.kube.kinds import LEASE
from modelcycle.kube.port import Kube, Object

DURATION: Final = 15.0
RENEW_EVERY: Final = 5.0
RENEW_DEADLINE: Final = 10.0
POLL_EVERY: Final = 1.0
STEP_TIMEOUT: Final = 3.0

_log = logging.getLogger(__name__)


class Move(StrEnum):
    """What to do about the Lease now."""

    ACQUIRE = "Acquire"
    """It is free or expired: write our name."""
    RENEW = "Renew"
    """It is ours: write the time."""
    WAIT = "Wait"
    """Nothing to do yet."""
    STEP_DOWN = "StepDown"
    """We led and cannot be sure any more: stop acting at once."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The Lease as last read. Times are seconds of this process's monotonic clock."""

    holder: str
    """Empty: free or missing."""
    duration: float
    unchanged_since: float
    """When this process first saw this resourceVersion."""


def decide(sight: Sight | None, identity: str, renewed_at: float | None, now: float) -> Move:
    """The next move. `sight` None: the Lease could not be read. `renewed_at`: our last successful write while leading, else None."""
    if renewed_at is not None:
        if now - renewed_at >= RENEW_DEADLINE or (sight is not None and sight.holder != identity):
            return Move.STEP_DOWN
        return Move.RENEW if now - renewed_at >= RENEW_EVERY else Move.WAIT
    if sight is None:
        return Move.WAIT
    expired = now - sight.unchanged_since >= sight.duration
    return Move.ACQUIRE if not sight.holder or sight.holder == identity or expired else Move.WAIT


class Elector:
    """`leading` is set from the first acquisition on; `run` returns when the lead is lost."""

    def __init__(
        self, kube: Kube, namespace: str, name: str, identity: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._monotonic = monotonic
        self._renewed_at: float | None = None
        self._live: Object | None = None
        self._seen: tuple[str, float] = ("", 0.0)
        self.leading = asyncio.Event()
        self.looked = False
        """Whether the state of the Lease is known."""

    async def run(self) -> None:
        """Stand for election until elected, then renew until the lead is lost."""
        while True:
            try:
                async with asyncio.timeout(STEP_TIMEOUT):
                    move = await self.step()
            except TimeoutError:
                # RENEW_DEADLINE + STEP_TIMEOUT + POLL_EVERY < DURATION: we stop before anybody else may start.
                move = decide(None, self._identity, self._renewed_at, self._monotonic())
            self.looked = True
            if move is Move.STEP_DOWN:
                self.leading.clear()
                _log.error("lost the Lease %s/%s", self._namespace, self._name)
                return
            await asyncio.sleep(POLL_EVERY)

    async def step(self) -> Move:
        """Read the Lease, decide, act once."""
        sight = await self._look()
        move = decide(sight, self._identity, self._renewed_at, self._monotonic())
        if move in (Move.ACQUIRE, Move.RENEW):
            await self._write()
        return move

    async def release(self) -> None:
        """Free the Lease at an orderly end, so that the next replica need not wait. Errors are ignored."""
        if self._renewed_at is None or self._live is None:
            return
        self._renewed_at = None
        body = dict(self._live)
        body["spec"] = {**body["spec"], "holderIdentity": ""}
        try:
            await self._kube.replace(LEASE, self._namespace, body)
        except ApiError as error:
            _log.info("Lease not released", extra={"problem": str(error)})

    async def _look(self) -> Sight | None:
        try:
            self._live = await self._kube.get(LEASE, self._namespace, self._name)
        except ApiError as error:
            _log.warning("cannot read the Lease", extra={"problem": str(error)})
            return None
        if self._live is None:
            return Sight("", DURATION, self._monotonic())
        version = self._live["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, self._monotonic())
        spec = self._live.get("spec", {})
        return Sight(
            spec.get("holderIdentity") or "", float(spec.get("leaseDurationSeconds") or DURATION), self._seen[1]
        )

    async def _write(self) -> None:
        try:
            body = self._body()
            if self._live is None:
                self._live = await self._kube.create(LEASE, self._namespace, body)
            else:
                self._live = await self._kube.replace(LEASE, self._namespace, body)
        except (Conflict, AlreadyExists):
            return
        except ApiError as error:
            _log.warning("cannot write the Lease", extra={"problem": str(error)})
            return
        self._renewed_at = self._monotonic()
        self.leading.set()

    def _body(self) -> dict[str, Any]:
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before: Object = (self._live or {}).get("spec", {})
        metadata: dict[str, Any] = {"name": self._name, "namespace": self._namespace}
        if self._live is not None:
            metadata["resourceVersion"] = self._live["metadata"]["resourceVersion"]
        held = before.get("holderIdentity") == self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(DURATION),
            "acquireTime": before.get("acquireTime", moment) if held else moment,
            "renewTime": moment,
            "leaseTransitions": int(before.get("leaseTransitions", 0)) + (0 if held or not before else 1),
        }
        return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}
