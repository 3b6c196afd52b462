"""What nobody sees moves nothing forward: outages of one arm's counters, of all, and of the operator itself, at every kind of step."""

from datetime import timedelta
from typing import Any

import pytest

from fakes.canary_lab import canary_spec, started
from fakes.deployment_lab import NAMESPACE, Lab, digest
from fakes.workloads import Behaviour
from modelcycle.kube.kinds import POD

LOOKING: dict[str, list[dict[str, Any]]] = {
    "setWeight": [{"setWeight": 10}, {"setWeight": 20}, {"setWeight": 50}, {"setWeight": 100}],
    "pause": [{"setWeight": 10}, {"pause": {"duration": "30s"}}, {"setWeight": 50}, {"pause": {}}],
    "analysis": [{"setWeight": 10}, {"analysis": {}}, {"setWeight": 50}, {"pause": {}}],
    "shadow": [{"setWeight": 10}, {"shadow": {"weight": 50, "duration": "30s"}}, {"setWeight": 50}, {"pause": {}}],
}
OUTAGES = ("all", "stable", "operator")


def weight(lab: Lab) -> str:
    found: str = lab.status["canary"]["weight"]["desired"]
    return found


async def in_the_dark(lab: Lab, outage: str, seconds: float) -> None:
    """Let time pass in which an outage stands. A new operator that reads nothing is one that was restarted into an outage."""
    match outage:
        case "all":
            lab.arms.outage = "connection failed"
        case "stable":
            lab.arms.deafen(digest("a"))
        case "operator":
            lab.arms.outage = "connection failed"
            lab.arms.begin()
    await lab.run(seconds=seconds)


def light(lab: Lab) -> None:
    lab.arms.outage = None
    lab.arms.deaf.clear()


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("kind", LOOKING)
async def test_no_weight_rises_while_stables_counters_are_missing_whatever_the_step(kind: str, outage: str) -> None:
    lab = await started(steps=LOOKING[kind])
    await lab.run(seconds=30, until=lambda: "canary" in lab.status and weight(lab) == "10")
    await in_the_dark(lab, outage, 300)
    assert (lab.reason, lab.serving, weight(lab)) == ("MetricsUnavailable", "a", "10")
    light(lab)
    await lab.run(seconds=200, until=lambda: "canary" not in lab.status or weight(lab) == "50")
    assert "canary" not in lab.status or weight(lab) == "50"


async def test_no_promotion_on_old_evidence_when_only_stables_counters_are_missing() -> None:
    lab = await started(server={"replicas": 4})
    await lab.run(seconds=120, until=lambda: lab.status.get("canary", {}).get("stage") == "Capacity")
    lab.arms.failing[digest("b")] = 1.0
    await in_the_dark(lab, "stable", 120)
    assert (lab.reason, lab.serving, lab.arms.bad_answers) == ("MetricsUnavailable", "a", 0)
    assert "no pod of stable" in lab.condition("Ready")["message"]  # type: ignore[index]
    light(lab)
    await lab.run(seconds=20)
    assert lab.reason == "CanaryFailFast"


@pytest.mark.parametrize(
    "steps", [[{"pause": {"duration": "30s"}}], [{"setWeight": 0}, {"pause": {"duration": "30s"}}]]
)
async def test_steps_without_a_share_promote_nothing_that_is_not_seen(steps: list[dict[str, Any]]) -> None:
    lab = await started(steps=steps)
    await lab.run(seconds=20, until=lambda: lab.reason == "CanaryPaused")
    await in_the_dark(lab, "stable", 200)
    assert (lab.reason, lab.serving) == ("MetricsUnavailable", "a")
    light(lab)
    await lab.run(seconds=60)
    assert lab.serving == "b"


@pytest.mark.parametrize("outage", ["all", "stable"])
@pytest.mark.parametrize("kind", ["pause", "shadow"])
async def test_clock_of_a_step_stops_while_held(kind: str, outage: str) -> None:
    lab = await started(steps=LOOKING[kind])
    await lab.run(seconds=60, until=lambda: lab.status.get("canary", {}).get("step") == 1)
    await lab.run(seconds=10)
    await in_the_dark(lab, outage, 300)
    light(lab)
    seen_at = lab.now
    await lab.run(seconds=100, until=lambda: weight(lab) == "50")
    # 10 s and what the outage needs to be noticed had passed of 30.
    assert timedelta(seconds=5) <= lab.now - seen_at <= timedelta(seconds=22)


async def test_time_for_evidence_stops_while_nobody_can_count() -> None:
    analysis = {"maxDuration": "60s", "onInconclusive": "Promote"}
    lab = await started(rate=2, analysis=analysis)
    await lab.run(seconds=30)
    await in_the_dark(lab, "all", 600)
    light(lab)
    await lab.run(seconds=10)
    assert lab.serving == "a"
    await lab.run(seconds=90)
    assert (lab.serving, lab.status["history"][-1]["reason"]) == ("b", "MaxDuration")


