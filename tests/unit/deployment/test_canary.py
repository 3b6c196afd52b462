"""A canary's life in the laboratory: shares step by step, evidence, promotion, and what takes it back."""

import pytest

from fakes.canary_lab import canary_spec, shares, started, strategy
from fakes.deployment_lab import NAMESPACE, Lab, digest, model
from fakes.workloads import Behaviour
from modelcycle.kube.kinds import DEPLOYMENT, POD, SERVICE
from modelcycle_bundle.traffic import ANNOTATION, parse


async def test_first_revision_takes_no_steps_delivery_1() -> None:
    lab = Lab()
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=10)
    assert (lab.reason, lab.serving, lab.sizes()) == ("Serving", "a", {"a": 2})


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


@pytest.mark.parametrize("part", [1.0, 0.2])
async def test_canary_that_refuses_what_stable_accepts_is_incompatible(part: float) -> None:
    lab = await started()
    lab.arms.refusing[digest("b")] = part
    await lab.run(seconds=60, until=lambda: lab.reason == "IncompatibleSignature")
    assert (lab.reason, lab.arms.bad_answers) == ("IncompatibleSignature", 0)
    assert "mostly requests that it refuses" in lab.condition("Ready")["message"]  # type: ignore[index]


async def test_rejected_model_from_another_place_is_the_same_model() -> None:
    lab = await started()
    lab.arms.failing[digest("b")] = 1.0
    await lab.run(seconds=30, until=lambda: lab.reason == "CanaryFailFast")
    copied = canary_spec("b") | {"model": {"uri": "s3://elsewhere/copy", "digest": digest("b")}}
    lab.apply(**copied)
    await lab.run(seconds=10)
    assert (lab.reason, lab.serving, lab.status.get("canary")) == ("CanaryFailFast", "a", None)


async def test_no_traffic_is_neither_good_nor_bad_delivery_17() -> None:
    lab = await started(rate=0)
    await lab.run(seconds=120)
    assert (lab.reason, lab.serving) == ("CanaryInProgress", "a")
    assert "no request has reached the canary yet" in lab.condition("Ready")["message"]  # type: ignore[index]


async def test_old_pods_hand_everything_on_with_close_through_the_guard_window() -> None:
    lab = await started()
    await lab.run(seconds=200, until=lambda: lab.reason == "GuardWindow")
    await lab.run(seconds=1)
    old = [p for p in lab.kube.find(POD, NAMESPACE) if (p["metadata"].get("annotations") or {}).get(ANNOTATION)]
    told = {(t.share, t.close) for t in (parse(p["metadata"]["annotations"][ANNOTATION]) for p in old)}
    assert told == {(10000, True)}
    assert len(lab.kube.find(SERVICE, NAMESPACE)) == 2
    await lab.run(seconds=20)
    assert len(lab.kube.find(SERVICE, NAMESPACE)) == 2, "the door stays a while for pods that have not heard"
    lab.arms.rate = 0
    await lab.run(seconds=150)
    assert len(lab.kube.find(SERVICE, NAMESPACE)) == 1


async def test_pod_template_of_a_revision_never_changes() -> None:
    lab = await started()
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    before = {d["metadata"]["name"]: d["spec"]["template"] for d in lab.kube.find(DEPLOYMENT, NAMESPACE)}
    await lab.run(seconds=30)
    assert {d["metadata"]["name"]: d["spec"]["template"] for d in lab.kube.find(DEPLOYMENT, NAMESPACE)} == before
