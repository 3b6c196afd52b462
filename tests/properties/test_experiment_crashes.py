"""An Experiment survives the death of the operator at any write, and any write that is lost or lands unheard: same end, no second Job."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from fakes.experiment_lab import Lab, search
from fakes.faults import Hook, RaiseAt, Write, conflict, crash, lost_response, no_fault
from fakes.jobs import trained
from modelcycle_bundle.contract import Failure, FailureClass, FailureReason, TrialResult, TrialTask

WRITES = 40
"""More than a whole run writes; positions beyond its end are healthy runs."""


def mixed(task: TrialTask) -> TrialResult | str:
    """Every kind of end among four trials: good, failed, without metric, lost."""
    if task.index == 1:
        return TrialResult(1, failure=Failure(FailureClass.TRAINER, FailureReason.TRAINER_RAISED, "ValueError"))
    if task.index == 2:
        return ""
    return trained(task)


def run(before: Hook[Write] = no_fault, after: Hook[Write] = no_fault) -> Lab:
    lab = Lab()
    lab.jobs.programs.trial = mixed
    lab.kube.before_write, lab.kube.after_write = before, after
    lab.apply(search())
    lab.settle()
    return lab


def end_state(lab: Lab) -> dict[str, Any]:
    """What must not depend on faults: all but times."""
    kept = ("trials", "summary", "failures", "currentOptimalTrial", "model", "data", "signingKey")
    lines = sorted(json.loads(line)["index"] for line in lab.ledger())
    return {key: lab.status.get(key) for key in kept} | {"ready": lab.ready, "jobs": lab.job_names(), "lines": lines}


HEALTHY = end_state(run())


def check(lab: Lab) -> None:
    assert end_state(lab) == HEALTHY
    assert len(lab.jobs.started) == len(set(lab.jobs.started))


def test_the_healthy_run_records_each_trial_once() -> None:
    assert HEALTHY["lines"] == [0, 1, 2, 3]
    assert HEALTHY["ready"][1] == "Succeeded"
    assert HEALTHY["jobs"] == ["t1"]


@pytest.mark.parametrize("position", range(WRITES))
def test_crash_before_a_write_engineering_1(position: int) -> None:
    check(run(before=RaiseAt(position, crash)))


@pytest.mark.parametrize("position", range(WRITES))
def test_crash_after_a_write_engineering_2(position: int) -> None:
    check(run(after=RaiseAt(position, crash)))


@pytest.mark.parametrize("position", range(WRITES))
def test_lost_response_engineering_3(position: int) -> None:
    check(run(after=RaiseAt(position, lost_response)))


class Unreliable:
    """A hook that raises where the pattern says so, in turn, and is healthy after its end."""

    def __init__(self, pattern: list[Callable[[], BaseException] | None]) -> None:
        self.pattern = pattern

    def __call__(self, call: object) -> None:
        fault = self.pattern.pop(0) if self.pattern else None
        if fault is not None:
            raise fault()


FAULTS = st.lists(st.sampled_from([None, None, crash, conflict, lost_response]), max_size=WRITES)
LANDED = st.lists(st.sampled_from([None, None, crash, lost_response]), max_size=WRITES)


@settings(max_examples=examples(30), deadline=None)
@given(before=FAULTS, after=LANDED)
def test_any_mix_of_faults_ends_the_same_engineering_6(
    before: list[Callable[[], BaseException] | None], after: list[Callable[[], BaseException] | None]
) -> None:
    check(run(Unreliable(list(before)), Unreliable(list(after))))


@settings(max_examples=examples(20), deadline=None)
@given(
    counts=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 4), st.booleans()), min_size=1, max_size=5),
    pauses=st.lists(st.integers(0, 3), min_size=5, max_size=5),
)
def test_changes_in_flight_never_start_a_trial_twice_engineering_52(
    counts: list[tuple[int, int, bool]], pauses: list[int]
) -> None:
    lab = Lab()
    for (trials, parallel, suspend), pause in zip(counts, pauses, strict=False):
        lab.apply(search(maxTrialCount=max(trials, parallel), parallelTrialCount=parallel, suspend=suspend))
        for _ in range(pause):
            lab.reconcile()
            lab.jobs.step(lab.now)
    lab.apply(search(maxTrialCount=8, parallelTrialCount=3))
    lab.settle()
    assert lab.ready[1] == "Succeeded"
    assert lab.status["trials"]["succeeded"] == 8
    assert len(lab.jobs.started) == len(set(lab.jobs.started))
