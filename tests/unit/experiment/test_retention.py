"""Which candidates leave the store with a seal, and what users read of it: whole runs in virtual time."""

from dataclasses import replace
from typing import Any

import pytest

from fakes.experiment_lab import Lab, search
from fakes.jobs import sealed, trained
from modelcycle.api.experiment import TrialState, parse
from modelcycle.experiment.history import History
from modelcycle.experiment.ledger import Entry
from modelcycle.experiment.retention import MOST_RANGES, losing
from modelcycle_bundle.contract import AttemptRange, FailureClass, FailureReason, SealResult, SealTask
from unit.experiment.test_outcomes import failing


class Sealer:
    """Keeps what seal Jobs were asked for."""

    def __init__(self, **result: Any) -> None:
        self.tasks: list[SealTask] = []
        self._result = result

    def __call__(self, task: SealTask) -> SealResult:
        self.tasks.append(task)
        return replace(sealed(task), **self._result)

    @property
    def removed(self) -> list[tuple[int, int]]:
        """(index, attempt) of what the last task names."""
        ranges = self.tasks[-1].remove
        return sorted((index, one.attempt) for one in ranges for index in range(one.first, one.last + 1))


@pytest.fixture
def lab() -> Lab:
    return Lab()


def keeping(candidates: int) -> dict[str, Any]:
    return {"uri": "s3://models/scrap", "keepCandidates": candidates}


def test_the_best_three_candidates_stay(lab: Lab) -> None:
    seal = lab.jobs.programs.seal = Sealer()
    lab.apply(search(maxTrialCount=8))
    lab.settle()
    assert seal.tasks[-1].index == 7
    assert seal.tasks[-1].remove == (AttemptRange(0, 0, 4),)


@pytest.mark.parametrize(("keep", "removed"), [(1, [0, 1, 2]), (2, [0, 1]), (4, []), (10000, [])])
def test_keep_candidates_says_how_many_stay(lab: Lab, keep: int, removed: list[int]) -> None:
    seal = lab.jobs.programs.seal = Sealer()
    lab.apply(search(output=keeping(keep)))
    lab.settle()
    assert seal.removed == [(index, 0) for index in removed]


def test_discarded_and_failed_attempts_go_too(lab: Lab) -> None:
    tried: list[int] = []

    def once(task: Any) -> Any:
        tried.append(task.index)
        if task.index == 2:
            return failing(FailureClass.TRAINER, FailureReason.TRAINER_RAISED)(task)
        if task.index == 3 and tried.count(3) == 1:
            return failing(FailureClass.INFRASTRUCTURE, FailureReason.STORE_UNREACHABLE)(task)
        return trained(task)

    seal = lab.jobs.programs.seal = Sealer()
    lab.jobs.programs.trial = once
    lab.apply(search(output=keeping(1)))
    lab.settle()
    lab.wait(70)
    assert (seal.tasks[-1].index, seal.tasks[-1].attempt) == (3, 1)
    assert seal.removed == [(0, 0), (1, 0), (2, 0), (3, 0)]


def test_the_candidate_of_an_earlier_model_goes_with_the_next(lab: Lab) -> None:
    seal = lab.jobs.programs.seal = Sealer()
    lab.apply(search(output=keeping(1)))
    lab.settle()
    lab.apply(search(maxTrialCount=6, output=keeping(1)))
    lab.settle()
    assert [task.index for task in seal.tasks] == [3, 5]
    assert seal.removed == [(index, 0) for index in range(5)]


def test_nothing_goes_before_a_model_is_sealed(lab: Lab) -> None:
    seal = lab.jobs.programs.seal = Sealer()
    lab.apply(search(acceptance=[{"metric": "roc_auc", "minimum": "0.99"}]))
    lab.settle()
    assert (lab.ready[1], seal.tasks) == ("BelowMinimum", [])


def test_status_says_what_was_removed_and_what_was_not(lab: Lab) -> None:
    lab.jobs.programs.seal = Sealer(removed=2, removal_problem="left: no right to delete")
    lab.apply(search())
    lab.settle()
    assert lab.ready[:2] == ("True", "Succeeded")
    assert lab.status["candidates"] == {"removed": 2, "message": "left: no right to delete"}
    before = len(lab.kube.writes)
    lab.wait(700)
    assert len(lab.kube.writes) == before


def test_a_task_stays_small_however_many_attempts_there_were() -> None:
    spec = parse({"spec": search(maxTrialCount=5000, output=keeping(1))})
    entries = tuple(Entry(index, index % 2, spec.search_hash, TrialState.DISCARDED) for index in range(5000))
    winner = Entry(5001, 0, spec.search_hash, TrialState.SUCCEEDED)
    found = losing(spec, History(entries, spec.search_hash, None), (), winner)
    assert len(found) == MOST_RANGES
    named = {(index, one.attempt) for one in found for index in range(one.first, one.last + 1)}
    assert named <= {entry.trial for entry in entries}
