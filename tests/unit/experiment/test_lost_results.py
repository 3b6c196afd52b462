"""Trials that leave no result, and Jobs that cannot be made: what is read back, what is final, what is counted."""

import pytest

from fakes.experiment_lab import Lab, search
from fakes.faults import Write, no_fault
from fakes.jobs import trained
from modelcycle.kube.errors import Forbidden
from modelcycle.kube.kinds import JOB
from modelcycle_bundle.contract import FailureClass, FailureReason
from unit.experiment.test_outcomes import failing


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_lost_message_is_collected_from_the_store(lab: Lab) -> None:
    lab.jobs.programs.trial = lambda t: "" if t.index == 1 else trained(t)
    lab.apply(search())
    lab.settle()
    assert lab.ready[1] == "Succeeded"
    assert lab.status["trials"]["succeeded"] == 4
    assert any(name.endswith("collect-1") for name in lab.jobs.started)


def test_trial_that_exits_0_without_a_result_is_final_at_once(lab: Lab) -> None:
    nowhere = failing(FailureClass.TRAINER, FailureReason.MODEL_NOT_FOUND, "result.json is not in the store")
    lab.jobs.programs.trial = lambda t: "" if t.index == 1 else trained(t)
    lab.jobs.programs.collect = nowhere
    lab.apply(search())
    lab.settle()
    assert lab.status["trials"]["failed"] == 1
    failed = next(row for row in lab.status["recentTrials"] if row["index"] == 1)
    assert (failed["state"], failed["reason"]) == ("Failed", "ResultLost")
    assert failed["message"].endswith("ended with exit code 0 and left no result")
    assert [name.rsplit("-", 1)[-1] for name in lab.jobs.started if "collect" in name] == ["1"]
    assert lab.ready[1] == "Succeeded"


def test_result_that_is_lost_for_good_fails_the_trial(lab: Lab) -> None:
    lab.jobs.programs.trial = lambda t: '{"index": 1, "met' if t.index == 1 else trained(t)
    lab.jobs.programs.collect = failing(FailureClass.INFRASTRUCTURE, FailureReason.STORE_UNREACHABLE)
    lab.apply(search())
    lab.settle()
    assert lab.status["trials"]["failed"] == 1
    assert lab.ready[1] == "Succeeded"


def test_a_job_that_cannot_be_made_is_not_counted_as_running(lab: Lab) -> None:
    def refuse(write: Write) -> None:
        if write.kind is JOB:
            raise Forbidden("exceeded quota: jobs, requested: count/jobs.batch=1, used: 0, limited: 0", status=403)

    lab.kube.before_write = refuse
    lab.apply(search())
    for _ in range(3):
        lab.reconcile()
    assert lab.status["trials"] == {"total": 0, "succeeded": 0, "running": 0, "failed": 0, "metricsUnavailable": 0}
    assert lab.ready[2] == "0/4 trials done, 0 running"
    lab.kube.before_write = no_fault
    lab.reconcile()
    lab.reconcile()
    assert (lab.status["trials"]["running"], lab.ready[2]) == (2, "0/4 trials done, 2 running")
