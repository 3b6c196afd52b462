"""Which entries of the trust ConfigMap belong to namespaces that were deleted. Pure.

Owns the proof of a deletion: the API server keeps no record of a namespace that is gone, and one that is yet to come looks the same.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

UNSEEN_SECONDS: Final = 24 * 3600.0
"""How long an entry waits for a namespace that this process has never seen: people and GitOps write entries ahead."""
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Sightings:
    """What this process has seen. Lost with it, which only delays: a deletion is proved again or waited for again."""

    existed: frozenset[str] = frozenset()
    absent_since: Mapping[str, float] = field(default_factory=dict)

    def without(self, removed: Collection[str]) -> "Sightings":
        """After a removal: an entry that somebody writes again is one that waits for its namespace, not one to remove at once."""
        since = {entry: seconds for entry, seconds in self.absent_since.items() if entry not in removed}
        return Sightings(self.existed - frozenset(removed), since)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The entries to remove, sorted, and what is known from now on."""

    removed: tuple[str, ...]
    sightings: Sightings


def judge(
    entries: Collection[str], namespaces: Collection[str], own_namespace: str, before: Sightings, now: float
) -> Judgement:
    """`namespaces`: all that exist or are terminating, read after `entries`. `now`: seconds of a clock that never goes back."""
    # The operator's own namespace holds the entries, so a list without it is not whole.
    if own_namespace not in namespaces:
        return Judgement((), before)
    # A key that can name no namespace, such as `_example`, is somebody's note.
    absent = {entry for entry in entries if entry not in namespaces and _NAMESPACE.fullmatch(entry)}
    existed = frozenset(namespaces) | (before.existed & absent)
    since = {entry: before.absent_since.get(entry, now) for entry in absent}
    removed = sorted(entry for entry in absent if entry in existed or now - since[entry] >= UNSEEN_SECONDS)
    return Judgement(tuple(removed), Sightings(existed, since))
