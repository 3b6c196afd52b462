"""What users see when an Experiment goes well or badly: whole runs in virtual time, asserted on the stored objects."""

from dataclasses import replace
from typing import Any

import pytest

from fakes.experiment_lab import MINIMAL, NOT_WORSE, Lab, search
from fakes.jobs import DATA_DIGEST, candidate, inspected, trained
from modelcycle_bundle.contract import (
    Failure,
    FailureClass,
    FailureReason,
    InspectResult,
    InspectTask,
    TaskKind,
    TrialResult,
    TrialTask,
)


def failing(failure_class: FailureClass, reason: FailureReason, message: str = "why") -> Any:
    return lambda task: TrialResult(task.index, failure=Failure(failure_class, reason, message))


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_minimal_sample_is_one_trial_sealed(lab: Lab) -> None:
    lab.apply(MINIMAL)
    lab.settle()
    assert lab.ready == ("True", "Succeeded", "best of 1 trial: roc_auc=0.5 (trial 0), sealed")
    assert lab.status["summary"] == {"trials": "1/1", "best": "roc_auc=0.5", "model": candidate(0)[7:15]}
    assert lab.status["model"]["digest"] == candidate(0)
    assert lab.job_names() == []


def test_first_look_starts_inspect_and_trials_at_once(lab: Lab) -> None:
    lab.apply(search())
    lab.reconcile()
    assert lab.job_names() == ["inspect", "t0", "t1"]


def test_best_is_the_highest_and_everything_is_recorded(lab: Lab) -> None:
    lab.apply(search())
    lab.settle()
    assert lab.status["currentOptimalTrial"]["index"] == 3
    assert lab.status["trials"] == {"total": 4, "succeeded": 4, "running": 0, "failed": 0, "metricsUnavailable": 0}
    assert len(lab.ledger()) == 4


def test_nothing_is_written_at_rest_engineering_79(lab: Lab) -> None:
    lab.apply(search())
    lab.settle()
    before = len(lab.kube.writes)
    for _ in range(5):
        lab.wait(700)
    assert len(lab.kube.writes) == before


def test_ties_go_to_the_lowest_index(lab: Lab) -> None:
    lab.jobs.programs.trial = lambda t: replace(trained(t), metrics={"roc_auc": "0.9"})
    lab.apply(search())
    lab.settle()
    assert lab.status["currentOptimalTrial"]["index"] == 0


def test_loss_is_minimised_without_a_declared_objective(lab: Lab) -> None:
    lab.jobs.programs.trial = lambda t: TrialResult(
        t.index, "log_loss", {"log_loss": str(1 + t.index)}, candidate(t.index), DATA_DIGEST
    )
    lab.apply(search())
    lab.settle()
    assert lab.status["currentOptimalTrial"]["index"] == 0


def test_goal_ends_the_search_early(lab: Lab) -> None:
    lab.apply(search(objective={"type": "maximize", "objectiveMetricName": "roc_auc", "goal": 0.5}, maxTrialCount=40))
    lab.settle()
    assert lab.ready[1] == "Succeeded"
    assert "goal reached" in lab.ready[2]
    assert lab.status["trials"]["succeeded"] < 5


def test_exhausted_space_ends_the_search(lab: Lab) -> None:
    kernel = {"name": "kernel", "parameterType": "categorical", "feasibleSpace": {"list": ["rbf", "linear"]}}
    lab.apply(search(parameters=[kernel]))
    lab.settle()
    assert lab.status["summary"]["trials"] == "2/2"
    assert "search space exhausted after 2 points" in lab.ready[2]


@pytest.mark.parametrize("value", ["NaN", "inf", "-Infinity", "high", "", "1e999"])
def test_unusable_objective_is_never_best_experiment_22(lab: Lab, value: str) -> None:
    lab.jobs.programs.trial = lambda t: replace(trained(t), metrics={"roc_auc": value}) if t.index == 3 else trained(t)
    lab.apply(search())
    lab.settle()
    assert lab.status["trials"]["metricsUnavailable"] == 1
    assert lab.status["currentOptimalTrial"]["index"] == 2
    assert lab.ready[1] == "Succeeded"


