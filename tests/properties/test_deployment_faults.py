"""Sieve for ModelDeployments: whatever happens at a single write, the end is the end of the undisturbed run, and users never notice."""

from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from budget import positions
from fakes.deployment_lab import NAMESPACE, Lab, digest, model
from fakes.faults import RaiseAt, conflict, crash, lost_response
from fakes.workloads import Behaviour
from modelcycle.kube.kinds import CONTROLLER_REVISION

STRATEGY: Final = {"canary": {"guardWindow": "3s"}}
Story = Callable[[Lab], Awaitable[None]]


def apply(lab: Lab, letter: str) -> None:
    lab.apply(model=model(letter), server={"replicas": 2}, strategy=STRATEGY)


async def replacement(lab: Lab) -> None:
    """First rollout, then a healthy successor."""
    apply(lab, "a")
    await lab.run(seconds=6)
    apply(lab, "b")
    await lab.run(seconds=16)


async def refusal(lab: Lab) -> None:
    """A tampered successor, then back."""
    lab.behaviours[digest("b")] = Behaviour.TAMPERED
    apply(lab, "a")
    await lab.run(seconds=6)
    apply(lab, "b")
    await lab.run(seconds=10)


async def change_of_mind(lab: Lab) -> None:
    """A third spec while the second comes up, and back to the first inside the guard window."""
    lab.behaviours[digest("b")] = Behaviour.SLOW
    apply(lab, "a")
    await lab.run(seconds=6)
    apply(lab, "b")
    await lab.run(seconds=4)
    apply(lab, "c")
    await lab.run(seconds=6)
    apply(lab, "a")
    await lab.run(seconds=16)


EASY: Final = {"metrics": [{"name": "errors", "harmFloor": "0.2"}]}
"""Proven after some 20 requests, so that a story is short."""


def apply_canary(lab: Lab, letter: str) -> None:
    canary = {"steps": [{"setWeight": 25}, {"analysis": {}}], "analysis": EASY, "guardWindow": "3s"}
    lab.apply(model=model(letter), server={"replicas": 2}, strategy={"canary": canary})


async def good_canary(lab: Lab, seconds: int = 26) -> None:
    """A canary that is promoted by evidence, under load."""
    apply_canary(lab, "a")
    await lab.run(seconds=6)
    lab.arms.rate = 40
    apply_canary(lab, "b")
    await lab.run(seconds=seconds)
    lab.arms.rate = 0


async def bad_canary(lab: Lab) -> None:
    """A canary that fails every answer."""
    lab.arms.failing[digest("b")] = 1.0
    apply_canary(lab, "a")
    await lab.run(seconds=6)
    lab.arms.rate = 40
    apply_canary(lab, "b")
    await lab.run(seconds=14)
    lab.arms.rate = 0


async def told_canary(lab: Lab) -> None:
    """A canary that needs stable's inputs in another order: its pods are made again, its template is stored again."""
    lab.arms.clients = ("x", "y", "z")
    lab.arms.features = {digest("a"): ("x", "y", "z"), digest("b"): ("z", "x")}
    await good_canary(lab, seconds=40)


STORIES: Final[dict[str, Story]] = {
    story.__name__: story for story in (replacement, refusal, change_of_mind, good_canary, told_canary, bad_canary)
}
FAULTS: Final[dict[str, tuple[bool, Callable[[], BaseException]]]] = {
    "crash before": (False, crash),
    "crash after": (True, crash),
    "response lost": (True, lost_response),
    "not landed": (False, lost_response),
    "conflict": (False, conflict),
}


TRIED: Final = (
    *(("replacement", fault) for fault in FAULTS),
    *(("change_of_mind", fault) for fault in ("crash after", "crash before", "response lost", "conflict")),
    *(("good_canary", fault) for fault in ("crash after", "conflict", "not landed", "response lost")),
    *(("told_canary", fault) for fault in ("crash after", "conflict", "not landed", "response lost")),
    *((story, fault) for story in ("refusal", "bad_canary") for fault in ("crash after", "response lost")),
)
STRIDE: Final = {
    "replacement": 5,
    "change_of_mind": 4,
    "good_canary": 4,
    "told_canary": 4,
    "refusal": 2,
    "bad_canary": 2,
}
"""Each position is met by one fault of its story; by all of them in a campaign."""


@pytest.mark.parametrize(("story", "fault"), TRIED)
async def test_fault_at_every_write_ends_the_same_engineering_1_2_3_4_5(story: str, fault: str) -> None:
    undisturbed = Lab()
    await STORIES[story](undisturbed)
    await undisturbed.close_doors()
    expected, writes = undisturbed.end_state(), len(undisturbed.kube.writes)
    assert writes > 8
    landed, error = FAULTS[fault]
    offset = [tried for tried, _ in TRIED[: TRIED.index((story, fault))]].count(story)
    for position in positions(writes, offset, STRIDE[story]):
        lab = Lab()
        hook = RaiseAt(position, error)
        lab.fault(hook, landed=landed)
        await STORIES[story](lab)
        await lab.run(seconds=8)
        await lab.close_doors()
        assert hook.fired
        assert lab.end_state() == expected, f"{fault} write {position} of {story}"
        assert (lab.arms.bad_answers, lab.arms.misread) == (0, 0)
        assert await lab.quiet() == []
        assert len(lab.kube.find(CONTROLLER_REVISION, NAMESPACE)) == len(
            undisturbed.kube.find(CONTROLLER_REVISION, NAMESPACE)
        )


async def test_crash_at_every_write_of_one_run_still_arrives_engineering_6() -> None:
    lab = Lab()
    apply(lab, "a")
    apply_at = 40
    for turn in range(80):
        if turn == apply_at:
            apply(lab, "b")
        lab.kube.before_write = RaiseAt(1, crash)
        await lab.run(seconds=1)
    assert (lab.reason, lab.serving, lab.sizes()) == ("Serving", "b", {"a": 0, "b": 2})
