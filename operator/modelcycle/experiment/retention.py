"""Which candidates may leave the store once the best one is sealed. Pure; the seal Job removes them.

Names what may go, never what may stay: a trial that starts while the seal Job runs is not among them. Sealed models are no candidates.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from modelcycle.api.experiment import ExperimentSpec
from modelcycle.experiment.history import History, ranked
from modelcycle.experiment.ledger import Entry
from modelcycle.jobs.views import JobView
from modelcycle_bundle.contract import AttemptRange

MOST_RANGES: Final = 200
"""In one task; what is left out stays until the next model is sealed."""


def losing(
    spec: ExperimentSpec, history: History, stopped: Iterable[JobView], winner: Entry
) -> tuple[AttemptRange, ...]:
    """Every ended or stopped attempt but the winner's and the best `spec.output.keepCandidates`."""
    kept = {entry.trial for entry in (winner, *ranked(spec, tuple(history.settled.values()))[: spec.keep_candidates])}
    ended = {entry.trial for entry in history.entries} | {job.trial for job in stopped}
    by_attempt = sorted((attempt, index) for index, attempt in ended - kept)
    ranges = [
        found
        for attempt, trials in groupby(by_attempt, key=lambda trial: trial[0])
        for found in _ranges(attempt, [index for _, index in trials])
    ]
    return tuple(ranges[:MOST_RANGES])


def _ranges(attempt: int, indices: Sequence[int]) -> Iterable[AttemptRange]:
    runs = groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0])
    for _, run in runs:
        members = [index for _, index in run]
        yield AttemptRange(attempt, members[0], members[-1])