def test_no_usable_trial_stalls(lab: Lab) -> None:
    lab.jobs.programs.trial = failing(FailureClass.METRICS, FailureReason.METRIC_UNAVAILABLE, "roc_auc: one class only")
    lab.apply(MINIMAL)
    lab.settle()
    assert lab.stalled
    assert lab.ready[1] == "NoUsableTrial"
    assert "one class only" in lab.ready[2]


def test_max_failed_trials_stops_the_running_ones_experiment_34(lab: Lab) -> None:
    lab.jobs.programs.trial = failing(FailureClass.TRAINER, FailureReason.TRAINER_RAISED, "ValueError")
    lab.apply(search(maxTrialCount=20, maxFailedTrialCount=2))
    lab.settle()
    assert lab.stalled
    assert lab.ready[1] == "MaxFailedTrialsReached"
    assert lab.status["failures"] == [{"class": "Trainer", "count": 2}]
    assert lab.job_names() == ["t0", "t1"]  # kept for their logs
    lab.jobs.programs.trial = trained
    lab.apply(search(maxTrialCount=6, maxFailedTrialCount=3))
    lab.settle()
    assert lab.ready[1] == "Succeeded"


def test_fixing_the_trainer_starts_over(lab: Lab) -> None:
    lab.jobs.programs.trial = failing(FailureClass.PARAMETERS, FailureReason.BAD_PARAMETERS)
    lab.apply(MINIMAL)
    lab.settle()
    assert lab.stalled
    lab.jobs.programs.trial = trained
    lab.apply({**MINIMAL, "trainer": {"estimator": "sklearn.linear_model.LogisticRegression"}})
    lab.settle()
    assert lab.ready[1] == "Succeeded"
    assert lab.status["trials"]["failed"] == 0


def test_missing_key_stops_trials_and_clears_when_it_is_made(lab: Lab) -> None:
    lab.jobs.programs.inspect = lambda t: InspectResult(key_present=False)
    lab.jobs.hold = lambda job: "run" if "-t" in job["metadata"]["name"] else ""
    lab.apply(search())
    lab.settle()
    assert lab.stalled
    assert lab.ready[1] == "NoSigningKey"
    assert "kubectl modelcycle keygen -n plant-7" in lab.ready[2]
    assert lab.job_names() == []
    lab.jobs.programs.inspect, lab.jobs.hold = inspected, lambda job: ""
    lab.wait(61)
    assert lab.ready[1] == "Succeeded"


@pytest.mark.parametrize(
    ("reason", "field"),
    [
        (FailureReason.TARGET_MISSING, "spec.data.target"),
        (FailureReason.DATA_NOT_FOUND, "spec.data.uri"),
        (FailureReason.DATA_CHANGED, "spec.data.digest"),
    ],
)
def test_data_failure_of_inspect_names_the_field(lab: Lab, reason: FailureReason, field: str) -> None:
    failure = Failure(FailureClass.DATA, reason, "column is_scrap is not there")
    lab.jobs.programs.inspect = lambda t: replace(inspected(t), failure=failure)
    lab.apply(search())
    lab.settle()
    assert lab.stalled
    assert lab.ready[1] == reason
    assert lab.ready[2].startswith(field)
    assert lab.status["trials"]["failed"] == 0


def test_data_failure_of_a_trial_holds_everything_and_clears(lab: Lab) -> None:
    lab.jobs.programs.trial = failing(FailureClass.DATA, FailureReason.FEATURE_NOT_NUMERIC, "column line holds text")
    lab.apply(search())
    lab.settle()
    assert lab.stalled
    assert lab.ready[1] == "FeatureNotNumeric"
    assert lab.status["trials"]["total"] == 0
    lab.jobs.programs.trial = trained
    lab.wait(61)
    assert lab.ready[1] == "Succeeded"
    assert len(lab.jobs.started) == len(set(lab.jobs.started))


