"""A retrain once its Experiment is there: cooldown, one for each version of the data, ends of every kind; and names that are taken."""

from dataclasses import replace
from typing import Any

import pytest

from fakes.jobs import compared
from fakes.retrain_lab import LIVE_MODEL, NAMESPACE, NEW_DIGEST, NEW_TABLE, Lab, found
from modelcycle.drift.retrain_state import RetrainState, from_plain, to_plain
from modelcycle.kube.kinds import DRIFT_MONITOR, EXPERIMENT, JOB, MODEL_DEPLOYMENT
from modelcycle_bundle.contract import Failure, FailureClass, FailureReason


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_nothing_is_written_while_a_done_retrain_stands(lab: Lab) -> None:
    lab.settle()
    writes = len(lab.kube.writes)
    lab.wait(3600)
    assert len(lab.kube.writes) == writes


def test_cooldown_keeps_a_standing_alarm_from_retraining_again_monitoring_36(lab: Lab) -> None:
    lab.settle()
    lab.data = found(data_digest="sha256:" + "f" * 64)
    lab.wait(23 * 3600)
    assert len(lab.retrains()) == 1
    lab.wait(3600)
    assert len(lab.retrains()) == 2


def test_same_data_are_not_retrained_on_twice(lab: Lab) -> None:
    lab.settle()
    (retrain,) = lab.retrains()
    lab.wait(25 * 3600)
    assert lab.retrains() == [retrain]
    assert lab.reason == "NoNewData"
    assert f"Experiment {retrain['metadata']['name']} was made for them already" in lab.message


def test_another_monitors_retrain_on_the_same_data_is_enough(lab: Lab) -> None:
    other = {
        "metadata": {"name": "scrap-00000000", "labels": {"modelcycle.dev/lineage": "scrap"}},
        "spec": {
            **lab.kube.find(EXPERIMENT)[0]["spec"],
            "data": {"uri": NEW_TABLE, "digest": NEW_DIGEST, "target": "y"},
        },
    }
    lab.kube.seed(EXPERIMENT, NAMESPACE, other)
    lab.settle()
    assert [e["metadata"]["name"] for e in lab.retrains()] == ["scrap-00000000"]
    assert lab.reason == "NoNewData"


