"""A Stalled Experiment says why until a new look says otherwise: what GitOps and people read while it tries again."""

from dataclasses import replace
from typing import Any

import pytest

from fakes.experiment_lab import KEY, MINIMAL, NOT_WORSE, Lab, search
from fakes.jobs import DATA_DIGEST, compared, inspected, sealed, trained
from modelcycle.api.edition import edition_of
from modelcycle.kube.kinds import EXPERIMENT
from modelcycle_bundle.contract import Failure, FailureClass, FailureReason, InspectResult, TrialResult

AWAY = Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_UNREACHABLE, "no answer")
MISSPELT = "'sklearn.svm.SCV' is not an estimator of scikit-learn's all_estimators() (such as sklearn.svm.SVC)"
TRAINER = {"estimator": "sklearn.svm.SCV"}


class Reader:
    """What somebody who watches the object reads: outcome and reason, each once until it changes."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.seen: list[tuple[str, str]] = []
        lab.kube.after_write = self._look

    def _look(self, write: object) -> None:
        conditions = {c["type"]: c for c in self.lab.status.get("conditions", ())}
        shown = next((name for name in ("Stalled", "Reconciling") if name in conditions), "Ready")
        now = (shown, conditions[shown]["reason"]) if conditions else ("", "")
        if conditions and (not self.seen or self.seen[-1] != now):
            self.seen.append(now)

    def again(self) -> None:
        self.seen = self.seen[-1:]


@pytest.fixture
def lab() -> Lab:
    made = Lab()
    made.deploy()
    return made


def misspelt(task: Any) -> TrialResult:
    bad = [step.estimator for step in task.trainer.steps if step.estimator == "sklearn.svm.SCV"]
    allowed = set(task.trainer.extra_estimators)
    if not set(bad) - allowed:
        return trained(task)
    failure = Failure(FailureClass.POLICY, FailureReason.ESTIMATOR_NOT_ALLOWED, MISSPELT)
    return TrialResult(task.index, failure=failure)


def test_a_misspelt_estimator_is_tried_again_after_an_edit_only(lab: Lab) -> None:
    lab.jobs.programs.trial = misspelt
    lab.apply(search(trainer=TRAINER))
    lab.settle()
    assert lab.ready[:2] == ("False", "EstimatorNotAllowed")
    starts_no_more_jobs(lab)
    lab.apply(search(trainer={"estimator": "sklearn.svm.SVC"}))
    lab.settle()
    assert lab.ready[:2] == ("True", "Succeeded")


def test_an_estimator_that_the_operators_settings_come_to_name_is_tried_again_by_itself(lab: Lab) -> None:
    lab.jobs.programs.trial = misspelt
    lab.apply(search(trainer=TRAINER))
    lab.settle()
    lab.reconciler._settings = replace(lab.reconciler._settings, extra_estimators=("sklearn.svm.SCV",))
    lab.wait(61)
    assert lab.ready[:2] == ("True", "Succeeded")


def unreadable(task: Any) -> InspectResult:
    failure = Failure(FailureClass.DATA, FailureReason.FEATURE_NOT_NUMERIC, "column 'shift' holds text")
    return InspectResult(True, "PEM", "a" * 64, DATA_DIGEST, failure=failure)


def starts_no_more_jobs(lab: Lab) -> None:
    """However long it is waited for."""
    before = list(lab.jobs.started)
    for _ in range(30):
        lab.wait(3700)
    assert lab.jobs.started == before


def table(digest: str | None = DATA_DIGEST, **fields: Any) -> dict[str, Any]:
    pinned = {"digest": digest} if digest else {}
    return search(data={**MINIMAL["data"], **pinned, **fields})


def test_a_fault_of_pinned_data_is_looked_at_again_after_an_edit_only(lab: Lab) -> None:
    lab.jobs.programs.inspect = unreadable
    lab.apply(table())
    lab.settle()
    assert lab.ready[:2] == ("False", "FeatureNotNumeric")
    starts_no_more_jobs(lab)
    lab.jobs.programs.inspect = inspected
    lab.apply(table(target="scrap"))
    lab.settle()
    assert lab.ready[:2] == ("True", "Succeeded")


@pytest.mark.parametrize("digest", [None, "sha256:" + "e" * 64])
def test_a_fault_of_other_bytes_than_pinned_ones_is_looked_at_again_by_itself(lab: Lab, digest: str | None) -> None:
    lab.jobs.programs.inspect = unreadable
    lab.apply(table(digest))
    lab.settle()
    assert lab.ready[:2] == ("False", "FeatureNotNumeric")
    for _ in range(9):
        before = len(lab.jobs.started)
        lab.wait(3700)
        assert len(lab.jobs.started) == before + 1


def one_class(task: Any) -> TrialResult:
    failure = Failure(FailureClass.DATA, FailureReason.TARGET_UNUSABLE, "a single class")
    return TrialResult(task.index, data_digest=DATA_DIGEST, failure=failure)


def test_a_fault_that_a_trial_finds_in_pinned_data_costs_no_more_jobs(lab: Lab) -> None:
    lab.jobs.programs.trial = one_class
    lab.apply(table())
    lab.settle()
    assert lab.ready[:2] == ("False", "TargetUnusable")
    starts_no_more_jobs(lab)
    lab.jobs.programs.trial = trained
    lab.apply(table(split={"seed": 5}))
    lab.settle()
    assert lab.ready[:2] == ("True", "Succeeded")


def test_a_task_that_is_not_the_estimators_costs_no_more_jobs_whatever_the_data(lab: Lab) -> None:
    def contradicts(task: Any) -> TrialResult:
        text = "spec.data.task: regression, but SVC in spec.trainer is made for classification: correct one of them"
        return TrialResult(task.index, failure=Failure(FailureClass.POLICY, FailureReason.INVALID_SPEC, text))

    lab.jobs.programs.trial = contradicts
    lab.apply(table(None, task="regression"))
    lab.settle()
    assert lab.ready[:2] == ("False", "InvalidSpec")
    assert lab.ready[2].startswith("spec.data.task: regression")
    before = list(lab.jobs.started)
    lab.wait(3700)
    assert lab.jobs.started == before


@pytest.mark.parametrize(
    ("data", "output", "named"),
    [
        ("s3://factory/scrap/../train.csv", "s3://models/scrap", "spec.data.uri"),
        ("s3://factory/scrap/", "s3://models/scrap", "spec.data.uri"),
        ("pvc://claim/a//b/train.csv", "s3://models/scrap", "spec.data.uri"),
        ("s3://factory/scrap/train.csv", "s3://models/./scrap", "spec.output.uri"),
    ],
)
def test_an_address_that_no_store_can_have_costs_no_job(lab: Lab, data: str, output: str, named: str) -> None:
    lab.apply(search(data={**MINIMAL["data"], "uri": data}, output={"uri": output}))
    lab.settle()
    assert lab.ready[:2] == ("False", "InvalidSpec")
    assert lab.ready[2].startswith(named)
    assert lab.jobs.started == []


@pytest.mark.parametrize("uri", ["s3://factory//train.csv", "s3://factory/scrap//train.csv"])
def test_an_address_that_stores_have_always_taken_is_taken_still(lab: Lab, uri: str) -> None:
    lab.apply(search(data={**MINIMAL["data"], "uri": uri}))
    lab.settle()
    assert lab.ready[:2] == ("True", "Succeeded")


def test_what_the_first_release_stored_of_pinned_data_is_looked_at_once_more(lab: Lab) -> None:
    lab.jobs.programs.inspect = unreadable
    lab.apply(table())
    lab.settle()
    known = ("attempt", "state", "subject", "generation", "time", "failures", "class", "reason", "message")
    stored = {**lab.status, "inspection": {k: v for k, v in lab.status["inspection"].items() if k in known}}
    lab.kube.set_status(EXPERIMENT, KEY.namespace, KEY.name, stored)
    before = len(lab.jobs.started)
    for _ in range(5):
        lab.wait(3700)
    assert len(lab.jobs.started) == before + 1


def test_a_store_that_is_away_is_stalled_all_the_time_until_it_answers(lab: Lab) -> None:
    lab.jobs.programs.inspect = lambda task: InspectResult(True, "PEM", "a" * 64, failure=AWAY)
    reader = Reader(lab)
    lab.apply(search())
    lab.settle()
    assert reader.seen[-1] == ("Stalled", "StoreUnreachable")
    since = lab.status["conditions"]
    reader.again()
    for _ in range(4):
        lab.wait(70)
    assert reader.seen == [("Stalled", "StoreUnreachable")]
    assert lab.status["conditions"] == since
    assert len([name for name in lab.jobs.started if "inspect" in name]) >= 5
    lab.jobs.programs.inspect = inspected
    lab.wait(70)
    assert reader.seen == [("Stalled", "StoreUnreachable"), ("Reconciling", "Searching"), *reader.seen[2:]]
    assert reader.seen[-1] == ("Ready", "Succeeded")


def test_what_a_trial_found_stands_although_the_inspection_passes_again(lab: Lab) -> None:
    def denied(task: Any) -> TrialResult:
        failure = Failure(FailureClass.DATA, FailureReason.DATA_CHANGED, "other bytes")
        return TrialResult(task.index, failure=failure)

    lab.jobs.programs.trial = denied
    reader = Reader(lab)
    lab.apply(search())
    lab.settle()
    assert reader.seen[-1] == ("Stalled", "DataChanged")
    assert lab.status["inspection"]["foundBy"] == "Trial"
    reader.again()
    for _ in range(3):
        lab.wait(70)
    assert reader.seen == [("Stalled", "DataChanged")]
    lab.jobs.programs.trial = trained
    lab.wait(70)
    assert reader.seen[-1] == ("Ready", "Succeeded")
    assert "foundBy" not in lab.status["inspection"]


def test_no_room_is_over_as_soon_as_a_trial_has_a_place(lab: Lab) -> None:
    held = ["node"]
    lab.jobs.hold = lambda job: held[0] if "-t" in job["metadata"]["name"] else ""
    lab.apply(search())
    lab.settle()
    lab.wait(310)
    assert lab.ready[:2] == ("False", "Unschedulable")
    held[0] = "run"
    lab.wait(70)
    assert (lab.stalled, lab.ready[1]) == (False, "Searching")


def test_an_edit_makes_it_search_again_at_once(lab: Lab) -> None:
    lab.jobs.programs.inspect = lambda task: InspectResult(True, "PEM", "a" * 64, failure=AWAY)
    lab.apply(search())
    lab.settle()
    lab.apply(search(parallelTrialCount=1))
    lab.reconcile()
    assert (lab.stalled, lab.ready[1]) == (False, "Searching")


def test_a_seal_that_fails_stays_stalled_while_it_is_tried_again(lab: Lab) -> None:
    lab.jobs.programs.seal = lambda task: replace(sealed(task), failure=AWAY)
    reader = Reader(lab)
    lab.apply(search())
    lab.settle()
    assert reader.seen[-1] == ("Stalled", "StoreUnreachable")
    reader.again()
    for _ in range(3):
        lab.wait(70)
    assert reader.seen == [("Stalled", "StoreUnreachable")]
    lab.jobs.programs.seal = sealed
    lab.wait(70)
    assert reader.seen == [("Stalled", "StoreUnreachable"), ("Ready", "Succeeded")]


def test_a_comparison_that_fails_stays_stalled_while_it_is_tried_again(lab: Lab) -> None:
    lab.jobs.programs.compare = lambda task: replace(compared(task), failure=AWAY)
    reader = Reader(lab)
    lab.apply(search(acceptance=[dict(NOT_WORSE)]))
    lab.settle()
    assert reader.seen[-1] == ("Stalled", "StoreUnreachable")
    reader.again()
    for _ in range(3):
        lab.wait(70)
    assert reader.seen == [("Stalled", "StoreUnreachable")]


def test_what_the_first_release_stored_is_not_inspected_again(lab: Lab) -> None:
    lab.jobs.programs.trial = misspelt
    lab.apply(search(trainer=TRAINER))
    lab.settle()
    stored = {**lab.status, "inspection": {k: v for k, v in lab.status["inspection"].items() if k != "specHash"}}
    assert stored["inspection"]["generation"] == 1
    lab.kube.set_status(EXPERIMENT, KEY.namespace, KEY.name, stored)
    before = list(lab.jobs.started)
    lab.wait(3700)
    assert (lab.jobs.started, lab.ready[1]) == (before, "EstimatorNotAllowed")
    lab.apply(search(trainer=TRAINER, parallelTrialCount=1))
    lab.settle()
    assert len(lab.jobs.started) > len(before)


def test_a_new_default_of_the_schema_is_no_edit(lab: Lab) -> None:
    lab.apply(search())
    before = edition_of(lab.experiment)
    defaulted = {**lab.experiment, "spec": {**lab.experiment["spec"], "added": "default"}}
    assert edition_of(defaulted).hash != before.hash
    assert not edition_of(defaulted).is_edit_of(before)
