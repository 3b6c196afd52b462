"""How long somebody's word counts: for one rollout of the digest, begun within `approval.validFor`."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes.canary_lab import approve, canary_spec
from fakes.deployment_lab import NAME, NAMESPACE, Lab, digest, model
from modelcycle.api.fields import SpecError
from modelcycle.api.rollout import UserRequest, Verb, parse_valid_for
from modelcycle.deployment import commands
from modelcycle.kube.kinds import MODEL_DEPLOYMENT

REQUIRED = {"approval": {"required": True}}


def asking(letter: str, *names: str, **approval: Any) -> dict[str, Any]:
    requests = [approve(name, name[0]) for name in names]
    return canary_spec(letter, approval={"required": True, **approval}, requests=requests)


async def serving(rate: float = 100) -> Lab:
    """Stable a, approved."""
    lab = Lab()
    lab.enforce_policies()
    lab.apply(**asking("a", "a1"))
    await lab.run(seconds=20)
    assert lab.serving == "a"
    lab.arms.rate = rate
    return lab


async def taken_back() -> Lab:
    """The canary b was approved, got requests and was aborted by a person."""
    lab = await serving()
    lab.apply(**asking("b", "b1"))
    await lab.run(seconds=8)
    assert lab.arms.by_digest[digest("b")] > 0
    abort = {"id": "c", "verb": "Abort", "digest": digest("b"), "by": "ada"}
    lab.apply(**{**asking("b"), "requests": [approve("b1", "b"), abort]})
    await lab.run(seconds=10)
    assert lab.reason == "Aborted"
    return lab


def message(lab: Lab) -> str:
    ready = lab.condition("Ready")
    return str(ready["message"]) if ready else ""


def sent(lab: Lab) -> float:
    """Requests that the canary b got."""
    return lab.arms.by_digest.get(digest("b"), 0)


async def test_an_approval_older_than_valid_for_does_not_count() -> None:
    lab = await serving(rate=0)
    lab.apply(**asking("a", "b1"))
    await lab.run(seconds=10)
    lab.now += timedelta(hours=169)
    lab.arms.rate = 100
    lab.apply(**asking("b", "b1"))
    await lab.run(seconds=20)
    assert (lab.reason, sent(lab)) == ("AwaitingApproval", 0)
    assert "the approval by ada is older than spec.approval.validFor, 168 h" in message(lab)
    lab.apply(**asking("b", "b1", "b2"))
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert lab.serving == "b"


async def test_an_approval_within_its_own_valid_for_counts() -> None:
    lab = await serving(rate=0)
    lab.apply(**asking("a", "b1", validFor="300h"))
    await lab.run(seconds=10)
    lab.now += timedelta(hours=169)
    lab.arms.rate = 100
    lab.apply(**asking("b", "b1", validFor="300h"))
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert lab.serving == "b"


async def test_a_rollout_that_has_begun_keeps_its_approval() -> None:
    lab = await serving()
    steps: list[dict[str, Any]] = [{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]
    requests = [approve("b1", "b")]
    spec = canary_spec("b", steps, approval={"required": True}, requests=requests)
    lab.apply(**spec)
    await lab.run(seconds=10)
    assert lab.reason == "CanaryPaused"
    lab.now += timedelta(hours=200)
    promote = {"id": "c", "verb": "Promote", "digest": digest("b"), "by": "ada"}
    lab.apply(**{**spec, "requests": [*requests, promote]})
    await lab.run(seconds=20)
    assert lab.status["canary"]["weight"]["desired"] == "50"


async def test_an_approval_counts_for_one_rollout_of_its_digest() -> None:
    lab = await taken_back()
    before = sent(lab)
    retry = {"id": "d", "verb": "Retry", "digest": digest("b"), "by": "ada"}
    lab.apply(**{**asking("b"), "requests": [approve("b1", "b"), retry]})
    await lab.run(seconds=30)
    assert (lab.reason, sent(lab)) == ("AwaitingApproval", before)
    assert "the approval by ada was for an earlier rollout of it" in message(lab)
    lab.apply(**{**asking("b"), "requests": [approve("b1", "b"), approve("e", "b")]})
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert lab.serving == "b"


async def test_a_second_persons_approval_is_for_the_same_rollout() -> None:
    lab = await serving()
    lab.apply(**asking("b", "b1"))
    await lab.run(seconds=8)
    lab.apply(**asking("b", "b1", "b2"))
    await lab.run(seconds=3)
    lab.apply(**asking("a", "b1", "b2"))
    await lab.run(seconds=10)
    before = sent(lab)
    lab.apply(**asking("b", "b1", "b2"))
    await lab.run(seconds=30)
    assert (lab.reason, sent(lab)) == ("AwaitingApproval", before)


async def test_going_back_within_the_guard_window_needs_no_other_approval() -> None:
    lab = await serving()
    lab.apply(**asking("b", "b1"))
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    lab.apply(**asking("a", "b1"))
    await lab.run(seconds=30, until=lambda: lab.serving == "a")
    assert lab.serving == "a"
    assert lab.status["history"][-1]["reason"] == "Returned"


async def test_an_approval_that_an_earlier_operator_executed_lets_its_rollout_go_on() -> None:
    lab = await serving()
    steps: list[dict[str, Any]] = [{"setWeight": 10}, {"pause": {"duration": "20s"}}, {"setWeight": 50}, {"pause": {}}]
    lab.apply(**canary_spec("b", steps, approval={"required": True}, requests=[approve("b1", "b")]))
    await lab.run(seconds=10)
    forget_rollouts(lab)
    lab.now += timedelta(hours=200)
    await lab.run(seconds=60)
    assert lab.status["canary"]["weight"]["desired"] == "50"


async def test_an_approval_that_an_earlier_operator_used_lets_no_second_rollout_through() -> None:
    lab = await serving()
    lab.apply(**asking("b", "b1"))
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    await lab.run(seconds=30)
    lab.apply(**asking("c", "b1", "c1"))
    await lab.run(seconds=200, until=lambda: lab.serving == "c")
    await lab.run(seconds=30)
    forget_rollouts(lab)
    before = sent(lab)
    lab.apply(**asking("b", "b1", "c1"))
    await lab.run(seconds=30)
    assert (lab.reason, sent(lab)) == ("AwaitingApproval", before)


def test_the_approval_of_the_present_rollout_is_kept_whatever_else_is_asked() -> None:
    at = datetime(2026, 11, 25, tzinfo=UTC)

    def executed(name: str, rollout: str = "") -> commands.Executed:
        request = UserRequest(name, Verb.PROMOTE, None, "ada", "")
        done = commands.record(request, digest("b"), at, commands.RequestResult.EXECUTED, "")
        return replace(done, rollout=rollout)

    kept: tuple[commands.Executed, ...] = (executed("approval", "r-1"),)
    for number in range(2 * commands.KEPT):
        kept = commands.remember(kept, executed(f"{number:03}"), (), "r-1")
    assert (len(kept), kept[0].id, kept[-1].id) == (commands.KEPT, "approval", f"{2 * commands.KEPT - 1:03}")


def test_valid_for_is_a_duration_above_zero() -> None:
    assert parse_valid_for({}) == timedelta(hours=168)
    assert parse_valid_for({"validFor": "30m"}) == timedelta(minutes=30)
    with pytest.raises(SpecError, match=r"spec\.approval\.validFor: no approval would ever count"):
        parse_valid_for({"validFor": "0s"})


def forget_rollouts(lab: Lab) -> None:
    """Status as an operator wrote it that tied no approval to a rollout."""
    status = lab.status
    older = [{name: value for name, value in entry.items() if name != "rollout"} for entry in status["requests"]]
    assert older != status["requests"]
    lab.kube.set_status(MODEL_DEPLOYMENT, NAMESPACE, NAME, {**status, "requests": older})


async def test_history_says_where_a_model_came_from_and_who_approved_it() -> None:
    lab = await serving()
    lab.apply(**asking("b", "b1"))
    await lab.run(seconds=300, until=lambda: lab.serving == "b")
    wanted = [(model(letter)["uri"], "ada") for letter in "ab"]
    assert [(entry["uri"], entry["approver"]) for entry in lab.status["history"]] == wanted


async def test_history_says_who_ordered_a_promotion_where_nobody_had_to_approve() -> None:
    lab = Lab()
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=20)
    order = {"id": "f", "verb": "PromoteFull", "digest": digest("b"), "by": "bert", "reason": "agreed with the line"}
    lab.apply(**canary_spec("b", requests=[order]))
    await lab.run(seconds=60, until=lambda: lab.serving == "b")
    assert [(entry["reason"], entry.get("approver")) for entry in lab.status["history"]] == [
        ("Ready", None),
        ("PromoteFull", "bert"),
    ]
