"""What must hold before the best trial is sealed: bounds, and the comparison with the deployed model; whole runs in virtual time."""

import asyncio
import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from fakes.experiment_lab import DEPLOYED, KEY, NOT_WORSE, Lab, search
from fakes.jobs import DATA_DIGEST, candidate, compared, task_of
from modelcycle.api.acceptance import Bound, NotWorseThan, parse
from modelcycle.api.edition import edition_of
from modelcycle.engine.plan import WriteStatus
from modelcycle.experiment.decide import decide
from modelcycle.kube.kinds import JOB, MODEL_DEPLOYMENT
from modelcycle_bundle.contract import CompareResult, CompareTask, Failure, FailureClass, FailureReason, TrialResult

OTHER = "sha256:" + "2" * 64
BEST = candidate(3)
"""The last of four trials, roc_auc 0.503."""


@pytest.fixture
def lab() -> Lab:
    made = Lab()
    made.deploy()
    return made


def figures(candidate: str, deployed: str) -> Callable[[CompareTask], CompareResult]:
    return lambda task: replace(compared(task), candidate=candidate, deployed=deployed)


def failing(
    reason: FailureReason, failure_class: FailureClass = FailureClass.DATA
) -> Callable[[object], CompareResult]:
    return lambda _: CompareResult(failure=Failure(failure_class, reason, "the deployed model 11111111: why"))


