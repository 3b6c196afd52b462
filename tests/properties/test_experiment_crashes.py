"""An Experiment survives the death of the operator at any write, and any write that is lost or lands unheard: same end, no second Job.

Both ends: the best trial is not worse than what serves and is sealed; it is worse and nothing is.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from fakes.experiment_lab import NOT_WORSE, Lab, search
from fakes.faults import Hook, RaiseAt, Write, conflict, crash, lost_response, no_fault
from fakes.jobs import compared, trained
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


def run(before: Hook[Write] = no_fault, after: Hook[Write] = no_fault, deployed: str = "0.8") -> Lab:
    """`deployed` is the figure of the model that serves; the candidate's is 0.9."""
    lab = Lab()
    lab.jobs.programs.trial = mixed
    lab.jobs.programs.compare = lambda task: replace(compared(task), deployed=deployed)
    lab.deploy()
    lab.kube.before_write, lab.kube.after_write = before, after
    lab.apply(search(acceptance=[NOT_WORSE]))
    lab.settle()
    return lab


def end_state(lab: Lab) -> dict[str, Any]:
    """What must not depend on faults: all but times."""
    kept = ("trials", "summary", "failures", "currentOptimalTrial", "model", "acceptance", "data", "signingKey")
    lines = sorted(json.loads(line)["index"] for line in lab.ledger())
    return {key: lab.status.get(key) for key in kept} | {"ready": lab.ready, "jobs": lab.job_names(), "lines": lines}


HEALTHY = {deployed: end_state(run(deployed=deployed)) for deployed in ("0.8", "0.95")}


def check(lab: Lab, deployed: str = "0.8") -> None:
    assert end_state(lab) == HEALTHY[deployed]
    assert len(lab.jobs.started) == len(set(lab.jobs.started))


def test_the_healthy_run_records_each_trial_once() -> None:
    assert [end["lines"] for end in HEALTHY.values()] == [[0, 1, 2, 3]] * 2
    assert [end["ready"][1] for end in HEALTHY.values()] == ["Succeeded", "WorseThanDeployed"]
    assert [end["jobs"] for end in HEALTHY.values()] == [["t1"]] * 2
    assert [bool(end["model"]) for end in HEALTHY.values()] == [True, False]


def test_a_whole_run_ends_before_the_positions_do() -> None:
    assert len(run().kube.writes) < WRITES


@pytest.mark.parametrize("deployed", HEALTHY)
@pytest.mark.parametrize("position", range(WRITES))
def test_crash_before_a_write_engineering_1(position: int, deployed: str) -> None:
    check(run(before=RaiseAt(position, crash), deployed=deployed), deployed)


@pytest.mark.parametrize("deployed", HEALTHY)
@pytest.mark.parametrize("position", range(WRITES))
def test_crash_after_a_write_engineering_2(position: int, deployed: str) -> None:
    check(run(after=RaiseAt(position, crash), deployed=deployed), deployed)


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
