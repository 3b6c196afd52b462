"""From an alarm to one Experiment on new data, step by step on an in-memory API with real Experiments."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fakes.jobs import DATA_DIGEST, task_of
from fakes.retrain_lab import LATEST, LIVE_MODEL, NAMESPACE, NEW_DIGEST, NEW_TABLE, WISH, Lab, found
from modelcycle.api.driftmonitor import Priority
from modelcycle.drift.retrain_state import RetrainState, from_plain, to_plain
from modelcycle.kube.kinds import DRIFT_MONITOR, EXPERIMENT, JOB
from modelcycle_bundle.contract import Failure, FailureClass, FailureReason


@pytest.fixture
def lab() -> Lab:
    return Lab()


def failing(failure_class: FailureClass, reason: FailureReason) -> Any:
    return replace(found(), data_digest=None, failure=Failure(failure_class, reason, f"{LATEST}: no such object"))


def test_an_alarm_becomes_one_experiment_with_its_evidence_monitoring_36(lab: Lab) -> None:
    lab.settle()
    (retrain,) = lab.retrains()
    metadata, spec = retrain["metadata"], retrain["spec"]
    assert metadata["name"].startswith("scrap-")
    assert len(metadata["name"]) == len("scrap-") + 8
    assert metadata["labels"]["modelcycle.dev/lineage"] == "scrap"
    assert metadata["labels"]["modelcycle.dev/monitor"] == "scrap"
    assert "app.kubernetes.io/instance" not in metadata["labels"]
    assert "ownerReferences" not in metadata
    annotations = metadata["annotations"]
    assert annotations["modelcycle.dev/alarm"] == "3c9e1f"
    assert annotations["modelcycle.dev/evidence"] == WISH.evidence
    assert annotations["modelcycle.dev/window"] == "2026-11-23T07:00:00Z/2026-11-23T08:00:00Z"
    assert (spec["data"]["uri"], spec["data"]["digest"]) == (NEW_TABLE, NEW_DIGEST)
    template = lab.kube.read(EXPERIMENT, NAMESPACE, "scrap")
    assert template is not None
    assert template["metadata"]["generation"] == 1
    assert {**spec, "data": template["spec"]["data"]} == template["spec"]


def test_the_new_experiment_is_followed_to_its_model(lab: Lab) -> None:
    lab.reconcile()
    assert (lab.reason, lab.step.did) == (
        "LookingAtData",
        f"looking at new data: Job {lab.look_jobs()[0]['metadata']['name']}",
    )
    lab.settle()
    (retrain,) = lab.retrains()
    name, model = retrain["metadata"]["name"], retrain["status"]["model"]["digest"]
    assert lab.reason == "Retrained"
    assert lab.message == (
        f"Experiment {name} made model {model[7:15]} for those that follow the lineage, from {NEW_TABLE} (eeeeeeee)"
    )
    assert lab.step.did.startswith(f"retrained as Experiment {name}; not again before 2026-11-24T08:00:")
    assert [(e.reason, e.kind) for e in lab.events.seen if e.kind is DRIFT_MONITOR] == [("Retraining", DRIFT_MONITOR)]


def test_progress_of_the_experiment_is_told(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "" if "monitor" in str(job["metadata"]["labels"]) else "run"
    lab.settle()
    (retrain,) = lab.retrains()
    assert (lab.reason, lab.step.did) == ("Retraining", f"retraining as Experiment {retrain['metadata']['name']}")
    assert "Searching: 0/2 trials done, 2 running" in lab.message


def test_the_look_is_a_job_of_the_monitor_without_the_key(lab: Lab) -> None:
    lab.reconcile()
    (job,) = lab.look_jobs()
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("DriftMonitor", "scrap", True)
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels["modelcycle.dev/monitor"] == "scrap"
    assert "modelcycle.dev/experiment" not in labels
    pod = job["spec"]["template"]["spec"]
    assert [v["name"] for v in pod["volumes"]] == ["tmp"]
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "modelcycle-store", "optional": True}}]
    task = task_of(job)
    assert task["data"]["uri"] == LATEST
    assert "digest" not in task["data"]
    assert "output_uri" not in task


def test_the_look_reads_with_the_secret_of_the_retrain_and_so_does_the_experiment(lab: Lab) -> None:
    lab.configure(data={"uri": LATEST, "secretRef": {"name": "line-3"}})
    lab.reconcile()
    (job,) = lab.look_jobs()
    assert job["spec"]["template"]["spec"]["containers"][0]["envFrom"][0]["secretRef"]["name"] == "line-3"
    lab.settle()
    assert lab.retrains()[0]["spec"]["data"]["secretRef"] == {"name": "line-3"}


def test_data_on_a_claim_are_mounted_for_reading(lab: Lab) -> None:
    lab.configure(data={"uri": "pvc://line-3/latest.json"})
    lab.reconcile()
    pod = lab.look_jobs()[0]["spec"]["template"]["spec"]
    assert pod["volumes"][1]["persistentVolumeClaim"] == {"claimName": "line-3"}
    assert pod["containers"][0]["volumeMounts"][1]["readOnly"] is True


def test_window_in_the_address_is_pinned_when_the_look_starts(lab: Lab) -> None:
    lab.configure(data={"uri": "s3://factory/{windowStart}/{windowEnd}.csv"})
    lab.data = found(data_uri=None)
    lab.reconcile()
    later = timedelta(hours=1)
    lab.wish = replace(WISH, window_start=WISH.window_start + later, window_end=WISH.window_end + later)
    lab.settle()
    address = "s3://factory/20261123T070000Z/20261123T080000Z.csv"
    assert [task.data.uri for task in lab.looks] == [address]
    assert lab.retrains()[0]["spec"]["data"]["uri"] == address


# No Experiment -------------------------------------------------------------------------------------------------------


def test_data_of_the_live_model_are_no_new_data(lab: Lab) -> None:
    lab.data = found(data_digest=DATA_DIGEST)
    lab.settle()
    assert lab.retrains() == []
    assert (lab.reason, lab.step.did) == ("NoNewData", "no retrain: NoNewData")
    assert lab.message == f"{NEW_TABLE} (dddddddd): the live model was trained on them, by Experiment scrap"


def test_new_data_are_seen_when_they_come(lab: Lab) -> None:
    lab.data = found(data_digest=DATA_DIGEST)
    lab.settle()
    lab.data = found()
    lab.settle()
    assert lab.retrains() == []
    lab.wait(60)
    assert len(lab.retrains()) == 1
    assert lab.reason == "Retrained"


def test_looking_again_and_again_grows_seldom(lab: Lab) -> None:
    lab.data = found(data_digest=DATA_DIGEST)
    for _ in range(24 * 60):
        lab.wait(60)
    assert 24 <= len(lab.looks) <= 40
    assert len(lab.look_jobs()) == 1
    assert len(lab.jobs.started) == len(set(lab.jobs.started))


def test_too_few_labels_are_waited_for(lab: Lab) -> None:
    lab.data = found(labelled_rows=1999)
    lab.settle()
    assert lab.retrains() == []
    assert lab.reason == "AwaitingLabels"
    assert lab.message == f"{NEW_TABLE} (eeeeeeee): 1999 of its 5000 rows are labelled, minNewRows is 2000"
    lab.configure(minNewRows=1999)
    lab.settle()
    assert lab.reason == "Retrained"


@pytest.mark.parametrize(
    "reason", [FailureReason.DATA_NOT_FOUND, FailureReason.DATA_CHANGED, FailureReason.DATA_UNREADABLE]
)
def test_data_that_cannot_be_used_are_said(lab: Lab, reason: FailureReason) -> None:
    lab.data = failing(FailureClass.DATA, reason)
    lab.settle()
    assert lab.retrains() == []
    assert (lab.reason, lab.message) == ("DataUnavailable", f"{reason}: {LATEST}: no such object")
    lab.data = found()
    lab.wait(60)
    assert lab.reason == "Retrained"


@pytest.mark.parametrize("text", ["", "not JSON", '{"key_present": false}', '{"key_present": false, "rows": "x"}'])
def test_result_that_cannot_be_read_is_said_and_repeated(lab: Lab, text: str) -> None:
    lab.data = text
    lab.settle()
    assert (lab.retrains(), lab.reason) == ([], "DataUnavailable")
    lab.data = found()
    lab.wait(60)
    assert lab.reason == "Retrained"


def test_image_that_cannot_be_pulled_is_said(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "image"
    lab.settle()
    assert lab.reason == "LookingAtData"
    assert "ImageUnavailable: ImagePullBackOff" in lab.message
    lab.wait(130)
    assert lab.reason == "DataUnavailable"


def test_observe_mode_only_says_what_it_would_do_monitoring_39(lab: Lab) -> None:
    lab.configure(mode="observe")
    lab.settle()
    assert (lab.step.did, lab.step.finding) == ("would retrain (observe)", None)
    assert (lab.look_jobs(), lab.retrains()) == ([], [])


def test_priority_below_the_least_one_is_not_acted_on(lab: Lab) -> None:
    lab.wish = replace(WISH, priority=Priority.P3)
    lab.settle()
    assert (lab.step.did, lab.look_jobs()) == ("", [])
    lab.configure(minPriority="P3")
    lab.settle()
    assert lab.reason == "Retrained"


def test_template_that_is_missing_is_said_until_it_is_there(lab: Lab) -> None:
    lab.configure(experimentTemplateRef={"name": "paint"})
    lab.settle()
    assert lab.reason == "TemplateUnusable"
    assert "Experiment paint does not exist" in lab.message
    assert lab.look_jobs() == []


def test_template_that_contradicts_itself_is_said(lab: Lab) -> None:
    lab.kube.edit(EXPERIMENT, NAMESPACE, "scrap", lambda o: o["spec"]["trainer"].update(fixed={"max_depth": 3}))
    lab.settle()
    assert lab.reason == "TemplateUnusable"
    assert "max_depth is searched and fixed" in lab.message


def test_signing_key_is_never_handed_to_the_look(lab: Lab) -> None:
    lab.configure(data={"uri": LATEST, "secretRef": {"name": "modelcycle-signing-key"}})
    lab.settle()
    assert lab.reason == "TemplateUnusable"
    assert "Secret modelcycle-signing-key holds the signing key" in lab.message
    assert lab.look_jobs() == []


def test_alarm_that_ends_while_the_data_are_read_ends_the_look(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "run"
    lab.settle()
    lab.wish = None
    lab.settle()
    assert (lab.look_jobs(), lab.retrains(), lab.step.finding) == ([], [], None)
    lab.jobs.hold = lambda job: ""
    lab.wish = WISH
    lab.settle()
    assert lab.reason == "Retrained"
    assert len(lab.jobs.started) == len(set(lab.jobs.started))


def test_another_alarm_starts_a_look_of_its_own(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "run"
    lab.settle()
    lab.wish = replace(WISH, fingerprint="ffffff", evidence="pressure")
    lab.jobs.hold = lambda job: ""
    lab.settle()
    (retrain,) = lab.retrains()
    assert retrain["metadata"]["annotations"]["modelcycle.dev/alarm"] == "ffffff"
    assert lab.look_jobs() == []


# After it ------------------------------------------------------------------------------------------------------------


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
