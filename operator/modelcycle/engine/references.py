"""Who reads whom among our objects: the reverse index behind "this Experiment changed, so look at that ModelDeployment again".

A hint only: built from watch events and lists, may lag or be empty after a restart, and the resync covers for it. Does no I/O.
"""

from collections.abc import Iterable, Mapping, Sequence

from modelcycle.engine.plan import Key


class References:
    """Our objects that are known, and for each the objects it refers to."""

    def __init__(self) -> None:
        self._targets: dict[Key, frozenset[Key]] = {}
        self._dependents: dict[Key, set[Key]] = {}

    def update(self, key: Key, targets: Sequence[Key]) -> None:
        """`key` exists and refers to `targets`."""
        self.remove(key)
        self._targets[key] = frozenset(targets)
        for target in self._targets[key]:
            self._dependents.setdefault(target, set()).add(key)

    def remove(self, key: Key) -> None:
        """`key` is gone. What refers to it stays known: it waits for the target to come back."""
        for target in self._targets.pop(key, frozenset()):
            dependents = self._dependents[target]
            dependents.discard(key)
            if not dependents:
                del self._dependents[target]

    def replace(self, kind: str, listed: Mapping[Key, Sequence[Key]]) -> None:
        """All objects of `kind` as just listed: what is not among them is gone."""
        for key in [known for known in self._targets if known.kind == kind and known not in listed]:
            self.remove(key)
        for key, targets in listed.items():
            self.update(key, targets)

    def dependents(self, target: Key) -> tuple[Key, ...]:
        """The objects that refer to `target`, in a stable order."""
        return _ordered(self._dependents.get(target, ()))

    def of_kind(self, kind: str) -> tuple[Key, ...]:
        """All known objects of a kind, in a stable order."""
        return _ordered(key for key in self._targets if key.kind == kind)


def _ordered(keys: Iterable[Key]) -> tuple[Key, ...]:
    return tuple(sorted(keys, key=str))
