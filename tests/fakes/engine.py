"""Small stand-ins for the neighbours of engine parts: an observer that counts and a reconciler that does as told. Owns no logic."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from modelcycle.engine.plan import Emit, Key, Plan
from modelcycle.kube import kinds
from modelcycle.kube.kinds import Kind
from modelcycle.kube.port import Kube, Object


@dataclass
class CountingObserver:
    """Implements every observer protocol of the engine."""

    results: "Counter[tuple[str, str]]" = field(default_factory=Counter)
    counts: "Counter[str]" = field(default_factory=Counter)

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        self.results[kind, result] += 1

    def refused(self, kind: str) -> None:
        self.counts["refused"] += 1

    def queued(self, depth: int) -> None:
        self.counts["queued"] += 1

    def taken(self, depth: int) -> None:
        self.counts["taken"] += 1

    def retried(self) -> None:
        self.counts["retried"] += 1

    def event_dropped(self, cause: str) -> None:
        self.counts[f"dropped {cause}"] += 1

    def watched(self, kind: str) -> None:
        self.counts[f"watched {kind}"] += 1

    def seen(self, kind: Kind, obj: Object) -> None:
        self.counts[f"seen {kind.kind}"] += 1

    def gone(self, kind: Kind, obj: Object) -> None:
        self.counts[f"gone {kind.kind}"] += 1

    def listed(self, kind: Kind, objects: Sequence[Object]) -> None:
        self.counts[f"listed {kind.kind}"] += len(objects)


@dataclass
class KeepingRecorder:
    """Implements executor.Recorder: keeps what was emitted."""

    events: list[Emit] = field(default_factory=list)

    async def emit(self, event: Emit) -> None:
        self.events.append(event)


class LiveReconciler:
    """A reconciler of Experiments whose world is the live object and whose decision is the given function."""

    def __init__(self, kube: Kube, decision: Callable[[Object], Plan], references: Sequence[Key] = ()) -> None:
        self._kube = kube
        self._decision = decision
        self._references = references

    @property
    def kind(self) -> Kind:
        return kinds.EXPERIMENT

    async def observe(self, key: Key, now: datetime) -> Object | None:
        return await self._kube.get(kinds.EXPERIMENT, key.namespace, key.name)

    def decide(self, world: Object) -> Plan:
        return self._decision(world)

    def references(self, obj: Object) -> Sequence[Key]:
        return self._references
