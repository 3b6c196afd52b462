"""What the ledger adds up to: which trials are settled, which attempt comes next, and which trial is the best. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from modelcycle.api.experiment import Direction, ExperimentSpec, TrialState
from modelcycle.experiment.ledger import Entry
from modelcycle.experiment.results import number

LOWER_IS_BETTER: Final = ("loss", "error", "mse", "rmse", "mae", "brier", "deviance", "_seconds")


@dataclass(frozen=True)
class History:
    """All recorded attempts of an Experiment, seen under one search hash and one data digest."""

    entries: tuple[Entry, ...]
    search: str
    data_digest: str | None

    @cached_property
    def settled(self) -> dict[int, Entry]:
        """Trial index -> the attempt that counts."""
        return {e.index: e for e in self.entries if self._counts(e)}

    def _counts(self, entry: Entry) -> bool:
        read_other_data = None not in (self.data_digest, entry.data_digest) and entry.data_digest != self.data_digest
        return entry.search == self.search and entry.state is not TrialState.DISCARDED and not read_other_data

    @cached_property
    def _attempts(self) -> Counter[int]:
        return Counter(e.index for e in self.entries)

    def attempt(self, index: int) -> int:
        """The number of the next attempt of a trial."""
        return (
            max((e.attempt for e in self.entries if e.index == index), default=-1) + 1 if self._attempts[index] else 0
        )

    def repeats(self, index: int, failure_class: str) -> int:
        """How many attempts of a trial were discarded for this class of failure under this search."""
        return sum(
            e.index == index and e.search == self.search and e.failure_class == failure_class
            for e in self.entries
            if e.state is TrialState.DISCARDED
        )

    def count(self, state: TrialState) -> int:
        """Settled trials in a state."""
        return sum(e.state is state for e in self.settled.values())

    def failures(self) -> dict[str, int]:
        """Failed trials by class."""
        return dict(Counter(e.failure_class for e in self.settled.values() if e.state is TrialState.FAILED))


def direction(spec: ExperimentSpec, metric: str) -> Direction:
    """The declared direction; without one, losses and errors are minimised and everything else maximised."""
    if spec.objective is not None:
        return spec.objective.direction
    lower = metric.endswith(LOWER_IS_BETTER) and not metric.startswith("neg_")
    return Direction.MINIMIZE if lower else Direction.MAXIMIZE


def objective_value(entry: Entry) -> float | None:
    """The value that decides; None when the attempt has none."""
    if entry.state is not TrialState.SUCCEEDED:
        return None
    return number(dict(entry.metrics).get(entry.objective_metric or ""))


def ranked(spec: ExperimentSpec, entries: Sequence[Entry]) -> list[Entry]:
    """The usable attempts, the best first; on a tie the lowest index."""
    usable = [(value, e) for e in entries if (value := objective_value(e)) is not None]
    if not usable:
        return []
    sign = 1 if direction(spec, usable[0][1].objective_metric or "") is Direction.MINIMIZE else -1
    return [e for _, e in sorted(usable, key=lambda pair: (sign * pair[0], pair[1].index))]


def best(spec: ExperimentSpec, entries: Sequence[Entry]) -> Entry | None:
    """The best usable attempt."""
    return next(iter(ranked(spec, entries)), None)


def reaches_goal(spec: ExperimentSpec, entry: Entry | None) -> bool:
    """Whether this attempt ends the search."""
    value = objective_value(entry) if entry else None
    if value is None or spec.objective is None or spec.objective.goal is None:
        return False
    if spec.objective.direction is Direction.MINIMIZE:
        return value <= spec.objective.goal
    return value >= spec.objective.goal
