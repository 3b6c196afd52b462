"""A canary's life in the laboratory: shares step by step, evidence, promotion, and everything that takes it back or holds it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budget import examples
from fakes.deployment_lab import NAMESPACE, Lab, digest, model
from fakes.faults import Write
from fakes.workloads import Behaviour
from modelcycle.engine.executor import Executor, Result
from modelcycle.kube.errors import Invalid
from modelcycle.kube.kinds import DEPLOYMENT, MODEL_DEPLOYMENT, POD, SERVICE
from modelcycle_bundle.traffic import ANNOTATION, parse

STEPS: list[dict[str, Any]] = [{"setWeight": 20}, {"analysis": {}}]


def strategy(steps: list[dict[str, Any]] | None = None, **analysis: Any) -> dict[str, Any]:
    return {"canary": {"steps": STEPS if steps is None else steps, "guardWindow": "5s", "analysis": analysis}}


def canary_spec(letter: str, steps: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    analysis = more.pop("analysis", {})
    return {"model": model(letter), "server": {"replicas": 2}, "strategy": strategy(steps, **analysis), **more}


async def started(rate: float = 100.0, letter: str = "b", **more: Any) -> Lab:
    """Stable a under load, and b applied as its canary."""
    lab = Lab()
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=10)
    assert (lab.reason, lab.serving) == ("Serving", "a")
    lab.arms.rate = rate
    lab.apply(**canary_spec(letter, **more))
    return lab


def shares(lab: Lab) -> dict[str, set[int]]:
    """Shares that pods were told, by revision of the pod."""
    told: dict[str, set[int]] = {}
    for pod in lab.kube.find(POD, NAMESPACE):
        text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION, "")
        told.setdefault(pod["metadata"]["labels"]["modelcycle.dev/revision"], set()).add(parse(text).share)
    return told


def in_progress(lab: Lab) -> bool:
    return lab.reason == "CanaryInProgress"


async def test_first_revision_takes_no_steps_delivery_1() -> None:
    lab = Lab()
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=10)
    assert (lab.reason, lab.serving, lab.sizes()) == ("Serving", "a", {"a": 2})


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


async def test_share_is_exact_and_reported_delivery_4() -> None:
    lab = await started()
    await lab.run(seconds=14)
    weight = lab.status["canary"]["weight"]
    assert (weight["desired"], weight["applied"]) == ("20", "20")
    assert abs(float(weight["realised"]) - 20) < 1
    assert lab.status["summary"]["weight"] == "20"


async def test_no_share_before_the_canary_is_ready_delivery_6() -> None:
    lab = await started()
    lab.behaviours[digest("b")] = Behaviour.SLOW
    await lab.run(seconds=30)
    assert lab.reason == "RevisionStarting"
    assert {share for told in shares(lab).values() for share in told} == {0}


async def test_capacity_comes_before_the_share_and_promotion_at_full_size_delivery_8() -> None:
    lab = Lab()
    spec = canary_spec("a", [{"setWeight": 5}, {"pause": {}}]) | {"server": {"replicas": 4}}
    lab.apply(**spec)
    await lab.run(seconds=10)
    lab.apply(**spec | {"model": model("b")})
    await lab.run(seconds=10)
    assert lab.sizes() == {"a": 4, "b": 1}
    lab.apply(**spec | {"model": model("b"), "strategy": strategy([{"setWeight": 50}, {"pause": {}}])})
    await lab.run(seconds=10)
    assert (lab.sizes(), lab.status["canary"]["weight"]["desired"]) == ({"a": 4, "b": 2}, "50")


async def test_all_failing_canary_is_taken_back_at_once_and_no_user_sees_it_delivery_44() -> None:
    lab = await started()
    lab.arms.failing[digest("b")] = 1.0
    await lab.run(seconds=30, until=lambda: lab.reason == "CanaryFailFast")
    assert lab.reason == "CanaryFailFast"
    assert (lab.serving, lab.arms.bad_answers) == ("a", 0)
    await lab.run(seconds=3)
    assert {share for told in shares(lab).values() for share in told} == {0}
    assert lab.sizes() == {"a": 2, "b": 0}
    assert lab.status["rejected"][0]["digest"] == digest("b")


async def test_subtly_worse_canary_is_taken_back_by_evidence_monitoring_23() -> None:
    lab = await started()
    lab.arms.failing |= {digest("a"): 0.01, digest("b"): 0.08}
    await lab.run(seconds=300, until=lambda: lab.reason == "CanaryFailed")
    assert (lab.reason, lab.serving) == ("CanaryFailed", "a")
    assert "against" in lab.condition("Ready")["message"]  # type: ignore[index]


async def test_canary_that_refuses_what_stable_accepts_is_incompatible() -> None:
    lab = await started()
    lab.arms.refusing[digest("b")] = 1.0
    await lab.run(seconds=30, until=lambda: lab.reason == "IncompatibleSignature")
    assert (lab.reason, lab.arms.bad_answers) == ("IncompatibleSignature", 0)


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


async def test_rejected_model_from_another_place_is_the_same_model() -> None:
    lab = await started()
    lab.arms.failing[digest("b")] = 1.0
    await lab.run(seconds=30, until=lambda: lab.reason == "CanaryFailFast")
    copied = canary_spec("b") | {"model": {"uri": "s3://elsewhere/copy", "digest": digest("b")}}
    lab.apply(**copied)
    await lab.run(seconds=10)
    assert (lab.reason, lab.serving, lab.status.get("canary")) == ("CanaryFailFast", "a", None)


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


async def test_no_traffic_is_neither_good_nor_bad_delivery_17() -> None:
    lab = await started(rate=0)
    await lab.run(seconds=120)
    assert (lab.reason, lab.serving) == ("CanaryInProgress", "a")
    assert "no request has reached the canary yet" in lab.condition("Ready")["message"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("policy", "reason", "serving"),
    [("Pause", "CanaryPaused", "a"), ("Rollback", "Inconclusive", "a"), ("Promote", "Serving", "b")],
)
async def test_time_over_without_evidence_does_as_the_spec_says_delivery_23(
    policy: str, reason: str, serving: str
) -> None:
    lab = await started(rate=1, analysis={"onInconclusive": policy, "maxDuration": "60s"})
    await lab.run(seconds=180)
    assert (lab.reason, lab.serving) == (reason, serving)


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
    lab.apply(**canary_spec("c"), requests=[{"id": "2", "verb": "PromoteFull", "by": "ada"}])
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


async def test_old_pods_hand_everything_on_with_close_through_the_guard_window() -> None:
    lab = await started()
    await lab.run(seconds=200, until=lambda: lab.reason == "GuardWindow")
    await lab.run(seconds=1)
    old = [p for p in lab.kube.find(POD, NAMESPACE) if (p["metadata"].get("annotations") or {}).get(ANNOTATION)]
    told = {(t.share, t.close) for t in (parse(p["metadata"]["annotations"][ANNOTATION]) for p in old)}
    assert told == {(10000, True)}
    assert len(lab.kube.find(SERVICE, NAMESPACE)) == 2
    await lab.run(seconds=20)
    assert len(lab.kube.find(SERVICE, NAMESPACE)) == 1


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


def approve(name: str, letter: str) -> dict[str, Any]:
    return {"id": name, "verb": "Approve", "digest": digest(letter), "by": "ada"}


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


async def test_pod_template_of_a_revision_never_changes() -> None:
    lab = await started()
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    before = {d["metadata"]["name"]: d["spec"]["template"] for d in lab.kube.find(DEPLOYMENT, NAMESPACE)}
    await lab.run(seconds=30)
    assert {d["metadata"]["name"]: d["spec"]["template"] for d in lab.kube.find(DEPLOYMENT, NAMESPACE)} == before


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