def demanding(*items: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return search(acceptance=list(items), **fields)


def run(lab: Lab, *items: Mapping[str, Any], **fields: Any) -> None:
    lab.apply(demanding(*items, **fields))
    lab.settle()


def started(lab: Lab, what: str) -> list[str]:
    """Ends of the names of the Jobs of a task, in the order in which they were started."""
    return [name.split("-", 2)[2] for name in lab.jobs.started if what in name]


def nothing_sealed(lab: Lab) -> bool:
    return started(lab, "seal") == [] and "model" not in lab.status and "sealing" not in lab.status


# Bounds -----------------------------------------------------------------------------------------------------------


def test_items_are_read_in_order() -> None:
    read = parse([{"metric": "f1", "minimum": "0.9"}, {"notWorseThan": {"modelDeployment": "a", "tolerance": "0.01"}}])
    assert [(b.metric, str(b.minimum), b.maximum) for b in read.bounds] == [("f1", "0.9", None)]
    assert read.not_worse_than is not None
    assert (read.not_worse_than.deployment, str(read.not_worse_than.tolerance)) == ("a", "0.01")
    assert parse([{"notWorseThan": {"modelDeployment": "a"}}]).not_worse_than == NotWorseThan("a")
    assert parse([{"metric": "m", "maximum": "1"}]).bounds[0] != Bound("m")
    assert not parse([]).demanded


@pytest.mark.parametrize(
    ("bound", "reason", "words"),
    [
        ({"minimum": "0.9"}, "BelowMinimum", "trial 3: roc_auc 0.503, spec.acceptance has the minimum 0.9"),
        ({"minimum": "0.50300001"}, "BelowMinimum", "roc_auc 0.503, spec.acceptance has the minimum 0.50300001"),
        ({"maximum": "0.5"}, "AboveMaximum", "trial 3: roc_auc 0.503, spec.acceptance has the maximum 0.5"),
        ({"minimum": "0.1", "maximum": "0.2"}, "AboveMaximum", "maximum 0.2"),
    ],
)
def test_bound_that_is_not_kept_seals_nothing(lab: Lab, bound: dict[str, str], reason: str, words: str) -> None:
    run(lab, {"metric": "roc_auc", **bound})
    assert lab.stalled
    assert lab.ready[1] == reason
    assert words in lab.ready[2]
    assert "nothing is sealed; search further (maxTrialCount) or change the m" in lab.ready[2]
    assert nothing_sealed(lab)
    told = lab.status["acceptance"]
    assert (told["verdict"], told["reason"], told["metric"], told["candidate"]) == (
        "Refused",
        reason,
        "roc_auc",
        "0.5030",
    )
    assert (told["trial"], told["candidateDigest"]) == (3, BEST)
    assert started(lab, "compare") == []


@pytest.mark.parametrize(
    "bound", [{"minimum": "0.503"}, {"maximum": "0.503"}, {"minimum": "0.503", "maximum": "0.503"}]
)
def test_bounds_are_included(lab: Lab, bound: dict[str, str]) -> None:
    run(lab, {"metric": "roc_auc", **bound})
    assert lab.ready == (
        "True",
        "Succeeded",
        "best of 4 trials: roc_auc=0.503 (trial 3), sealed; within spec.acceptance",
    )
    assert (lab.status["acceptance"]["verdict"], lab.status["acceptance"]["reason"]) == ("Accepted", "WithinBounds")


def test_every_bound_counts(lab: Lab) -> None:
    run(lab, {"metric": "roc_auc", "minimum": "0.1"}, {"metric": "roc_auc", "maximum": "0.1"})
    assert lab.ready[1] == "AboveMaximum"


def test_metric_that_no_trial_reports_is_said_by_name(lab: Lab) -> None:
    run(lab, {"metric": "auc", "minimum": "0.1"})
    assert lab.stalled
    assert lab.ready[1] == "AcceptanceMetricMissing"
    assert "trial 3 has no metric auc" in lab.ready[2]
    assert "its metrics are roc_auc" in lab.ready[2]
    assert nothing_sealed(lab)


def test_bounds_come_before_the_comparison(lab: Lab) -> None:
    run(lab, NOT_WORSE, {"metric": "roc_auc", "minimum": "0.9"})
    assert (lab.ready[1], started(lab, "compare")) == ("BelowMinimum", [])


def test_a_lower_bound_afterwards_seals(lab: Lab) -> None:
    run(lab, {"metric": "roc_auc", "minimum": "0.9"})
    run(lab, {"metric": "roc_auc", "minimum": "0.5"})
    assert lab.ready[1] == "Succeeded"
    assert lab.status["model"]["digest"] == BEST


# Beside the deployed model ----------------------------------------------------------------------------------------


def test_not_worse_is_sealed_and_says_so(lab: Lab) -> None:
    asked: list[CompareTask] = []

    def compare(task: CompareTask) -> CompareResult:
        asked.append(task)
        return compared(task)

    lab.jobs.programs.compare = compare
    run(lab, NOT_WORSE)
    assert lab.ready[:2] == ("True", "Succeeded")
    words = (
        "not worse: roc_auc 0.9 against 0.8 of model 11111111 of ModelDeployment scrap on the same 114 hold-out rows"
    )
    assert lab.ready[2].endswith(f"sealed; {words}")
    assert lab.status["acceptance"] == {
        "trial": 3,
        "candidateDigest": BEST,
        "generation": 1,
        "specHash": edition_of(lab.experiment).hash,
        "verdict": "Accepted",
        "reason": "NotWorse",
        "message": words,
        "modelDeployment": "scrap",
        "metric": "roc_auc",
        "candidate": "0.9",
        "deployed": "0.8",
        "tolerance": "0",
        "deployedDigest": DEPLOYED,
        "rows": 114,
    }
    (task,) = asked
    assert (task.index, task.candidate_digest, task.metric) == (3, BEST, "roc_auc")
    assert (task.deployed_uri, task.deployed_digest) == (f"s3://models/{DEPLOYED}", DEPLOYED)
    assert task.data.digest == DATA_DIGEST
    assert lab.job_names() == []


def test_worse_seals_nothing_and_says_both_figures(lab: Lab) -> None:
    lab.jobs.programs.compare = figures("0.71234", "0.95")
    run(lab, NOT_WORSE)
    assert lab.stalled
    assert lab.ready[:2] == ("False", "WorseThanDeployed")
    assert (
        "trial 3 is worse than what serves: roc_auc 0.7123 against 0.95 of model 11111111 of ModelDeployment scrap "
        "on the same 114 hold-out rows: nothing is sealed, the old model stays"
    ) in lab.ready[2]
    assert "raise the tolerance" in lab.ready[2]
    assert nothing_sealed(lab)
    told = lab.status["acceptance"]
    assert (told["verdict"], told["candidate"], told["deployed"], told["rows"]) == ("Refused", "0.71234", "0.95", 114)
    assert told["deployedDigest"] == DEPLOYED
    assert started(lab, "compare") == ["compare-3"]
    assert lab.job_names() == []


@pytest.mark.parametrize(
    ("ours", "theirs", "tolerance", "accepted"),
    [
        ("0.9", "0.9", "0", True),
        ("0.899", "0.9", "0", False),
        ("0.89", "0.9", "0.01", True),
        ("0.8899999", "0.9", "0.01", False),
        ("0.3", "0.4", "0.1", True),  # in binary fractions 0.4 - 0.1 is more than 0.3
    ],
)
def test_tolerance_is_exact(lab: Lab, ours: str, theirs: str, tolerance: str, accepted: bool) -> None:
    lab.jobs.programs.compare = figures(ours, theirs)
    run(lab, {"notWorseThan": {"modelDeployment": "scrap", "tolerance": tolerance}})
    assert lab.ready[1] == ("Succeeded" if accepted else "WorseThanDeployed")


@pytest.mark.parametrize(
    ("ours", "tolerance", "accepted"),
    [("0.3", "0", True), ("0.4", "0", True), ("0.41", "0", False), ("0.41", "0.01", True), ("0.42", "0.01", False)],
)
def test_less_is_better_where_the_objective_is_minimised(lab: Lab, ours: str, tolerance: str, accepted: bool) -> None:
    lab.jobs.programs.trial = lambda t: TrialResult(
        t.index, "log_loss", {"log_loss": "0.2"}, candidate(t.index), DATA_DIGEST
    )
    lab.jobs.programs.compare = figures(ours, "0.4")
    run(lab, {"notWorseThan": {"modelDeployment": "scrap", "tolerance": tolerance}})
    assert lab.ready[1] == ("Succeeded" if accepted else "WorseThanDeployed")


def test_figures_are_told_apart_in_words(lab: Lab) -> None:
    lab.jobs.programs.compare = figures("0.950001", "0.950002")
    run(lab, NOT_WORSE)
    assert "roc_auc 0.950001 against 0.950002" in lab.ready[2]


@pytest.mark.parametrize("there", [True, False])
def test_nothing_deployed_yet_is_accepted_and_says_so(there: bool) -> None:
    lab = Lab()
    if there:
        lab.deploy(None)
    run(lab, NOT_WORSE)
    assert lab.ready[1] == "Succeeded"
    assert lab.ready[2].endswith("sealed; ModelDeployment scrap serves no model yet: nothing to compare with")
    assert lab.status["acceptance"]["reason"] == "NoDeployedModel"
    assert started(lab, "compare") == []


def test_the_same_model_needs_no_comparison(lab: Lab) -> None:
    lab.deploy(BEST)
    run(lab, NOT_WORSE)
    assert lab.ready[2].endswith("ModelDeployment scrap serves this very model")
    assert (lab.status["acceptance"]["reason"], started(lab, "compare")) == ("SameModel", [])


def test_what_is_compared_with_is_pinned_before_the_job_is_made(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "run" if "compare" in job["metadata"]["name"] else ""
    run(lab, NOT_WORSE)
    assert lab.ready[:2] == ("False", "Comparing")
    assert "comparing trial 3 with model 11111111 of ModelDeployment scrap" in lab.ready[2]
    assert lab.status["comparison"]["deployed"] == {"uri": f"s3://models/{DEPLOYED}", "digest": DEPLOYED}
    lab.deploy(OTHER)
    lab.jobs.hold = lambda job: ""
    lab.settle()
    assert lab.status["acceptance"]["deployedDigest"] == DEPLOYED
    assert started(lab, "compare") == ["compare-3"]


def test_job_that_is_deleted_is_made_again_for_the_pinned_model(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "run" if "compare" in job["metadata"]["name"] else ""
    run(lab, NOT_WORSE)
    (job,) = [j for j in lab.kube.find(JOB) if "compare" in j["metadata"]["name"]]
    lab.deploy(OTHER)
    lab.kube.remove(JOB, KEY.namespace, job["metadata"]["name"])
    lab.reconcile()
    (again,) = [j for j in lab.kube.find(JOB) if "compare" in j["metadata"]["name"]]
    assert task_of(again) == task_of(job)


def test_verdict_is_not_formed_twice_whatever_is_deployed_later(lab: Lab) -> None:
    lab.jobs.programs.compare = figures("0.7", "0.95")
    run(lab, NOT_WORSE)
    lab.deploy(OTHER)
    lab.kube.remove(MODEL_DEPLOYMENT, KEY.namespace, "scrap")
    writes = len(lab.kube.writes)
    for _ in range(3):
        lab.wait(4000)
    assert len(lab.kube.writes) == writes
    assert lab.ready[1] == "WorseThanDeployed"


def test_another_generation_is_judged_anew(lab: Lab) -> None:
    lab.jobs.programs.compare = figures("0.9", "0.95")
    run(lab, NOT_WORSE)
    run(lab, {"notWorseThan": {"modelDeployment": "scrap", "tolerance": "0.1"}})
    assert lab.ready[1] == "Succeeded"
    assert started(lab, "compare") == ["compare-3", "compare-3-1"]
    assert lab.status["acceptance"]["generation"] == 2


def test_spec_that_changes_while_it_is_compared_begins_anew_with_what_serves_now(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "run" if "compare" in job["metadata"]["name"] else ""
    run(lab, NOT_WORSE)
    lab.deploy(OTHER)
    lab.jobs.hold = lambda job: ""
    run(lab, {"notWorseThan": {"modelDeployment": "scrap", "tolerance": "0.1"}})
    assert (lab.ready[1], lab.status["acceptance"]["deployedDigest"]) == ("Succeeded", OTHER)
    assert started(lab, "compare") == ["compare-3", "compare-3-1"]
    assert lab.job_names() == []


def decided(lab: Lab, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The status that is decided on after a change of the stored one, which nobody but the operator can make."""
    world = asyncio.run(lab.reconciler.observe(KEY, lab.now))
    assert world is not None
    obj = copy.deepcopy(dict(world.obj))
    change(obj["status"])
    (write, *_) = decide(replace(world, obj=obj)).actions
    assert isinstance(write, WriteStatus)
    return dict(write.status)


def test_verdict_on_another_candidate_is_none_on_this_one(lab: Lab) -> None:
    lab.jobs.programs.compare = figures("0.7", "0.95")
    run(lab, NOT_WORSE)

    def of_another(status: dict[str, Any]) -> None:
        status["acceptance"]["candidateDigest"] = status["comparison"]["subject"] = OTHER
        status["comparison"]["state"] = "Running"

    status = decided(lab, of_another)
    assert "acceptance" not in status
    assert (status["comparison"]["attempt"], status["comparison"]["subject"]) == (1, BEST)


def test_words_in_favour_of_another_candidate_are_not_said_of_this_one(lab: Lab) -> None:
    run(lab, NOT_WORSE)
    status = decided(lab, lambda status: status["acceptance"].update(candidateDigest=OTHER))
    (ready,) = [c for c in status["conditions"] if c["type"] == "Ready"]
    assert ready["message"] == "best of 4 trials: roc_auc=0.503 (trial 3), sealed"


def test_another_best_trial_is_judged_anew_and_the_sealed_model_stays_meanwhile(lab: Lab) -> None:
    run(lab, NOT_WORSE)
    lab.jobs.programs.compare = figures("0.7", "0.95")
    run(lab, NOT_WORSE, maxTrialCount=6)
    assert lab.ready[1] == "WorseThanDeployed"
    assert lab.status["acceptance"]["trial"] == 5
    assert lab.status["model"]["digest"] == BEST
    assert started(lab, "compare") == ["compare-3", "compare-5-1"]


def test_demand_taken_out_of_the_spec_ends_the_comparison(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "run" if "compare" in job["metadata"]["name"] else ""
    run(lab, NOT_WORSE)
    run(lab)
    assert lab.ready == ("True", "Succeeded", "best of 4 trials: roc_auc=0.503 (trial 3), sealed")
    assert "acceptance" not in lab.status
    assert lab.job_names() == []


def test_comparison_waits_while_suspended(lab: Lab) -> None:
    lab.jobs.hold = lambda job: "run" if "-t" in job["metadata"]["name"] else ""
    run(lab, NOT_WORSE)
    lab.jobs.hold = lambda job: ""
    run(lab, NOT_WORSE, suspend=True)
    assert (lab.ready[1], started(lab, "compare")) == ("Suspended", [])
    run(lab, NOT_WORSE)
    assert lab.ready[1] == "Succeeded"
