"""What the engine asks of a kind: observe, decide, and what to watch. Owns the Protocol only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from modelcycle.engine.plan import Key, Plan
from modelcycle.kube.kinds import Kind
from modelcycle.kube.port import Object

World = TypeVar("World")


class Reconciler(Protocol[World]):
    """One per kind of ours. `observe` does every read; `decide` is pure, total and deterministic."""

    @property
    def kind(self) -> Kind:
        """The kind whose objects it reconciles."""

    async def observe(self, key: Key, now: datetime) -> World | None:
        """Read everything the decision needs, live. None when the object is gone or being deleted. `now` is timezone-aware UTC."""

    def decide(self, world: World) -> Plan:
        """What to do about it. Never raises for anything the API server lets a user write. Called on a thread beside the event loop."""

    def references(self, obj: Object) -> Sequence[Key]:
        """Other objects of our kinds that `obj` (of this kind) reads: when one of them changes, `obj` is looked at again."""
