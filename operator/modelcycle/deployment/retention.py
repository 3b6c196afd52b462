"""Which idle revisions are worth keeping: those that served before those that never did, rejected ones last. Pure.

Owns the order alone; how many are kept, and that nothing in use is deleted, is `effects`' business.
"""

from collections.abc import Iterable

from modelcycle.deployment.status import State
from modelcycle.deployment.world import World


def by_worth(world: World, state: State, idle: Iterable[str]) -> list[str]:
    """Hashes of revisions, what to keep longest first. Failed attempts never displace the way back."""
    numbers = {revision: view.number for revision, view in world.revisions.items()}
    rejected = {item.ref.revision for item in state.rejected}
    served = [entry.revision for entry in state.history]
    before = [number for number in served if state.stable is None or number != state.stable.number]

    def worth(revision: str) -> tuple[int, int, str]:
        number = numbers.get(revision, 0)
        if before and number == before[-1]:
            rank = 0
        elif revision in rejected:
            rank = 3
        else:
            rank = 1 if number in served else 2
        return rank, -number, revision

    return sorted(idle, key=worth)


def is_outgrown(world: World, state: State, revision: str) -> bool:
    """Whether it is stable's own revision at a size that stable no longer has: made again from stable's template when asked for."""
    stored, stable = world.revisions.get(revision), state.stable
    if stored is None or stable is None or revision == stable.revision:
        return False
    return (stored.number, stored.digest) == (stable.number, stable.digest)
