"""A status that a newer operator wrote: nothing moves, it is said, and a canary can still be rolled back."""

from typing import Any

from fakes.canary_lab import canary_spec, shares, started
from fakes.deployment_lab import NAME, NAMESPACE, Lab, digest
from modelcycle.deployment.status import STATE_VERSION
from modelcycle.engine.plan import EventType
from modelcycle.kube.kinds import DEPLOYMENT, MODEL_DEPLOYMENT

ABORT = {"id": "7", "verb": "Abort", "digest": digest("b"), "by": "ada"}


def downgraded(lab: Lab) -> dict[str, Any]:
    """The operator of the next release has written the status, and this one runs again."""
    newer = {**lab.status, "stateVersion": STATE_VERSION + 1, "unknown": {"x": 1}}
    lab.kube.set_status(MODEL_DEPLOYMENT, NAMESPACE, NAME, newer)
    return newer


def without_answer(status: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name not in ("conditions", "observedGeneration")}


async def canary_with_a_share() -> Lab:
    lab = await started()
    await lab.run(seconds=60, until=lambda: {2000} in shares(lab).values())
    assert {2000} in shares(lab).values()
    return lab


async def test_newer_state_is_held_and_said_instead_of_an_old_ready() -> None:
    lab = Lab()
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=10)
    newer, children = downgraded(lab), lab.kube.find(DEPLOYMENT, NAMESPACE)
    lab.apply(**canary_spec("b"))
    await lab.run(seconds=10)
    assert without_answer(lab.status) == without_answer(newer)
    assert (lab.reason, lab.condition("Stalled")["status"]) == ("NewerState", "True")  # type: ignore[index]
    assert str(STATE_VERSION + 1) in lab.condition("Ready")["message"]  # type: ignore[index]
    assert lab.condition("Available")["status"] == "True"  # type: ignore[index]
    assert lab.kube.find(DEPLOYMENT, NAMESPACE) == children
    told = [event for event in lab.recorder.events if event.reason == "NewerState"]
    assert [event.type for event in told] == [EventType.WARNING]
    assert await lab.quiet() == []


async def test_canary_under_a_newer_state_keeps_its_share_until_somebody_asks() -> None:
    lab = await canary_with_a_share()
    downgraded(lab)
    before = shares(lab)
    await lab.run(seconds=30)
    assert shares(lab) == before


async def test_abort_takes_the_share_away_under_a_newer_state_and_stays_to_be_executed() -> None:
    lab = await canary_with_a_share()
    newer = downgraded(lab)
    lab.apply(**canary_spec("b"), requests=[ABORT])
    await lab.run(seconds=5)
    assert set().union(*shares(lab).values()) == {0}
    assert without_answer(lab.status) == without_answer(newer)
    lab.arms.rate = 0
    assert await lab.quiet() == []
    # The newer operator runs again: here, it is this one.
    known = {**lab.status, "stateVersion": STATE_VERSION}
    known.pop("unknown")
    lab.kube.set_status(MODEL_DEPLOYMENT, NAMESPACE, NAME, known)
    await lab.run(seconds=10)
    assert (lab.reason, [(r["id"], r["result"]) for r in lab.status["requests"]]) == ("Aborted", [("7", "Executed")])
    assert set().union(*shares(lab).values()) == {0}


async def test_abort_of_another_digest_or_one_that_was_executed_takes_nothing_away() -> None:
    lab = await canary_with_a_share()
    downgraded(lab)
    lab.apply(**canary_spec("b"), requests=[{**ABORT, "digest": digest("c")}])
    await lab.run(seconds=5)
    assert {2000} in shares(lab).values()
    executed = [{**ABORT, "at": "2026-11-24T08:00:00Z", "result": "Executed", "message": "."}]
    lab.kube.set_status(MODEL_DEPLOYMENT, NAMESPACE, NAME, {**lab.status, "requests": executed})
    lab.apply(**canary_spec("b"), requests=[ABORT])
    await lab.run(seconds=5)
    assert {2000} in shares(lab).values()


async def test_spec_that_goes_back_to_stable_takes_the_share_away_under_a_newer_state() -> None:
    lab = await canary_with_a_share()
    downgraded(lab)
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=5)
    assert set().union(*shares(lab).values()) == {0}
