"""What people ask of a rollout: approvals, commands, pauses, and what happens when time runs out."""

from typing import Any

import pytest

from fakes.canary_lab import STEPS, approve, canary_spec, in_progress, started
from fakes.deployment_lab import NAMESPACE, Lab, digest
from modelcycle.kube.kinds import MODEL_DEPLOYMENT


async def test_good_canary_is_promoted_by_evidence_and_loses_no_request_delivery_2_monitoring_28() -> None:
    lab = await started()
    await lab.run(seconds=8, until=lambda: lab.status.get("canary", {}).get("stage") == "Steps")
    await lab.run(seconds=120, until=lambda: lab.serving == "b")
    assert lab.serving == "b"
    analysis = lab.status["analysis"]["metrics"][0]
    assert (analysis["verdict"], analysis["canary"]["events"]) == ("Pass", 0)
    assert analysis["canary"]["n"] >= 422
    await lab.run(seconds=30)
    assert (lab.reason, lab.sizes()) == ("Serving", {"a": 0, "b": 2})
    assert lab.arms.bad_answers == 0
    assert [entry["reason"] for entry in lab.status["history"]] == ["Ready", "Evidence"]
    lab.arms.rate = 0
    assert await lab.quiet() == []


async def test_canary_with_other_inputs_gets_no_request() -> None:
    lab = await started()
    lab.arms.inputs[digest("b")] = "other"
    await lab.run(seconds=20)
    assert lab.reason == "IncompatibleSignature"
    assert lab.arms.by_digest == {digest("a"): lab.arms.requests}


async def test_rejected_digest_stays_rejected_until_somebody_retries_delivery_54_64_71() -> None:
    lab = await started()
    lab.arms.failing[digest("b")] = 1.0
    await lab.run(seconds=30, until=lambda: lab.reason == "CanaryFailFast")
    lab.arms.failing.clear()
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=5)
    lab.apply(**canary_spec("b"), revisionHistoryLimit=3)
    await lab.run(seconds=40)
    assert (lab.reason, lab.serving, lab.sizes()["b"]) == ("CanaryFailFast", "a", 0)
    retry = {"id": "1", "verb": "Retry", "digest": digest("b"), "by": "ada"}
    lab.apply(**canary_spec("b"), requests=[retry])
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert lab.serving == "b"
    assert [(r["id"], r["result"]) for r in lab.status["requests"]] == [("1", "Executed")]


@pytest.mark.parametrize(
    ("policy", "reason", "serving"),
    [("Pause", "CanaryPaused", "a"), ("Rollback", "Inconclusive", "a"), ("Promote", "Serving", "b")],
)
@pytest.mark.parametrize("rate", [1, 0])
@pytest.mark.parametrize("steps", [STEPS, [{"setWeight": 20}, {"pause": {}}], [{"setWeight": 20}]])
async def test_time_over_without_evidence_does_as_the_spec_says_with_requests_or_without_delivery_23(
    policy: str, reason: str, serving: str, rate: int, steps: list[dict[str, Any]]
) -> None:
    lab = await started(rate=rate, steps=steps, analysis={"onInconclusive": policy, "maxDuration": "60s"})
    await lab.run(seconds=180)
    if policy == "Promote" and {"pause": {}} in steps:
        reason, serving = "CanaryPaused", "a"  # a pause ends when its time is over, or by a person
    assert (lab.reason, lab.serving) == (reason, serving)
    assert not lab.status.get("requests")


async def test_time_for_evidence_that_nobody_asked_for_leaves_the_canary_alone() -> None:
    lab = await started(rate=0, steps=[{"pause": {}}], analysis={"onInconclusive": "Rollback", "maxDuration": "60s"})
    await lab.run(seconds=180)
    assert (lab.reason, "rejected" in lab.status) == ("CanaryPaused", False)


@pytest.mark.parametrize("about", [{}, {"digest": digest("b")}])
async def test_abort_asked_while_there_was_no_canary_does_not_reject_the_next_one(about: dict[str, str]) -> None:
    abort = {"id": "1", "verb": "Abort", "by": "ada", **about}
    lab = await started(rate=100, requests=[abort])
    await lab.run(seconds=120, until=lambda: lab.serving == "b")
    assert (lab.serving, "rejected" in lab.status) == ("b", False)
    (answer,) = lab.status["requests"]
    assert (answer["result"], answer["message"][:18]) == ("Refused", "there is no canary")


