"""The comparison with the deployed model when something is wrong: nothing is sealed, the reason is said, and it goes on by itself."""

from dataclasses import replace
from typing import Any

import pytest

from fakes.experiment_lab import DEPLOYED, KEY, NOT_WORSE, Lab
from fakes.jobs import compared, trained
from modelcycle.kube.kinds import EXPERIMENT, JOB, MODEL_DEPLOYMENT
from modelcycle_bundle.contract import FailureClass, FailureReason
from unit.experiment.test_acceptance import OTHER, demanding, failing, figures, nothing_sealed, run, started


@pytest.fixture
def lab() -> Lab:
    made = Lab()
    made.deploy()
    return made


def test_deployed_model_that_cannot_be_measured_stalls_until_the_spec_changes(lab: Lab) -> None:
    lab.jobs.programs.compare = failing(FailureReason.NOT_COMPARABLE)
    run(lab, NOT_WORSE)
    assert lab.stalled
    assert lab.ready[1] == "NotComparable"
    assert lab.ready[2] == (
        "comparing trial 3 with model 11111111 of ModelDeployment scrap: "
        "spec.acceptance: the deployed model 11111111: why: nothing is sealed"
    )
    assert nothing_sealed(lab)
    assert "acceptance" not in lab.status
    lab.jobs.programs.compare = compared
    lab.wait(7200)
    assert lab.ready[1] == "NotComparable"
    run(lab)
    assert lab.ready[1] == "Succeeded"


def test_deployed_model_that_cannot_be_measured_is_forgotten_when_another_serves(lab: Lab) -> None:
    lab.jobs.programs.compare = failing(FailureReason.NOT_COMPARABLE)
    run(lab, NOT_WORSE)
    assert lab.ready[1] == "NotComparable"
    lab.jobs.programs.compare = compared
    lab.deploy(OTHER)
    lab.settle()
    assert lab.ready[1] == "Succeeded"
    assert started(lab, "compare") == ["compare-3", "compare-3-1"]


def test_store_that_is_away_is_tried_again_with_what_serves_then(lab: Lab) -> None:
    lab.jobs.programs.compare = failing(FailureReason.STORE_UNREACHABLE, FailureClass.INFRASTRUCTURE)
    run(lab, NOT_WORSE)
    assert (lab.stalled, lab.ready[1]) == (True, "StoreUnreachable")
    assert 50 < (lab.reconcile() or 0) <= 60
    lab.deploy(OTHER)
    lab.jobs.programs.compare = compared
    lab.wait(61)
    assert lab.ready[1] == "Succeeded"
    assert lab.status["acceptance"]["deployedDigest"] == OTHER
    assert started(lab, "compare") == ["compare-3", "compare-3-1"]


@pytest.mark.parametrize(
    "change",
    [
        {"candidate_digest": OTHER},
        {"deployed_digest": OTHER},
        {"metric": "accuracy"},
        {"candidate": "NaN"},
        {"deployed": None},
        {"rows": None},
    ],
)
def test_figures_of_something_else_are_never_a_verdict(lab: Lab, change: dict[str, Any]) -> None:
    lab.jobs.programs.compare = lambda task: replace(compared(task), **change)
    run(lab, NOT_WORSE)
    assert (lab.stalled, lab.ready[1]) == (True, "InternalError")
    assert nothing_sealed(lab)
    lab.jobs.programs.compare = compared
    lab.wait(61)
    assert lab.ready[1] == "Succeeded"


@pytest.mark.parametrize("text", ["", "{", '{"rows": "x"}'])
def test_lost_result_is_asked_for_again(lab: Lab, text: str) -> None:
    lab.jobs.programs.compare = lambda task: text
    run(lab, NOT_WORSE)
    assert (lab.stalled, lab.ready[1]) == (True, "ResultLost")
    lab.jobs.programs.compare = compared
    lab.wait(61)
    assert lab.ready[1] == "Succeeded"


def test_job_that_cannot_start_is_said_at_once_and_given_up_after_two_minutes(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "image" if "compare" in job["metadata"]["name"] else ""
    run(lab, NOT_WORSE)
    assert lab.ready[1] == "Comparing"
    assert lab.ready[2].endswith("of ModelDeployment scrap; ImagePullBackOff: not found (trying again)")
    lab.wait(121)
    assert (lab.stalled, lab.ready[1]) == (True, "ImageUnavailable")
    lab.jobs.hold = lambda job: ""
    lab.wait(61)
    assert lab.ready[1] == "Succeeded"


def test_status_that_lost_its_verdict_is_judged_again(lab: Lab) -> None:
    lab.jobs.programs.compare = figures("0.7", "0.95")
    run(lab, NOT_WORSE)
    lab.kube.edit(EXPERIMENT, KEY.namespace, KEY.name, lambda o: o["status"].pop("acceptance"))
    lab.settle()
    assert lab.ready[1] == "WorseThanDeployed"
    assert lab.status["acceptance"]["verdict"] == "Refused"


def test_job_that_has_told_its_figures_is_looked_after_soon(lab: Lab) -> None:
    lab.jobs.programs.compare = figures("0.7", "0.95")
    lab.apply(demanding(NOT_WORSE))
    again: float | None = None
    while "acceptance" not in lab.status:
        again = lab.reconcile()
        lab.jobs.step(lab.now)
    assert again == 0.5
    assert [name for name in lab.job_names() if "compare" in name] == ["compare-3"]
    lab.reconcile()
    assert lab.job_names() == []


def test_nothing_is_written_at_rest(lab: Lab) -> None:
    run(lab, NOT_WORSE)
    writes = len(lab.kube.writes)
    lab.wait(4000)
    assert len(lab.kube.writes) == writes


def test_the_job_reads_with_the_room_of_a_trial_and_mounts_no_key(lab: Lab) -> None:
    lab.kube.edit(
        MODEL_DEPLOYMENT,
        KEY.namespace,
        "scrap",
        lambda o: o.update(status={"stable": {"uri": "pvc://old/m", "digest": DEPLOYED}}),
    )
    lab.jobs.hold = lambda job: "run" if "compare" in job["metadata"]["name"] else ""
    trainer = {"estimator": "sklearn.svm.SVC", "resources": {"limits": {"memory": "3Gi"}}}
    data, output = {"uri": "pvc://in/t.csv", "target": "y"}, {"uri": "pvc://out/models"}
    run(lab, NOT_WORSE, trainer=trainer, parameters=[], maxTrialCount=1, parallelTrialCount=1, data=data, output=output)
    (job,) = [j for j in lab.kube.find(JOB) if "compare" in j["metadata"]["name"]]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"] == {"limits": {"memory": "3Gi"}}
    assert not [v for v in pod["volumes"] if "secret" in v]
    mounts = {m["mountPath"].rpartition("/")[2]: m.get("readOnly") for m in container["volumeMounts"]}
    assert mounts == {"tmp": None, "in": True, "out": True, "old": True}


def test_trials_are_not_trained_again_by_a_change_of_acceptance(lab: Lab) -> None:
    run(lab, {"metric": "roc_auc", "minimum": "0.9"})
    before = started(lab, "-t")
    lab.jobs.programs.trial = trained
    run(lab)
    assert started(lab, "-t") == before