def test_changed_target_is_looked_at_at_once(lab: Lab) -> None:
    def look(task: InspectTask) -> InspectResult:
        missing = Failure(FailureClass.DATA, FailureReason.TARGET_MISSING, "no such column")
        return inspected(task) if task.data.target == "scrap" else replace(inspected(task), failure=missing)

    lab.jobs.programs.inspect = look
    lab.apply(MINIMAL)
    lab.settle()
    assert lab.ready[1] == "TargetMissing"
    lab.apply({**MINIMAL, "data": {**MINIMAL["data"], "target": "scrap"}})
    lab.settle()
    assert lab.ready[1] == "Succeeded"


def test_unreachable_store_is_retried_and_no_result_is_lost_experiment_43(lab: Lab) -> None:
    down = Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_UNREACHABLE, "connection refused")
    lab.jobs.programs.inspect = lambda t: replace(inspected(t), failure=down)
    lab.jobs.programs.trial = lambda t: TrialResult(t.index, failure=down)
    lab.apply(search())
    lab.settle()
    assert lab.ready[1] == "StoreUnreachable"
    assert lab.status["trials"]["failed"] == 0
    lab.jobs.programs.inspect, lab.jobs.programs.trial = inspected, trained
    lab.wait(61)
    assert lab.ready[1] == "Succeeded"


def test_infrastructure_failures_count_in_the_end(lab: Lab) -> None:
    down = Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_DENIED, "put denied")
    lab.jobs.programs.trial = lambda t: TrialResult(t.index, failure=down)
    lab.apply(MINIMAL)
    lab.settle()
    for _ in range(5):
        lab.wait(61)
    assert lab.ready[1] == "NoUsableTrial"
    assert lab.status["failures"] == [{"class": "Infrastructure", "count": 1}]


def test_trial_that_read_other_bytes_is_repeated_and_not_counted_experiment_44(lab: Lab) -> None:
    def train(task: TrialTask) -> TrialResult:
        other = task.attempt == 0 and task.index == 0
        return replace(trained(task), data_digest="sha256:" + "e" * 64) if other else trained(task)

    lab.jobs.programs.trial = train
    lab.apply(search())
    lab.settle()
    assert lab.ready[1] == "Succeeded"
    assert lab.status["trials"]["total"] == 4
    assert [name for name in lab.jobs.started if name.endswith("t0-1")] != []


def test_trials_after_the_inspection_are_pinned(lab: Lab) -> None:
    seen: dict[int, str | None] = {}

    def train(task: TrialTask) -> TrialResult:
        seen[task.index] = task.data.digest
        return trained(task)

    lab.jobs.programs.trial = train
    lab.apply(search())
    lab.settle()
    assert seen == {0: None, 1: None, 2: DATA_DIGEST, 3: DATA_DIGEST}


