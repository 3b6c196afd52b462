"""Evidence that was there and sank while the canary grew: it is waited for as before, by the same clock, and with the same end."""

from typing import Any

import pytest

from fakes.canary_lab import canary_spec, started
from fakes.deployment_lab import Lab, digest
from fakes.workloads import Behaviour

SPEC: dict[str, Any] = {"server": {"replicas": 4}, "progressDeadlineSeconds": 86400}


async def sunk(policy: str, *, room: str) -> Lab:
    """At full evidence b grows; meanwhile a few of its answers are bad, and then no requests come any more."""
    analysis = {"onInconclusive": policy, "maxDuration": "300s"}
    lab = await started(analysis=analysis, **SPEC)
    await lab.run(seconds=120, until=lambda: lab.status.get("canary", {}).get("stage") == "Capacity")
    assert lab.status["canary"]["grounds"] == "Evidence"
    full = Behaviour.UNSCHEDULABLE
    lab.workloads.behave = lambda model, image: full if model == digest("b") else Behaviour.HEALTHY
    lab.arms.failing[digest("b")] = 0.06
    await lab.run(seconds=4)
    lab.arms.failing.clear()
    lab.arms.rate = 0
    if room == "room":
        lab.workloads.behave = lambda model, image: Behaviour.HEALTHY
    await lab.run(seconds=60)
    assert (lab.serving, lab.arms.bad_answers) == ("a", 0)
    return lab


async def test_a_canary_whose_evidence_sank_is_not_said_to_be_promoted() -> None:
    lab = await sunk("Pause", room="room")
    assert lab.reason == "CanaryInProgress"
    assert "more canary requests until promotion" in lab.condition("Ready")["message"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("policy", "room", "reason", "serving"),
    [
        ("Pause", "room", "CanaryPaused", "a"),
        ("Rollback", "room", "Inconclusive", "a"),
        ("Promote", "room", "Serving", "b"),
        ("Pause", "no room", "Unschedulable", "a"),
        ("Rollback", "no room", "Inconclusive", "a"),
        ("Promote", "no room", "Unschedulable", "a"),
    ],
)
async def test_time_over_while_the_canary_grows_does_as_the_spec_says(
    policy: str, room: str, reason: str, serving: str
) -> None:
    lab = await sunk(policy, room=room)
    await lab.run(seconds=300)
    assert (lab.reason, lab.serving) == (reason, serving)
    if serving == "b":
        assert lab.status["history"][-1]["reason"] == "MaxDuration"


async def test_a_canary_that_finds_no_room_with_its_evidence_ends_by_the_progress_deadline() -> None:
    lab = await started(analysis={"maxDuration": "60s", "onInconclusive": "Rollback"}, server={"replicas": 4})
    await lab.run(seconds=120, until=lambda: lab.status.get("canary", {}).get("stage") == "Capacity")
    lab.workloads.behave = lambda model, image: Behaviour.UNSCHEDULABLE
    lab.arms.rate = 0
    await lab.run(seconds=300)
    assert lab.reason == "Unschedulable"
    await lab.run(seconds=330)
    assert lab.reason == "ProgressDeadlineExceeded"


async def test_evidence_that_comes_back_promotes() -> None:
    lab = await sunk("Rollback", room="room")
    lab.arms.rate = 100
    await lab.run(seconds=120, until=lambda: lab.serving == "b")
    assert (lab.serving, lab.status["history"][-1]["reason"]) == ("b", "Evidence")


async def test_its_clock_stops_while_nobody_can_count() -> None:
    lab = await sunk("Rollback", room="room")
    lab.arms.rate = 0.001  # somebody looks at each interval, as the sampler has it
    lab.arms.outage = "connection failed"
    await lab.run(seconds=300)
    assert lab.reason == "MetricsUnavailable"
    lab.arms.outage = None
    await lab.run(seconds=45)
    assert lab.reason == "CanaryInProgress"
    await lab.run(seconds=300, until=lambda: lab.reason == "Inconclusive")
    assert lab.reason == "Inconclusive"


@pytest.mark.parametrize("outage", [None, "connection failed"])
async def test_promote_full_decides_although_the_evidence_sank_or_cannot_be_seen(outage: str | None) -> None:
    lab = await sunk("Pause", room="room")
    lab.arms.outage = outage
    order = {"id": "1", "verb": "PromoteFull", "by": "ada", "reason": "night shift", "digest": digest("b")}
    lab.apply(**canary_spec("b", analysis={"onInconclusive": "Pause", "maxDuration": "300s"}, **SPEC), requests=[order])
    await lab.run(seconds=60, until=lambda: lab.serving == "b")
    assert (lab.serving, lab.status["requests"][0]["result"]) == ("b", "Executed")
    assert lab.status["history"][-1]["reason"] == "PromoteFull"
