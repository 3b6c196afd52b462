"""What a decision may ask for: a Plan of ordered actions, as frozen data. Owns the vocabulary; executes nothing.

Order inside a plan is the author's: status intent first, effects second, result last. The executor stops at the first failure and
the next reconciliation observes again; Events are about the status written before them, and are said when an effect between fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from modelcycle.kube.kinds import Kind


@dataclass(frozen=True, slots=True)
class Key:
    """Names one of our objects; what the work queue holds."""

    kind: str
    """`Experiment`, `ModelDeployment` or `DriftMonitor`."""
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Create:
    """POST a child. AlreadyExists is answered by observing again: the next decision sees whose it is."""

    kind: Kind
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply of a child that `observe` saw to be ours; `uid` is the one seen."""

    kind: Kind
    body: Mapping[str, Any]
    uid: str
    undone: tuple[str, ...] = ()
    """Fields that others changed since they were written, and that this writes again."""


@dataclass(frozen=True, slots=True)
class Repair:
    """Merge patch of a child of ours that holds what is not ours, which an apply would leave. `patch` names the uid and version seen."""

    kind: Kind
    patch: Mapping[str, Any]
    fields: tuple[str, ...]
    """What others had changed or added."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a child of ours in the background; `uid` is the one seen."""

    kind: Kind
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Server-side apply of the whole status of the object itself, on the resourceVersion it was decided on.

    The executor leaves it out when `status` equals `previous`, so a fixpoint writes nothing. After a status write the executor uses the new
    resourceVersion for later WriteStatus actions of the same plan.
    """

    kind: Kind
    namespace: str
    name: str
    resource_version: str
    status: Mapping[str, Any]
    previous: Mapping[str, Any]


class EventType(StrEnum):
    """The two types that Kubernetes knows."""

    NORMAL = "Normal"
    """Progress."""
    WARNING = "Warning"
    """Something a person should look at."""


@dataclass(frozen=True, slots=True)
class Emit:
    """An Event about our object. Repeats of (object, reason, note) within the recorder's window become a series of one Event."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    type: EventType
    reason: str
    action: str
    note: str


@dataclass(frozen=True, slots=True)
class PodAnnotation:
    """One pod and the text its annotation shall have; `uid` is the one seen."""

    name: str
    uid: str
    text: str


@dataclass(frozen=True, slots=True)
class AnnotatePods:
    """Write one annotation of many pods, at the same time. Pods that are gone meanwhile are left out: the next look sees who is there."""

    namespace: str
    key: str
    pods: tuple[PodAnnotation, ...]


Action = Create | Apply | Repair | Delete | WriteStatus | Emit | AnnotatePods


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered actions, and when to look again if no event comes first (seconds; None: events and resync only)."""

    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    even_if_refused: tuple[Action, ...] = ()
    """Actions of this plan that are done even when the API server refuses a write before them: taking requests off a bad revision, or a
    status that does without what could not be written. A status is left out where one was written."""