def test_image_that_does_not_exist_is_named_within_two_minutes_experiment_33(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "image"
    lab.apply(MINIMAL)
    lab.settle()
    lab.wait(121)
    assert lab.stalled
    assert lab.ready[1] == "ImageUnavailable"
    assert lab.status["trials"]["failed"] == 0
    lab.jobs.hold = lambda job: ""
    lab.wait(61)
    assert lab.ready[1] == "Succeeded"


def test_a_container_that_never_starts_is_given_up_after_five_minutes(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "start"
    lab.apply(MINIMAL)
    lab.settle()
    lab.wait(240)
    assert lab.ready[1] == "Searching"
    lab.wait(61)
    assert lab.stalled
    assert lab.ready[1] == "ContainerStartFailed"
    assert lab.status["trials"]["failed"] == 0
    lab.jobs.hold = lambda job: ""
    lab.wait(61)
    assert lab.ready[1] == "Succeeded"


def test_a_trial_without_room_stalls_after_five_minutes_and_goes_on_when_there_is_room_experiment_33(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "node" if "-t0" in job["metadata"]["name"] else ""
    lab.apply(MINIMAL)
    lab.settle()
    assert lab.ready[1] == "Searching"
    lab.wait(301)
    assert lab.stalled
    assert lab.ready[1] == "Unschedulable"
    assert lab.status["recentTrials"][-1]["reason"] == "Unschedulable"
    assert lab.status["trials"]["failed"] == 0
    lab.jobs.hold = lambda job: ""
    lab.wait(61)
    assert lab.ready[1] == "Succeeded"


@pytest.mark.parametrize("task", [TaskKind.INSPECT, TaskKind.COMPARE, TaskKind.SEAL])
def test_out_of_memory_names_the_field_that_mends_it(lab: Lab, task: TaskKind) -> None:
    accepted = {"acceptance": [NOT_WORSE]} if task is TaskKind.COMPARE else {}
    lab.deploy()
    lab.jobs.needs = {task: 3}
    lab.apply(search(**accepted))
    lab.settle()
    status, reason, message = lab.ready
    assert (status, reason) == ("False", "OutOfMemory")
    assert "spec.trainer.resources.limits.memory" in message
    assert "limit of 2Gi" in message
    raised = {**MINIMAL["trainer"], "resources": {"limits": {"memory": "3Gi"}}}
    lab.apply(search(**accepted, trainer=raised))
    lab.settle()
    assert lab.ready[:2] == ("True", "Succeeded")


def test_a_trial_out_of_memory_says_at_which_limit(lab: Lab) -> None:
    lab.jobs.needs = {TaskKind.TRIAL: 3}
    lab.apply(MINIMAL)
    lab.settle()
    assert lab.ready[1] == "NoUsableTrial"
    assert "OutOfMemory: spec.trainer.resources.limits.memory" in lab.ready[2]
    assert "limit of 2Gi" in lab.ready[2]


def test_a_program_that_finds_no_memory_says_so_and_not_that_a_key_is_missing(lab: Lab) -> None:
    def starved(task: InspectTask) -> InspectResult:
        failure = Failure(FailureClass.TRAINER, FailureReason.OUT_OF_MEMORY, "spec.trainer.resources.limits.memory")
        return InspectResult(key_present=False, failure=failure)

    lab.jobs.programs.inspect = starved
    lab.apply(search())
    lab.settle()
    assert lab.ready[1] == "OutOfMemory"


def test_suspend_drains_and_false_resumes_experiment_38(lab: Lab) -> None:
    lab.apply(search())
    lab.reconcile()
    lab.apply(search(suspend=True))
    lab.settle()
    assert lab.ready[:2] == ("False", "Suspended")
    assert lab.status["trials"]["succeeded"] == 2
    assert lab.job_names() == []
    lab.apply(search(suspend=False))
    lab.settle()
    assert lab.ready[1] == "Succeeded"


def test_more_trials_after_success_resume_the_search_experiment_37(lab: Lab) -> None:
    lab.apply(search())
    lab.settle()
    lab.apply(search(maxTrialCount=6))
    lab.settle()
    assert lab.status["summary"]["trials"] == "6/6"
    assert lab.status["model"]["digest"] == candidate(5)
    assert len(lab.jobs.started) == len(set(lab.jobs.started))


@pytest.mark.parametrize(("columns", "told"), [(3000, 0), (4200, 1)])
def test_table_too_wide_for_a_drift_monitor_is_told_once_at_inspection_with_what_to_do(
    lab: Lab, columns: int, told: int
) -> None:
    lab.jobs.programs.inspect = lambda task: replace(inspected(task), columns=columns)
    lab.apply(search())
    lab.settle()
    notes = [event.note for event in lab.events.seen if event.reason == "WideTable"]
    assert len(notes) == told
    assert all("spec.data has 4200 columns" in note and "leave columns out" in note for note in notes)
    assert lab.ready[1] == "Succeeded"
