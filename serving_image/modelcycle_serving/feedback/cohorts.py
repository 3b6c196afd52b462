"""Counts kept apart by who answered, and when: one block of equal cells for each pair of a revision and a rollout.

Owns the bound on these pairs. What is given up is added to `other`, so that sums stay exact. Knows no label and no metric's meaning.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from modelcycle_bundle.metric_names import OTHER
from modelcycle_serving.exposition import labelled

KEPT_COHORTS: Final = 6
"""Pairs with series of their own: the two of a rollout, and what was before, between and after."""
_OTHERS: Final = (OTHER, OTHER)

Cohort = tuple[str, str]
"""Revision and rollout."""


class Cohorts:
    """`cells` are the metric's further labels. The pair `home` exists from the beginning and is never given up."""

    def __init__(self, metric: str, cells: Sequence[Mapping[str, str]], home: Cohort) -> None:
        self._metric: Final = metric
        self._cells: Final = tuple(labelled(cell).removeprefix("{") for cell in cells)
        self._home: Final = home
        self._counts: dict[Cohort, list[int]] = {home: [0] * len(cells)}
        self._prefixes: dict[Cohort, list[str]] = {}

    def of(self, cohort: Cohort, pinned: str) -> list[int]:
        """The counts of a pair, to be added to. A new pair takes the place of the oldest that is not of the rollout `pinned`."""
        if cohort not in self._counts and not self._make_room(pinned):
            cohort = _OTHERS
        return self._counts.setdefault(cohort, [0] * len(self._cells))

    def _make_room(self, pinned: str) -> bool:
        kept = [pair for pair in self._counts if pair != _OTHERS]
        if len(kept) < KEPT_COHORTS:
            return True
        loose = [pair for pair in kept if pair != self._home and (not pinned or pair[1] != pinned)]
        if not loose:
            return False
        given_up = self._counts.pop(loose[0])
        self._prefixes.pop(loose[0], None)
        others = self._counts.setdefault(_OTHERS, [0] * len(self._cells))
        self._counts[_OTHERS] = [one + two for one, two in zip(others, given_up, strict=True)]
        return True

    def samples(self) -> list[str]:
        """The lines of Prometheus' text format."""
        return [
            f"{prefix}{count}"
            for cohort, counts in self._counts.items()
            for prefix, count in zip(self._texts(cohort), counts, strict=True)
        ]

    def _texts(self, cohort: Cohort) -> list[str]:
        if cohort not in self._prefixes:
            about = labelled({"revision": cohort[0], "rollout": cohort[1]}).removesuffix("}")
            self._prefixes[cohort] = [f"{self._metric}{about},{cell} " for cell in self._cells]
        return self._prefixes[cohort]
