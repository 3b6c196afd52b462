"""Writes Kubernetes Events (events.k8s.io/v1) about our objects. Owns their names, series and rate; never fails a plan.

The name is a function of object uid, reason and note, so the same Event said again, by this process or the next, becomes the series of
the Event that is there. At most one write per Event and minute; per object a bucket of BURST that refills one in REFILL_SECONDS.
"""

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from modelcycle.engine.plan import Emit
from modelcycle.kube.errors import ApiError
from modelcycle.kube.kinds import EVENT
from modelcycle.kube.port import Kube, Object

BURST: Final = 25
REFILL_SECONDS: Final = 60.0
SAME_EVENT_SECONDS: Final = 60.0
NOTE_LIMIT: Final = 1024
REMEMBERED: Final = 4096
CONTROLLER: Final = "modelcycle.dev/operator"

_log = logging.getLogger(__name__)


class DropObserver(Protocol):
    """What the recorder reports; `telemetry.Telemetry` is one."""

    def event_dropped(self, cause: str) -> None:
        """An Event was not written: `rate` or `refused`."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Events that one object may still write: `tokens` at `at` (seconds of a monotonic clock)."""

    tokens: float
    at: float


def spend(bucket: Bucket, now: float) -> Bucket | None:
    """The bucket after one Event, or None when it is empty."""
    tokens = min(float(BURST), bucket.tokens + (now - bucket.at) / REFILL_SECONDS)
    return Bucket(tokens - 1, now) if tokens >= 1 else None


def event_name(event: Emit) -> str:
    """Deterministic and at most 253 characters."""
    said = "\0".join((event.uid, event.type, event.reason, event.note))
    return f"{event.name[:220]}.{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def micro_time(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, as Events write it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def first(event: Emit, instance: str, now: datetime) -> dict[str, Any]:
    """The Event said for the first time."""
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": event_name(event), "namespace": event.namespace},
        "eventTime": micro_time(now),
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
        "action": event.action,
        "reason": event.reason,
        "type": event.type.value,
        "note": event.note[:NOTE_LIMIT],
        "regarding": {
            "apiVersion": event.kind.api_version,
            "kind": event.kind.kind,
            "namespace": event.namespace,
            "name": event.name,
            "uid": event.uid,
        },
    }


def again(live: Object, now: datetime) -> dict[str, Any]:
    """The live Event, said once more. Everything but its series is immutable."""
    count = int((live.get("series") or {}).get("count", 1)) + 1
    kept = {k: v for k, v in live.items() if not k.startswith("deprecated")}
    kept["metadata"] = {"name": live["metadata"]["name"], "namespace": live["metadata"]["namespace"]}
    return {**kept, "series": {"count": count, "lastObservedTime": micro_time(now)}}


def utc_now() -> datetime:
    """The clock of a running operator."""
    return datetime.now(UTC)


class EventRecorder:
    """Implements executor.Recorder. `instance` names this process, at most 128 characters."""

    def __init__(
        self,
        kube: Kube,
        instance: str,
        observer: DropObserver,
        *,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._instance = instance[:128]
        self._observer = observer
        self._clock = clock
        self._monotonic = monotonic
        self._said: OrderedDict[str, float] = OrderedDict()
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    async def emit(self, event: Emit) -> None:
        """Write the Event, or count it as dropped. Raises nothing for errors of the API server."""
        event = replace(event, note=event.note[:NOTE_LIMIT])
        if not self._may_say(event):
            self._observer.event_dropped("rate")
            return
        try:
            live = await self._kube.get(EVENT, event.namespace, event_name(event))
            now = self._clock()
            body = again(live, now) if live else first(event, self._instance, now)
            await self._kube.apply(EVENT, event.namespace, body)
        except ApiError as error:
            self._observer.event_dropped("refused")
            _log.warning("Event not written", extra={"reason": event.reason, "problem": str(error)})

    def _may_say(self, event: Emit) -> bool:
        now, name = self._monotonic(), f"{event.namespace}/{event_name(event)}"
        if now - self._said.get(name, float("-inf")) < SAME_EVENT_SECONDS:
            return False
        bucket = spend(self._buckets.get(event.uid, Bucket(float(BURST), now)), now)
        if bucket is None:
            return False
        _remember(self._said, name, now)
        _remember(self._buckets, event.uid, bucket)
        return True


def _remember(memory: OrderedDict[str, Any], key: str, value: Any) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