async def test_pause_of_a_person_and_an_outage_at_once_stop_a_clock_once() -> None:
    lab = await started(steps=LOOKING["pause"])
    await lab.run(seconds=60, until=lambda: lab.status.get("canary", {}).get("step") == 1)
    await lab.run(seconds=5)
    spec = canary_spec("b", LOOKING["pause"])
    await in_the_dark(lab, "all", 60)
    lab.apply(**spec, paused=True)
    await lab.run(seconds=60)
    light(lab)
    await lab.run(seconds=60)
    lab.apply(**spec)
    seen_at = lab.now
    await lab.run(seconds=100, until=lambda: weight(lab) == "50")
    assert lab.now - seen_at <= timedelta(seconds=27)


async def test_first_act_after_a_restart_is_no_rise() -> None:
    lab = await started(steps=LOOKING["pause"])
    await lab.run(seconds=60, until=lambda: lab.status.get("canary", {}).get("step") == 1)
    lab.arms.failing[digest("b")] = 1.0
    lab.arms.begin()
    lab.now += timedelta(seconds=120)
    lab.arms.rate = 0
    await lab.reconcile()
    assert weight(lab) == "10"


async def test_catastrophe_with_two_good_answers_is_rejected_at_the_first_look_after_an_outage() -> None:
    steps = [{"setWeight": 10}, {"pause": {"duration": "30s"}}, {"setWeight": 50}, {"pause": {}}]
    lab = await started(steps=steps)
    await lab.run(seconds=30, until=lambda: lab.status.get("canary", {}).get("step") == 1)
    lab.arms.failing[digest("b")] = 0.98
    await in_the_dark(lab, "operator", 40)
    assert weight(lab) == "10"
    light(lab)
    before = lab.status.get("analysis", {}).get("looks", 0)
    await lab.run(seconds=3)
    assert lab.status["rejected"][0]["reason"] == "CanaryFailFast"
    assert lab.status["analysis"]["looks"] == before + 1


async def test_one_silent_pod_of_stable_moves_nothing_forward_and_shields_no_harm() -> None:
    lab = await started(steps=LOOKING["pause"])
    await lab.run(seconds=30, until=lambda: lab.status.get("canary", {}).get("step") == 1)
    pods = lab.kube.find(POD, NAMESPACE, {"modelcycle.dev/revision": lab.status["stable"]["revision"]})
    lab.arms.deaf = {pods[0]["metadata"]["uid"]}
    await lab.run(seconds=120)
    assert (lab.reason, weight(lab)) == ("MetricsUnavailable", "10")
    assert pods[0]["metadata"]["name"] in lab.condition("Ready")["message"]  # type: ignore[index]
    lab.arms.failing[digest("b")] = 1.0
    await lab.run(seconds=10)
    assert lab.reason == "CanaryFailFast"


async def test_canary_without_counters_of_its_own_holds_nothing() -> None:
    lab = await started()
    await lab.run(seconds=12)
    lab.arms.deafen(digest("b"))
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert lab.serving == "b"


async def test_person_may_promote_in_an_outage() -> None:
    lab = await started(rate=5)
    await lab.run(seconds=12)
    await in_the_dark(lab, "all", 60)
    go = {"id": "1", "verb": "PromoteFull", "by": "ada", "digest": digest("b"), "reason": "stable has a known fault"}
    lab.apply(**canary_spec("b"), requests=[go])
    await lab.run(seconds=60)
    assert (lab.serving, lab.status["history"][-1]["reason"]) == ("b", "PromoteFull")


async def test_smaller_share_is_set_in_an_outage() -> None:
    steps = [{"setWeight": 50}, {"pause": {}}]
    lab = await started(steps=steps)
    await lab.run(seconds=20)
    await in_the_dark(lab, "all", 60)
    lab.apply(**canary_spec("b", [{"setWeight": 10}, {"pause": {}}]))
    await lab.run(seconds=20)
    assert (lab.reason, weight(lab)) == ("MetricsUnavailable", "10")


async def test_nothing_is_written_while_an_outage_lasts() -> None:
    lab = await started(steps=LOOKING["pause"])
    await lab.run(seconds=20)
    await in_the_dark(lab, "stable", 60)
    before = len(lab.kube.writes)
    await lab.run(seconds=300)
    assert len(lab.kube.writes) == before


async def test_no_pause_ends_and_nothing_is_promoted_on_old_evidence_while_no_pod_of_stable_is_ready() -> None:
    lab = await started(rate=300.0, steps=[{"setWeight": 50}, {"analysis": {}}, {"pause": {"duration": "60s"}}])
    await lab.run(seconds=120, until=lambda: lab.status.get("canary", {}).get("step") == 2)
    lab.behaviours[digest("a")] = Behaviour.UNSCHEDULABLE
    lab.workloads.kill(NAMESPACE, {"modelcycle.dev/revision": lab.status["stable"]["revision"]})
    lab._has_served = False
    await lab.run(seconds=200)
    assert "has no Ready pod" in str(lab.condition("Ready"))
    assert (lab.serving, lab.status["canary"]["step"]) == ("a", 2)
    assert "unseenSince" in lab.status["canary"]
