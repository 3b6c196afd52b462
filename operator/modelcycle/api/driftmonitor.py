"""DriftMonitor as frozen data, its condition types and reasons. No I/O, no defaults beyond the schema's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

STATE_VERSION: Final = 1
"""Version of `status` and of the ledger that this code writes; a newer one is left alone."""


class MonitorCondition(StrEnum):
    """Types of the conditions of a DriftMonitor."""

    READY = "Ready"
    """True while counts arrive, or while suspended."""
    RECONCILING = "Reconciling"
    """True while it waits for the target or for counts that can be used."""
    STALLED = "Stalled"
    """True when a person has to do something first."""
    COUNTS_INCONSISTENT = "CountsInconsistent"
    """True while the open or the last window holds counts that contradict each other."""


class MonitorReason(StrEnum):
    """Reasons of the conditions of a DriftMonitor."""

    OBSERVING = "Observing"
    """Counts of the target's pods arrive."""
    NO_DATA = "NoData"
    """No pod answers, or the last reading is too old; windows are held open."""
    WAITING_FOR_TARGET = "WaitingForTarget"
    """There is no ModelDeployment of the name in `spec.targetRef`."""
    COUNTS_INCONSISTENT = "CountsInconsistent"
    """A counter ran backwards within its epoch, or bins do not add up to rows; the pod is left out."""
    SUSPENDED = "Suspended"
    """`spec.suspend` is true: nothing is read."""
    WRITE_REFUSED = "WriteRefused"
    """The API server refuses a change that the operator has to make: quota, policy, rights or schema."""
    NAME_TAKEN = "NameTaken"
    """The ConfigMap for the counts exists and is not ours."""
    LEDGER_UNREADABLE = "LedgerUnreadable"
    """The ConfigMap with the counts was changed by someone else and does not parse."""
    LEDGER_TOO_LARGE = "LedgerTooLarge"
    """Pods times features are more than a ConfigMap holds."""


@dataclass(frozen=True, slots=True)
class MonitorSpec:
    """What the user asks for. Durations in seconds."""

    target: str
    window: float = 3600.0
    interval: float = 15.0
    suspend: bool = False


@dataclass(frozen=True, slots=True)
class Monitor:
    """One DriftMonitor as read."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    spec: MonitorSpec
    status: Mapping[str, Any]

    @property
    def state_version(self) -> int:
        """Version of the status as found; 0 when there is none."""
        return int(self.status.get("stateVersion", 0))


_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0}


def seconds(duration: str) -> float:
    """Seconds of a duration such as `1h30m`. Raises ValueError for anything the schema refuses."""
    if not re.fullmatch(r"([0-9]+h)?([0-9]+m)?([0-9]+s)?", duration) or not duration:
        raise ValueError(f"{duration!r} is not a duration such as 90s, 15m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([hms])", duration))


def parse(obj: Mapping[str, Any]) -> Monitor:
    """The typed view of an object that the API server has admitted."""
    meta, spec = obj["metadata"], obj["spec"]
    return Monitor(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 1),
        resource_version=meta["resourceVersion"],
        spec=MonitorSpec(
            target=spec["targetRef"]["name"],
            window=seconds(spec.get("window", {}).get("length", "1h")),
            interval=seconds(spec.get("interval", "15s")),
            suspend=spec.get("suspend", False),
        ),
        status=obj.get("status") or {},
    )
