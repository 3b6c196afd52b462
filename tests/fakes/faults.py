"""Faults for `MemoryKube`: what a hook is told, and the hooks that property tests need.

A hook before a write may raise: the write did not happen. A hook after a write may raise: the write landed and nobody heard. Raising
`Crash` stands for the death of the process: no code of the operator catches it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from modelcycle.kube.errors import Conflict, Unavailable
from modelcycle.kube.kinds import Kind


class Crash(BaseException):
    """The process died here."""


class Verb(StrEnum):
    """The writes of the port."""

    CREATE = "create"
    """POST."""
    APPLY = "apply"
    """Server-side apply of an object."""
    REPLACE = "replace"
    """PUT."""
    APPLY_STATUS = "apply_status"
    """Server-side apply of a status."""
    MERGE_PATCH = "mergePatch"
    PATCH_POD = "patch_pod"
    """Merge-patch of a pod's annotation."""
    DELETE = "delete"
    """Background deletion."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write. `changed` is known only after it landed."""

    verb: Verb
    kind: Kind
    namespace: str
    name: str
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """One read; `name` is empty for a list."""

    kind: Kind
    namespace: str
    name: str


Call = TypeVar("Call", contravariant=True)
Hook = Callable[[Call], None]


def no_fault(call: object) -> None:
    """The hook of a healthy API server."""


class RaiseAt:
    """A hook that raises once, at the `position`-th call (counted from 0), then lets everything pass."""

    def __init__(self, position: int, error: Callable[[], BaseException]) -> None:
        self.position = position
        self.error = error
        self.seen = 0

    @property
    def fired(self) -> bool:
        """Whether the fault has happened."""
        return self.seen > self.position

    def __call__(self, call: object) -> None:
        self.seen += 1
        if self.seen == self.position + 1:
            raise self.error()


def crash() -> BaseException:
    """Before or after a write: the process dies."""
    return Crash()


def conflict() -> BaseException:
    """Before a write: somebody else was faster."""
    return Conflict("the object has been modified", status=409)


def lost_response() -> BaseException:
    """After a write: it landed and the connection broke. Before a write: it did not land, and looks the same."""
    return Unavailable("connection reset by peer")
