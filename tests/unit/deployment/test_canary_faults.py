"""What may happen in the middle of a rollout: outages, restarts, dying pods, other specs, two operators. It holds, or ends on one side."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budget import examples
from fakes.canary_lab import canary_spec, in_progress, shares, started
from fakes.deployment_lab import NAMESPACE, Lab, digest
from fakes.faults import Write
from fakes.workloads import Behaviour
from modelcycle.engine.executor import Executor, Result
from modelcycle.kube.errors import Invalid
from modelcycle.kube.kinds import MODEL_DEPLOYMENT, POD


@pytest.mark.parametrize("cause", ["Prometheus: connection failed", "no answer within 2 s"])
async def test_outage_of_metrics_holds_for_an_hour_and_then_goes_on_delivery_32_monitoring_19(cause: str) -> None:
    lab = await started()
    await lab.run(seconds=9)
    before = lab.status["analysis"]["metrics"][0]["canary"]["n"]
    assert 0 < before < 422
    lab.arms.outage = cause
    await lab.run(seconds=3600, step=60)
    assert (lab.reason, lab.serving, lab.status["canary"]["weight"]["desired"]) == ("MetricsUnavailable", "a", "20")
    assert cause in lab.condition("Ready")["message"]  # type: ignore[index]
    lab.arms.outage = None
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert lab.serving == "b"


async def test_steps_edited_mid_canary_begin_anew_with_the_evidence_kept_delivery_57() -> None:
    lab = await started(steps=[{"setWeight": 20}, {"pause": {}}])
    await lab.run(seconds=15)
    n = lab.status["analysis"]["metrics"][0]["canary"]["n"]
    lab.apply(**canary_spec("b", [{"setWeight": 10}, {"pause": {}}]))
    await lab.run(seconds=4)
    assert lab.status["canary"]["weight"]["desired"] == "10"
    assert lab.status["analysis"]["metrics"][0]["canary"]["n"] > n


async def test_third_spec_takes_the_share_away_first_delivery_51() -> None:
    lab = await started(rate=5)
    await lab.run(seconds=12)
    assert in_progress(lab)
    lab.apply(**canary_spec("c"))
    await lab.run(seconds=1.5)
    assert {share for told in shares(lab).values() for share in told} == {0}
    assert lab.status["canary"]["digest"] == digest("c")
    assert "analysis" not in lab.status or lab.status["analysis"]["looks"] == 0


async def test_reverted_spec_ends_the_canary_delivery_52() -> None:
    lab = await started(rate=5)
    await lab.run(seconds=12)
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=8)
    assert (lab.reason, lab.serving, lab.sizes()) == ("Serving", "a", {"a": 2, "b": 0})
    assert {share for told in shares(lab).values() for share in told} == {0}


async def test_restart_between_looks_counts_nothing_twice_monitoring_18() -> None:
    undisturbed = await started(rate=30)
    await undisturbed.run(seconds=20)
    lab = await started(rate=30)
    for _ in range(20):
        lab.arms.restart()  # each pass is a fresh reconciler; its sampler knows one reading
        await lab.run(seconds=1)
    a, b = (x.status["analysis"]["metrics"][0] for x in (undisturbed, lab))
    assert (a["canary"], a["stable"]) == (b["canary"], b["stable"])


async def test_pods_replaced_mid_canary_count_nothing_twice_and_change_no_verdict_delivery_48() -> None:
    lab = await started(rate=50)
    await lab.run(seconds=10)
    lab._has_served = False  # for a moment there is nobody behind the Service, whatever the operator does
    lab.workloads.kill(NAMESPACE, {"modelcycle.dev/revision": lab.status["stable"]["revision"]})
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    counted = lab.status["analysis"]["metrics"][0]
    assert lab.serving == "b"
    assert counted["canary"]["n"] + counted["stable"]["n"] <= lab.arms.requests


async def test_crash_looping_canary_is_taken_back_delivery_44() -> None:
    lab = await started(rate=5)
    await lab.run(seconds=12)
    assert in_progress(lab)
    lab.behaviours[digest("b")] = Behaviour.CRASHING
    for pod in lab.kube.find(POD, NAMESPACE, {"modelcycle.dev/revision": lab.status["canary"]["revision"]}):
        lab.kube.remove(POD, NAMESPACE, pod["metadata"]["name"])
    await lab.run(seconds=30)
    assert (lab.reason, lab.serving, lab.arms.bad_answers) in (("CanaryCrashed", "a", 0), ("CanaryFailFast", "a", 0))


async def test_stable_without_pods_mid_canary_holds() -> None:
    lab = await started(rate=5)
    await lab.run(seconds=12)
    lab.behaviours[digest("a")] = Behaviour.SLOW
    for pod in lab.kube.find(POD, NAMESPACE, {"modelcycle.dev/revision": lab.status["stable"]["revision"]}):
        lab.kube.remove(POD, NAMESPACE, pod["metadata"]["name"])
    lab._has_served = False
    await lab.run(seconds=60)
    assert lab.reason in ("ReplicasNotReady", "MetricsUnavailable")
    assert lab.status["canary"]["digest"] == digest("b")


async def test_share_goes_to_zero_even_when_the_status_of_the_rollback_is_refused() -> None:
    lab = await started()
    await lab.run(seconds=8, until=lambda: lab.status.get("analysis", {}).get("looks", 0) > 0)
    lab.arms.failing[digest("b")] = 1.0

    def refuse(write: Write) -> None:
        if write.verb.value == "apply_status" and write.kind == MODEL_DEPLOYMENT:
            raise Invalid("status is refused")

    for _ in range(30):
        world_status = lab.status
        lab.kube.before_write = refuse if lab.arms.bad_answers == 0 and any_failed(lab) else lab.kube.before_write
        await lab.run(seconds=1)
        if {share for told in shares(lab).values() for share in told} == {0}:
            break
    assert {share for told in shares(lab).values() for share in told} == {0}
    assert world_status["canary"]["digest"] == digest("b")


def any_failed(lab: Lab) -> bool:
    return any(("canary", "failed") in state.counts for state in lab.arms._pods.values())


@pytest.mark.parametrize("letter", ["", "a"])
async def test_rollout_begun_by_an_operator_without_canaries_goes_on_delivery_41(letter: str) -> None:
    lab = Lab()
    if letter:
        lab.apply(**canary_spec(letter))
        await lab.run(seconds=10)
    lab.arms.rate = 100
    lab.apply(**canary_spec("b"))
    await lab.run(seconds=1)
    old = {k: v for k, v in lab.status.items() if k not in ("traffic", "analysis")} | {"stateVersion": 1}
    new = ("rollout", "stage", "step", "stepStartedAt", "stepsHash", "stepCount", "weight")
    old["canary"] = {k: v for k, v in old["canary"].items() if k not in new}
    lab.kube.set_status(MODEL_DEPLOYMENT, NAMESPACE, "scrap", old)
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert lab.serving == "b"


async def test_two_operators_at_once_count_a_look_once_delivery_38() -> None:
    lab = await started(rate=30)
    await lab.run(seconds=8, until=lambda: lab.status.get("analysis", {}).get("looks", 0) > 0)
    lab.now += timedelta(seconds=2)
    lab.arms.serve(2)
    lab.arms.read()
    plans = [plan for plan in (await lab.plan(), await lab.plan()) if plan]
    before = lab.status["analysis"]["looks"]
    results = [(await Executor(lab.kube, lab.recorder).run(plan)).result for plan in plans]
    assert results == [Result.SUCCESS, Result.OBSERVE_AGAIN]
    assert lab.status["analysis"]["looks"] == before + 1


async def test_reading_that_another_operator_has_overtaken_is_behind_and_no_contradiction_delivery_38() -> None:
    lab = await started(rate=30, steps=[{"setWeight": 20}, {"pause": {}}])
    await lab.run(seconds=12)
    behind = lab.arms._samples
    await lab.run(seconds=4)
    counted = lab.status["analysis"]["metrics"][0]
    lab.arms._samples = behind
    await lab.reconcile()
    assert (lab.reason, lab.status["analysis"]["metrics"][0]) == ("CanaryPaused", counted)


@given(
    rate=st.sampled_from([0, 3, 30, 200]),
    failing=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    weight=st.sampled_from([1, 10, 50, 100]),
    outages=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30)), max_size=2),
    kills=st.lists(st.integers(0, 60), max_size=2),
)
@settings(max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_happens_a_rollout_ends_on_one_side_and_users_get_answers(
    rate: int, failing: float, weight: int, outages: list[tuple[int, int]], kills: list[int]
) -> None:
    async def live() -> Lab:
        lab = await started(rate=rate, steps=[{"setWeight": weight}, {"analysis": {}}], analysis={"maxDuration": "90s"})
        lab.arms.failing[digest("b")] = failing
        out = {second for at, length in outages for second in range(at, at + length)}
        for second in range(100):
            lab.arms.outage = "connection failed" if second in out else None
            if second in kills and lab.status.get("canary"):
                lab.workloads.kill(NAMESPACE, {"modelcycle.dev/revision": lab.status["canary"]["revision"]})
            await lab.run(seconds=1)
        return lab

    lab = asyncio.run(live())
    assert lab.arms.bad_answers == 0
    assert lab.status["stateVersion"] == 2
    if failing == 1.0 and rate >= 30:
        assert lab.serving == "a"
    told = {share for found in shares(lab).values() for share in found}
    if lab.reason in ("CanaryFailed", "CanaryFailFast", "CanaryCrashed"):
        assert told == {0}


async def test_share_that_a_kubelet_missed_is_told_again() -> None:
    lab = await started()
    lab.arms.missed = {3}
    await lab.run(seconds=30, until=lambda: lab.status.get("analysis", {}).get("looks", 0) > 0)
    assert lab.status["traffic"]["seq"] == 4
    assert lab.status["canary"]["weight"]["applied"] == "20"


async def test_share_that_no_pod_ever_applies_is_repeated_a_few_times_and_then_waited_for_no_longer() -> None:
    lab = await started(steps=[{"setWeight": 20}, {"pause": {}}])
    lab.arms.missed = set(range(3, 100))
    await lab.run(seconds=60)
    assert (lab.status["canary"]["step"], lab.reason) == (1, "CanaryPaused")
    assert lab.status["traffic"]["seq"] <= 3 + 2 * 2, "twice in each step"
    assert "not every pod of stable" in lab.condition("Ready")["message"]  # type: ignore[index]
