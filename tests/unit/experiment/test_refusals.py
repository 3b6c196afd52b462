"""What an Experiment refuses: secrets, names, candidates and specs, and how each refusal clears."""

from dataclasses import replace

import pytest

from fakes.experiment_lab import KEY, MINIMAL, Lab, search
from fakes.jobs import DATA_DIGEST, candidate, inspected, sealed, task_of
from modelcycle.kube.kinds import EXPERIMENT, JOB
from modelcycle_bundle import provenance
from modelcycle_bundle.contract import (
    Failure,
    FailureClass,
    FailureReason,
    SealResult,
    SealTask,
)


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.mark.parametrize("where", ["data", "output"])
def test_secret_of_the_key_is_forbidden_and_clears(lab: Lab, where: str) -> None:
    spec = search()
    spec[where] = {**spec[where], "secretRef": {"name": "modelcycle-signing-key"}}
    lab.apply(spec)
    lab.settle()
    assert lab.stalled
    assert lab.ready[1] == "ForbiddenSecret"
    assert f"spec.{where}.secretRef" in lab.ready[2]
    assert lab.jobs.started == []
    lab.apply(search())
    lab.settle()
    assert lab.ready[1] == "Succeeded"


def test_default_store_secret_as_key_is_forbidden_too(lab: Lab) -> None:
    lab.apply(search(seal={"keySecretRef": {"name": "modelcycle-store"}}))
    lab.settle()
    assert lab.ready[1] == "ForbiddenSecret"


def test_foreign_job_of_our_name_stalls_and_clears(lab: Lab) -> None:
    lab.apply(search())
    lab.reconcile()
    name = next(j["metadata"]["name"] for j in lab.kube.find(JOB) if j["metadata"]["name"].endswith("t0"))
    lab.kube.remove(JOB, KEY.namespace, name)
    lab.kube.seed(
        JOB,
        KEY.namespace,
        {"metadata": {"name": name}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}},
    )
    lab.settle()
    assert lab.stalled
    assert lab.ready[1] == "NameTaken"
    assert f"Job {name}" in lab.ready[2]
    lab.kube.remove(JOB, KEY.namespace, name)
    lab.wait(31)
    assert lab.ready[1] == "Succeeded"


@pytest.mark.parametrize("reason", [FailureReason.CANDIDATE_MISMATCH, FailureReason.GOLDEN_MISMATCH])
def test_refused_seal_stalls_for_good(lab: Lab, reason: FailureReason) -> None:
    lab.jobs.programs.seal = lambda t: SealResult(failure=Failure(FailureClass.POLICY, reason, "differs"))
    lab.apply(MINIMAL)
    lab.settle()
    writes = len(lab.kube.writes)
    lab.wait(4000)
    assert lab.stalled
    assert lab.ready[1] == reason
    assert len(lab.kube.writes) == writes
    assert "model" not in lab.status


def test_seal_of_another_digest_is_a_mismatch(lab: Lab) -> None:
    lab.jobs.programs.seal = lambda t: replace(sealed(t), digest=candidate(9))
    lab.apply(MINIMAL)
    lab.settle()
    assert lab.ready[1] == "CandidateMismatch"


def test_seal_without_key_is_tried_again(lab: Lab) -> None:
    failure = Failure(FailureClass.POLICY, FailureReason.NO_SIGNING_KEY, "gone")
    lab.jobs.programs.seal = lambda t: SealResult(failure=failure)
    lab.apply(MINIMAL)
    lab.settle()
    assert lab.ready[1] == "NoSigningKey"
    lab.jobs.programs.seal = sealed
    lab.wait(61)
    assert lab.ready[1] == "Succeeded"


def test_seal_gets_what_the_trial_reported(lab: Lab) -> None:
    tasks: list[SealTask] = []

    def remembered(task: SealTask) -> SealResult:
        tasks.append(task)
        return sealed(task)

    lab.jobs.programs.seal = remembered
    lab.apply(search())
    lab.settle()
    assert [(t.index, t.candidate_digest, t.data_digest) for t in tasks] == [(3, candidate(3), DATA_DIGEST)]
    assert tasks[0].image_id == "localhost/t@sha256:1"


def test_fixed_and_searched_parameter_is_an_invalid_spec(lab: Lab) -> None:
    lab.apply(search(trainer={"estimator": "sklearn.svm.SVC", "fixed": {"max_depth": 3}}))
    lab.settle()
    assert lab.stalled
    assert lab.ready[1] == "InvalidSpec"
    assert "max_depth" in lab.ready[2]


def test_newer_status_is_held_and_said(lab: Lab) -> None:
    lab.apply(search())
    lab.reconcile()
    newer = {**lab.status, "stateVersion": 2}
    lab.kube.set_status(EXPERIMENT, KEY.namespace, KEY.name, newer)
    lab.apply(search(maxTrialCount=9, parallelTrialCount=9))
    lab.reconcile()
    lab.reconcile()
    assert {**lab.status, "conditions": [], "observedGeneration": 0} == {
        **newer,
        "conditions": [],
        "observedGeneration": 0,
    }
    assert (lab.stalled, lab.ready[1], [e.reason for e in lab.events.seen].count("NewerState")) == (
        True,
        "NewerState",
        1,
    )
    assert lab.job_names() == ["inspect", "t0", "t1"]


def test_trial_jobs_carry_no_key(lab: Lab) -> None:
    lab.apply(search())
    lab.reconcile()
    for job in lab.kube.find(JOB):
        mounts_key = any("secret" in v for v in job["spec"]["template"]["spec"]["volumes"])
        assert mounts_key == (job["metadata"]["labels"]["modelcycle.dev/task"] == "inspect")
        assert task_of(job)["data"]["uri"] == "s3://factory/scrap/train.csv"


def test_provenance_names_the_table_that_latest_json_led_to(lab: Lab) -> None:
    table, asked = "s3://factory/scrap/2026-11-23.csv", []

    def seal(task: SealTask) -> SealResult:
        asked.append(task)
        return sealed(task)

    lab.jobs.programs.inspect = lambda task: replace(inspected(task), data_uri=table)
    lab.jobs.programs.seal = seal
    latest = {"uri": "s3://factory/scrap/latest.json", "target": "is_scrap"}
    lab.apply(search(data=latest))
    lab.settle()
    assert lab.status["data"]["uri"] == table
    (task,) = asked
    read = provenance.statement(task, task.candidate_digest)["predicate"]["buildDefinition"]
    assert read["resolvedDependencies"][0] == {"uri": table, "digest": {"sha256": DATA_DIGEST.removeprefix("sha256:")}}
    assert read["externalParameters"]["spec"]["data"] == latest