async def test_pause_step_waits_for_its_time_or_for_a_person_delivery_62() -> None:
    lab = await started(steps=[{"setWeight": 20}, {"pause": {"duration": "20s"}}, {"pause": {}}, {"analysis": {}}])
    await lab.run(seconds=20)
    assert (lab.reason, lab.status["canary"]["step"]) == ("CanaryPaused", 1)
    await lab.run(seconds=25)
    assert (lab.reason, lab.status["canary"]["step"]) == ("CanaryPaused", 2)
    promote = {"id": "go", "verb": "Promote", "by": "ada", "digest": digest("b")}
    lab.apply(**canary_spec("b", lab_steps(lab)), requests=[promote])
    await lab.run(seconds=60, until=lambda: lab.serving == "b")
    assert (lab.serving, lab.status["requests"][0]["result"]) == ("b", "Executed")


def lab_steps(lab: Lab) -> list[dict[str, Any]]:
    body = lab.kube.read(MODEL_DEPLOYMENT, NAMESPACE, "scrap")
    assert body is not None
    found: list[dict[str, Any]] = body["spec"]["strategy"]["canary"]["steps"]
    return found


async def test_abort_and_promote_full_by_request() -> None:
    lab = await started(rate=5)
    await lab.run(seconds=10)
    lab.apply(**canary_spec("b"), requests=[{"id": "1", "verb": "Abort", "by": "ada", "reason": "smells"}])
    await lab.run(seconds=5)
    assert (lab.reason, lab.serving) == ("Aborted", "a")
    assert "smells" in lab.status["rejected"][0]["message"]
    lab.apply(**canary_spec("c"), requests=[{"id": "2", "verb": "PromoteFull", "by": "ada", "digest": digest("c")}])
    await lab.run(seconds=40, until=lambda: lab.serving == "c")
    assert lab.serving == "c"
    assert [(r["id"], r["result"]) for r in lab.status["requests"]] == [("1", "Executed"), ("2", "Executed")]


async def test_request_for_another_digest_or_without_a_canary_is_refused_once() -> None:
    lab = await started(rate=5)
    await lab.run(seconds=10)
    wrong = {"id": "1", "verb": "Abort", "by": "ada", "digest": digest("f")}
    lab.apply(**canary_spec("b"), requests=[wrong])
    await lab.run(seconds=5)
    assert lab.status["requests"][0]["result"] == "Refused"
    assert in_progress(lab)


async def test_approval_without_its_policies_proves_nothing_delivery_65() -> None:
    lab = Lab()
    lab.apply(**canary_spec("a"), approval={"required": True})
    await lab.run(seconds=20)
    assert (lab.reason, lab.serving) == ("ApprovalsUnenforced", "")
    lab.apply(**canary_spec("a"), approval={"required": True}, requests=[approve("1", "a")])
    await lab.run(seconds=10)
    assert (lab.reason, lab.status["requests"][0]["result"]) == ("ApprovalsUnenforced", "Refused")


async def test_approval_of_the_very_digest_lets_it_go_on_delivery_65() -> None:
    lab = Lab()
    lab.enforce_policies()
    lab.apply(**canary_spec("a"), approval={"required": True}, requests=[approve("1", "a")])
    await lab.run(seconds=20)
    assert lab.serving == "a"
    lab.arms.rate = 100
    lab.apply(**canary_spec("b"), approval={"required": True}, requests=[approve("2", "c")])
    await lab.run(seconds=20)
    assert (lab.reason, lab.arms.by_digest) == ("AwaitingApproval", {digest("a"): lab.arms.requests})
    lab.apply(**canary_spec("b"), approval={"required": True}, requests=[approve("3", "b")])
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert lab.serving == "b"
    assert [(r["id"], r["by"], r["result"]) for r in lab.status["requests"]] == [
        (name, "ada", "Executed") for name in ("1", "2", "3")
    ]


async def test_approval_by_git_is_a_pinned_digest() -> None:
    lab = await started(approval={"required": True, "source": "Git"})
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert lab.serving == "b"


async def test_paused_stops_the_clocks_but_not_a_rollback() -> None:
    lab = await started(paused=False)
    await lab.run(seconds=7)
    lab.apply(**canary_spec("b"), paused=True)
    await lab.run(seconds=60)
    assert (lab.serving, lab.status["canary"]["digest"]) == ("a", digest("b"))
    lab.arms.failing[digest("b")] = 1.0
    await lab.run(seconds=20)
    assert lab.reason == "CanaryFailFast"
