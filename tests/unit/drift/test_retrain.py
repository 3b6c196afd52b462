"""From an alarm to one Experiment on new data, step by step on an in-memory API with real Experiments."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fakes.jobs import DATA_DIGEST, task_of
from fakes.retrain_lab import LATEST, NAMESPACE, NEW_DIGEST, NEW_TABLE, WISH, Lab, found
from modelcycle.api.driftmonitor import Priority
from modelcycle.kube.kinds import DRIFT_MONITOR, EXPERIMENT
from modelcycle_bundle.contract import Failure, FailureClass, FailureReason, TaskKind


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
    assert spec.pop("acceptance") == [{"notWorseThan": {"modelDeployment": "scrap"}}]
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
    assert pod["containers"][0]["envFrom"] == [
        {"prefix": "STORE_", "secretRef": {"name": "modelcycle-store", "optional": True}}
    ]
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


def test_why_there_are_no_data_stands_while_they_are_looked_at_again(lab: Lab) -> None:
    lab.data = failing(FailureClass.DATA, FailureReason.DATA_NOT_FOUND)
    lab.settle()
    looks = len(lab.looks)
    lab.now += timedelta(seconds=61)
    lab.reconcile()
    assert lab.step.did.startswith("looking at new data")
    assert lab.reason == "DataUnavailable"
    lab.settle()
    assert (len(lab.looks), lab.reason) == (looks + 1, "DataUnavailable")
    lab.configure(minNewRows=1999)
    lab.reconcile()
    assert lab.reason == "LookingAtData"


@pytest.mark.parametrize("text", ["", "not JSON", '{"key_present": false}', '{"key_present": false, "rows": "x"}'])
def test_result_that_cannot_be_read_is_said_and_repeated(lab: Lab, text: str) -> None:
    lab.data = text
    lab.settle()
    assert (lab.retrains(), lab.reason) == ([], "DataUnavailable")
    lab.data = found()
    lab.wait(60)
    assert lab.reason == "Retrained"


def test_out_of_memory_of_the_look_names_the_field_that_mends_it(lab: Lab) -> None:
    lab.jobs.needs = {TaskKind.INSPECT: 3}
    lab.settle()
    assert lab.reason == "DataUnavailable"
    assert "OutOfMemory: spec.trainer.resources.limits.memory: Job" in lab.message
    assert "limit of 2Gi" in lab.message
    assert "experimentTemplateRef" in lab.message
    resources = {"limits": {"memory": "3Gi"}}
    lab.kube.edit(EXPERIMENT, NAMESPACE, "scrap", lambda o: o["spec"]["trainer"].update(resources=resources))
    lab.wait(60)
    assert lab.reason == "Retrained"


def test_a_message_that_the_kubelet_has_cut_is_read_from_the_log(lab: Lab) -> None:
    lab.jobs.message_room = 60
    lab.settle()
    assert lab.reason == "Retrained"


def test_the_log_of_a_look_that_has_ended_is_not_read_again(lab: Lab) -> None:
    lab.data = failing(FailureClass.DATA, FailureReason.DATA_NOT_FOUND)
    lab.jobs.message_room = 60
    lab.settle()
    reads = len(lab.kube.log_reads)
    assert reads == len(lab.looks)
    lab.reconcile()
    lab.reconcile()
    assert (lab.reason, len(lab.kube.log_reads)) == ("DataUnavailable", reads)


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
