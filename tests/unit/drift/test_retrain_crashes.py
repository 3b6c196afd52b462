"""Whenever the operator dies, and whichever write is lost or lands unheard: exactly one Experiment, and no look twice."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from fakes.faults import Hook, RaiseAt, Write, conflict, crash, lost_response, no_fault
from fakes.retrain_lab import Lab

WRITES = 30
"""More than a whole retrain writes; positions beyond its end are healthy runs."""


def run(before: Hook[Write] = no_fault, after: Hook[Write] = no_fault) -> Lab:
    lab = Lab()
    lab.kube.before_write, lab.kube.after_write = before, after
    lab.settle()
    return lab


def check(lab: Lab) -> None:
    assert lab.reason == "Retrained"
    (retrain,) = lab.retrains()
    assert retrain["status"]["model"]["digest"]
    assert retrain["metadata"]["generation"] == 1
    assert lab.look_jobs() == []
    assert len(lab.looks) == 1
    assert len(lab.jobs.started) == len(set(lab.jobs.started))
    made = [w for w in lab.kube.writes if w.kind.kind == "Experiment" and w.verb == "create" and w.changed]
    assert len(made) == 1


def test_the_healthy_run_ends_before_the_positions_do() -> None:
    lab = run()
    check(lab)
    assert len(lab.kube.writes) < WRITES


@pytest.mark.parametrize("position", range(WRITES))
@pytest.mark.parametrize("error", [crash, conflict, lost_response])
def test_write_that_does_not_land_engineering_1(position: int, error: Callable[[], BaseException]) -> None:
    check(run(before=RaiseAt(position, error)))


@pytest.mark.parametrize("position", range(WRITES))
@pytest.mark.parametrize("error", [crash, lost_response])
def test_write_that_lands_unheard_engineering_2(position: int, error: Callable[[], BaseException]) -> None:
    check(run(after=RaiseAt(position, error)))


class Unreliable:
    """A hook that raises where the pattern says so, in turn, and is healthy after its end."""

    def __init__(self, pattern: list[Callable[[], BaseException] | None]) -> None:
        self.pattern = pattern

    def __call__(self, call: Any) -> None:
        fault = self.pattern.pop(0) if self.pattern else None
        if fault is not None:
            raise fault()


@settings(max_examples=examples(20), deadline=None)
@given(
    before=st.lists(st.sampled_from([None, None, crash, conflict, lost_response]), max_size=WRITES),
    after=st.lists(st.sampled_from([None, None, crash, lost_response]), max_size=WRITES),
)
def test_any_mix_of_faults_makes_one_experiment_engineering_6(
    before: list[Callable[[], BaseException] | None], after: list[Callable[[], BaseException] | None]
) -> None:
    check(run(Unreliable(list(before)), Unreliable(list(after))))