def test_running_retrain_is_not_overtaken(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "" if "monitor" in str(job["metadata"]["labels"]) else "run"
    lab.settle()
    lab.data = found(data_digest="sha256:" + "f" * 64)
    lab.wait(48 * 3600)
    assert len(lab.retrains()) == 1
    assert lab.reason == "Retraining"


def test_stalled_retrain_leaves_what_serves_and_is_said(lab: Lab) -> None:
    failure = Failure(FailureClass.DATA, FailureReason.TARGET_UNUSABLE, "one class")
    inspect = lab.jobs.programs.inspect
    lab.jobs.programs.inspect = lambda task: (
        replace(found(key_present=True), failure=failure) if task.output_uri else inspect(task)
    )
    lab.settle()
    (retrain,) = lab.retrains()
    assert lab.reason == "RetrainFailed"
    assert f"Experiment {retrain['metadata']['name']} is stalled, what serves stays: TargetUnusable" in lab.message


def worse(lab: Lab) -> None:
    lab.jobs.programs.compare = lambda task: replace(compared(task), candidate="0.61", deployed="0.95")


def test_retrain_that_is_worse_leaves_the_old_model_and_says_both_figures(lab: Lab) -> None:
    worse(lab)
    before = lab.kube.read(MODEL_DEPLOYMENT, NAMESPACE, "scrap")
    lab.settle()
    (retrain,) = lab.retrains()
    name = retrain["metadata"]["name"]
    assert (lab.reason, lab.message) == (
        "RetrainNotBetter",
        "the retrained model is worse on the same holdout: the old one stays: "
        f"roc_auc 0.61 against 0.95 of model 11111111 on 114 rows; Experiment {name} on {NEW_TABLE} (eeeeeeee)",
    )
    assert lab.step.did.startswith(f"Experiment {name} is worse than what serves; not again before 2026-11-24T08:00:")
    assert "model" not in retrain["status"]
    assert not [job for job in lab.jobs.started if "seal" in job]
    assert lab.kube.read(MODEL_DEPLOYMENT, NAMESPACE, "scrap") == before


def test_retrain_that_was_worse_is_said_at_rest_and_tried_again_on_other_data(lab: Lab) -> None:
    worse(lab)
    lab.settle()
    writes = len(lab.kube.writes)
    lab.wait(3600)
    assert (len(lab.kube.writes), lab.reason) == (writes, "RetrainNotBetter")
    lab.jobs.programs.compare = compared
    lab.data = found(data_digest="sha256:" + "f" * 64)
    lab.wait(24 * 3600)
    assert (len(lab.retrains()), lab.reason) == (2, "Retrained")


BOUND = {"metric": "roc_auc", "minimum": "0.1"}
TARGET = {"notWorseThan": {"modelDeployment": "scrap"}}
TOLERANT = {"notWorseThan": {"modelDeployment": "scrap", "tolerance": "0.2"}}
OTHER = {"notWorseThan": {"modelDeployment": "paint", "tolerance": "0.2"}}


@pytest.mark.parametrize(
    ("template", "made"),
    [([], [TARGET]), ([OTHER, BOUND], [BOUND, TARGET]), ([TOLERANT, BOUND], [TOLERANT, BOUND])],
    ids=["none", "another deployment", "the target with a tolerance"],
)
def test_retrain_is_compared_with_the_target_of_the_monitor(lab: Lab, template: list[Any], made: list[Any]) -> None:
    lab.kube.edit(EXPERIMENT, NAMESPACE, "scrap", lambda o: o["spec"].update(acceptance=template))
    lab.settle()
    assert (lab.retrains()[0]["spec"]["acceptance"], lab.reason) == (made, "Retrained")


def test_retrain_that_comes_to_the_same_model_says_that_no_rollout_follows(lab: Lab) -> None:
    lab.jobs.programs.trial = lambda task: replace(Lab._trial(task), candidate_digest=LIVE_MODEL)
    lab.settle()
    assert lab.reason == "Retrained"
    assert "made model 11111111 that served already: no rollout follows" in lab.message


def test_deleted_retrain_is_not_made_again(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "" if "monitor" in str(job["metadata"]["labels"]) else "run"
    lab.settle()
    lab.kube.remove(EXPERIMENT, NAMESPACE, lab.retrains()[0]["metadata"]["name"])
    lab.settle()
    assert lab.retrains() == []
    assert lab.reason == "RetrainFailed"
    assert "was deleted before it had a model" in lab.message
    lab.wait(25 * 3600)
    assert len(lab.retrains()) == 1


def test_result_outlives_the_deletion_of_its_experiment(lab: Lab) -> None:
    lab.settle()
    lab.kube.remove(EXPERIMENT, NAMESPACE, lab.retrains()[0]["metadata"]["name"])
    lab.settle()
    assert (lab.reason, lab.retrains()) == ("Retrained", [])


def test_experiment_goes_on_without_its_monitor(lab: Lab) -> None:
    lab.settle()
    lab.kube.remove(DRIFT_MONITOR, NAMESPACE, "scrap")
    assert (len(lab.retrains()), lab.look_jobs()) == (1, [])


def test_template_that_is_a_retrain_itself_continues_the_same_lineage(lab: Lab) -> None:
    lab.settle()
    (first,) = lab.retrains()
    lab.configure(experimentTemplateRef={"name": first["metadata"]["name"]}, cooldown="0s")
    lab.data = found(data_digest="sha256:" + "f" * 64)
    lab.settle()
    names = {e["metadata"]["name"]: e["metadata"]["labels"]["modelcycle.dev/lineage"] for e in lab.retrains()}
    assert len(names) == 2
    assert set(names.values()) == {"scrap"}
    assert all(len(name) == len("scrap-") + 8 for name in names)


def test_suspended_template_makes_an_experiment_that_runs(lab: Lab) -> None:
    lab.kube.edit(EXPERIMENT, NAMESPACE, "scrap", lambda o: o["spec"].update(suspend=True))
    lab.settle()
    assert lab.reason == "Retrained"
    assert "suspend" not in lab.retrains()[0]["spec"]


def test_retrain_taken_out_of_the_spec_is_forgotten_in_mid_look(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "run"
    lab.settle()
    lab.kube.edit(DRIFT_MONITOR, NAMESPACE, "scrap", lambda o: o["spec"].pop("actions"))
    lab.settle()
    assert (lab.look_jobs(), lab.retrains(), lab.step.finding) == ([], [], None)


# Names ---------------------------------------------------------------------------------------------------------------


def test_experiment_of_that_name_by_somebody_else_is_left_alone(lab: Lab) -> None:
    lab.settle()
    name = lab.retrains()[0]["metadata"]["name"]
    other = Lab()
    foreign = {"metadata": {"name": name}, "spec": {**lab.retrains()[0]["spec"], "suspend": True}}
    other.kube.seed(EXPERIMENT, NAMESPACE, foreign)
    other.settle()
    assert other.reason == "RetrainNameTaken"
    assert f"Experiment {name} is there and was not made by this monitor" in other.message
    assert other.retrains()[0]["metadata"]["generation"] == 1
    other.kube.remove(EXPERIMENT, NAMESPACE, name)
    other.settle()
    assert other.reason == "Retrained"


def test_job_of_that_name_by_somebody_else_is_left_alone(lab: Lab) -> None:
    lab.reconcile()
    name = lab.look_jobs()[0]["metadata"]["name"]
    other = Lab()
    other.kube.seed(JOB, NAMESPACE, {"metadata": {"name": name}, "spec": {}})
    other.jobs.hold = lambda job: "run"
    other.jobs.step = lambda now: False  # type: ignore[method-assign]
    other.settle()
    assert (other.reason, other.retrains()) == ("RetrainNameTaken", [])
    assert f"Job {name} is there already and belongs to nobody" in other.message
    other.kube.remove(JOB, NAMESPACE, name)
    other.settle()
    assert other.reason == "LookingAtData"


def test_look_whose_labels_were_edited_away_is_still_read(lab: Lab) -> None:
    lab.reconcile()
    name = lab.look_jobs()[0]["metadata"]["name"]
    lab.kube.edit(JOB, NAMESPACE, name, lambda o: o["metadata"]["labels"].pop("modelcycle.dev/monitor"))
    lab.settle()
    assert lab.reason == "Retrained"


def test_state_survives_being_stored(lab: Lab) -> None:
    assert to_plain(RetrainState()) == {}
    assert from_plain({}) == RetrainState()
    for _ in range(4):
        lab.reconcile()
        lab.jobs.step(lab.now)
        assert from_plain(to_plain(lab.step.state)) == lab.step.state


@pytest.mark.parametrize("raw", [{"wish": {}}, {"look": {"attempt": "x"}}, {"asked": {"experiment": "e"}}, {"wish": 3}])
def test_other_state_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_plain(raw)
