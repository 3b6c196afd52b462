"""A ModelDeployment's life in the laboratory: first rollout, replacement, refusals, changes of mind."""

from datetime import timedelta

import pytest

from fakes.canary_lab import canary_spec
from fakes.deployment_lab import IMAGE, NAME, NAMESPACE, OTHER_PEM, PEM, Lab, digest, model
from fakes.workloads import Behaviour
from modelcycle.kube.kinds import CONTROLLER_REVISION, DEPLOYMENT, MODEL_DEPLOYMENT, SERVICE


async def serving(letter: str = "a", replicas: int = 2, **behaviours: Behaviour) -> Lab:
    lab = Lab({digest(key): value for key, value in behaviours.items()})
    lab.apply(model=model(letter), server={"replicas": replicas})
    await lab.run(seconds=10)
    assert (lab.reason, lab.serving) == ("Serving", letter)
    return lab


async def test_first_revision_serves_without_a_replacement_delivery_1() -> None:
    lab = await serving()
    assert lab.condition("Available")["status"] == "True"  # type: ignore[index]
    assert lab.status["summary"] == {"stable": "a" * 8, "canary": "-", "weight": "-"}
    assert lab.status["endpoint"] == "http://scrap.plant-7.svc:80"
    assert await lab.quiet() == []


async def test_service_exists_without_endpoints_before_the_first_revision_is_ready() -> None:
    lab = Lab({digest("a"): Behaviour.SLOW})
    lab.apply(model=model("a"))
    await lab.run(seconds=5)
    service = lab.kube.read(SERVICE, NAMESPACE, NAME)
    assert service is not None
    assert service["spec"]["selector"]["modelcycle.dev/revision"] == "none"
    assert lab.condition("Available")["status"] == "False"  # type: ignore[index]


async def test_replacement_moves_the_service_then_guards_then_scales_down() -> None:
    lab = await serving()
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(until=lambda: lab.serving == "b")
    assert lab.sizes() == {"a": 2, "b": 2}
    await lab.run(seconds=3)
    assert (lab.reason, lab.sizes()) == ("GuardWindow", {"a": 2, "b": 2})
    await lab.run(seconds=40)
    assert (lab.reason, lab.sizes()) == ("Serving", {"a": 0, "b": 2})
    assert [entry["to"] for entry in lab.status["history"]] == [digest("a"), digest("b")]
    assert await lab.quiet() == []


async def test_capacity_is_complete_before_traffic_delivery_8() -> None:
    lab = await serving(replicas=3, b=Behaviour.SLOW)
    lab.apply(model=model("b"), server={"replicas": 3})
    await lab.run(seconds=30)
    assert (lab.serving, lab.reason, lab.sizes()) == ("a", "RevisionStarting", {"a": 3, "b": 3})


@pytest.mark.parametrize(
    ("behaviour", "reason", "seconds"),
    [
        (Behaviour.TAMPERED, "DigestMismatch", 10),
        (Behaviour.UNSIGNED, "SignatureInvalid", 10),
        (Behaviour.GOLDEN, "GoldenMismatch", 10),
        (Behaviour.CRASHING, "ServerFailed", 20),
        (Behaviour.NO_IMAGE, "ImageUnavailable", 75),
        (Behaviour.STORE_DOWN, "ProgressDeadlineExceeded", 620),
        (Behaviour.SLOW, "ProgressDeadlineExceeded", 620),
        (Behaviour.REFUSED, "ProgressDeadlineExceeded", 620),
    ],
)
async def test_refused_revision_leaves_stable_untouched_delivery_81_82_engineering_57(
    behaviour: Behaviour, reason: str, seconds: float
) -> None:
    lab = await serving(b=behaviour)
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(seconds=seconds, step=max(1.0, seconds / 60))
    assert (lab.reason, lab.condition("Stalled")["reason"]) == (reason, reason)  # type: ignore[index]
    assert (lab.serving, lab.sizes()) == ("a", {"a": 2, "b": 0})
    assert lab.condition("Available")["status"] == "True"  # type: ignore[index]
    assert [(r["digest"], r["reason"]) for r in lab.status["rejected"]] == [(digest("b"), reason)]
    assert await lab.quiet() == []


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour.STORE_DOWN, "StoreUnreachable"),
        (Behaviour.NO_IMAGE, "ImagePullFailing"),
        (Behaviour.REFUSED, "PodsRefused"),
    ],
)
async def test_what_may_pass_is_reconciling_not_stalled(behaviour: Behaviour, reason: str) -> None:
    lab = await serving(b=behaviour)
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(seconds=30)
    assert (lab.reason, lab.condition("Reconciling")["reason"]) == (reason, reason)  # type: ignore[index]
    lab.behaviours.clear()
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving) == ("Serving", "b")


async def test_first_revision_refused_is_not_available() -> None:
    lab = Lab({digest("a"): Behaviour.TAMPERED})
    lab.apply(model=model("a"))
    await lab.run(seconds=10)
    assert (lab.reason, lab.sizes(), lab.status["summary"]["stable"]) == ("DigestMismatch", {"a": 0}, "-")
    lab.apply(model=model("b"))
    await lab.run(seconds=10)
    assert (lab.reason, lab.serving) == ("Serving", "b")


async def test_rejected_digest_applied_again_is_no_op_delivery_54_71() -> None:
    lab = await serving(b=Behaviour.TAMPERED)
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(seconds=10)
    lab.apply(model=model("a"), server={"replicas": 2})
    await lab.run(seconds=10)
    assert lab.reason == "Serving"
    lab.behaviours.clear()
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving, lab.sizes()["b"]) == ("DigestMismatch", "a", 0)


async def test_operational_rejection_is_tried_again_after_an_edit() -> None:
    lab = await serving(b=Behaviour.SLOW)
    lab.apply(model=model("b"), server={"replicas": 2}, progressDeadlineSeconds=10)
    await lab.run(seconds=20)
    assert lab.reason == "ProgressDeadlineExceeded"
    lab.behaviours.clear()
    await lab.run(seconds=60)
    assert lab.reason == "ProgressDeadlineExceeded"
    lab.apply(model=model("b"), server={"replicas": 2}, progressDeadlineSeconds=11)
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving, lab.status.get("rejected")) == ("Serving", "b", None)


async def _too_late() -> Lab:
    """A revision that did not become Ready in time, and would by now."""
    lab = await serving(b=Behaviour.SLOW)
    lab.apply(model=model("b"), server={"replicas": 2}, progressDeadlineSeconds=10)
    await lab.run(seconds=20)
    assert lab.reason == "ProgressDeadlineExceeded"
    lab.behaviours.clear()
    return lab


async def test_a_request_or_a_number_of_replicas_is_no_edit() -> None:
    lab = await _too_late()
    wrong = {"id": "1", "verb": "Abort", "by": "ada", "reason": "smells", "digest": digest("c")}
    lab.apply(model=model("b"), server={"replicas": 3}, progressDeadlineSeconds=10, requests=[wrong])
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving) == ("ProgressDeadlineExceeded", "a")


async def test_rejection_that_the_first_release_stored_stands_and_a_request_is_no_edit() -> None:
    lab = await _too_late()
    stored = dict(lab.status)
    stored["rejected"] = [{k: v for k, v in item.items() if k != "specHash"} for item in stored["rejected"]]
    assert stored != lab.status
    lab.kube.set_status(MODEL_DEPLOYMENT, NAMESPACE, NAME, stored)
    await lab.run(seconds=60)
    assert lab.reason == "ProgressDeadlineExceeded"
    assert await lab.quiet() == []
    lab.apply(model=model("b"), server={"replicas": 3}, progressDeadlineSeconds=10)
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving) == ("ProgressDeadlineExceeded", "a")
    lab.apply(model=model("b"), server={"replicas": 3}, progressDeadlineSeconds=11)
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving) == ("Serving", "b")


async def test_signature_rejection_is_tried_again_when_the_trusted_keys_change() -> None:
    lab = await serving(b=Behaviour.UNSIGNED)
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(seconds=30)
    assert lab.reason == "SignatureInvalid"
    lab.behaviours.clear()
    lab.trust(OTHER_PEM)
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving) == ("Serving", "b")


async def test_no_trusted_key_names_the_command_and_clears_by_itself() -> None:
    lab = Lab()
    lab.trust(None)
    lab.apply(model=model("a"))
    await lab.run(seconds=5)
    assert lab.reason == "NoTrustedKey"
    assert "kubectl modelcycle keygen -n plant-7" in lab.condition("Stalled")["message"]  # type: ignore[index]
    assert lab.kube.find(DEPLOYMENT, NAMESPACE) == []
    lab.trust(PEM)
    await lab.run(seconds=10)
    assert lab.reason == "Serving"


async def test_key_rotation_is_no_rollout() -> None:
    lab = await serving()
    before = lab.kube.find(DEPLOYMENT, NAMESPACE)
    lab.trust(PEM + OTHER_PEM)
    await lab.run(seconds=5)
    assert [d["spec"] for d in lab.kube.find(DEPLOYMENT, NAMESPACE)] == [d["spec"] for d in before]
    assert lab.condition("Trusted")["message"] == "2 trusted keys"  # type: ignore[index]


async def test_newer_operator_with_another_image_starts_no_rollout_delivery_41() -> None:
    lab = await serving()
    lab.serving_image = IMAGE.replace("1" * 64, "2" * 64)
    assert await lab.quiet() == []
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(seconds=60)
    templates = {d["spec"]["template"]["spec"]["containers"][0]["image"] for d in lab.kube.find(DEPLOYMENT, NAMESPACE)}
    assert templates == {IMAGE, lab.serving_image}


async def test_lost_template_is_recovered_from_the_live_deployment() -> None:
    lab = await serving()
    lab.serving_image = IMAGE.replace("1" * 64, "2" * 64)
    kept = lab.kube.find(CONTROLLER_REVISION, NAMESPACE)[0]
    lab.kube.remove(CONTROLLER_REVISION, NAMESPACE, kept["metadata"]["name"])
    await lab.run(seconds=5)
    assert lab.kube.find(CONTROLLER_REVISION, NAMESPACE)[0]["data"] == kept["data"]
    assert lab.kube.find(DEPLOYMENT, NAMESPACE)[0]["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE


async def test_replicas_scale_stable_without_a_revision() -> None:
    lab = await serving()
    lab.apply(model=model("a"), server={"replicas": 4})
    await lab.run(seconds=10)
    assert (lab.reason, lab.sizes(), lab.status["stable"]["number"]) == ("Serving", {"a": 4}, 1)


async def test_same_spec_mid_replacement_goes_on_and_reverted_spec_aborts_delivery_52_engineering_63() -> None:
    lab = await serving(b=Behaviour.SLOW)
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(seconds=5)
    started = lab.status["canary"]["startedAt"]
    lab.apply(model=model("b"), server={"replicas": 2}, revisionHistoryLimit=3)
    await lab.run(seconds=5)
    assert lab.status["canary"]["startedAt"] == started
    lab.apply(model=model("a"), server={"replicas": 2})
    await lab.run(seconds=5)
    assert (lab.reason, lab.serving, lab.sizes()) == ("Serving", "a", {"a": 2, "b": 0})
    assert "rejected" not in lab.status


async def test_third_spec_drops_the_canary_and_starts_delivery_51_engineering_62() -> None:
    lab = await serving(b=Behaviour.SLOW)
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(seconds=5)
    lab.apply(model=model("c"), server={"replicas": 2})
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving, lab.sizes()) == ("Serving", "c", {"a": 0, "b": 0, "c": 2})


async def test_revert_inside_the_guard_window_is_warm() -> None:
    lab = await serving()
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(until=lambda: lab.reason == "GuardWindow")
    lab.apply(model=model("a"), server={"replicas": 2})
    await lab.run(seconds=8, until=lambda: lab.serving == "a")
    assert (lab.serving, lab.sizes()) == ("a", {"a": 2, "b": 2})
    await lab.run(seconds=60)
    assert (lab.reason, lab.sizes()) == ("Serving", {"a": 2, "b": 0})


async def test_revert_that_is_seen_too_late_is_warm_while_the_old_pods_are_there() -> None:
    """Nobody looked when the guard window ended, or the same edit makes it shorter."""
    lab = await serving()
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(until=lambda: lab.reason == "GuardWindow")
    lab.now += timedelta(minutes=10)
    lab.apply(**canary_spec("a"))
    sizes = []
    for _ in range(8):
        await lab.run(seconds=1)
        sizes.append(lab.sizes()["a"])
    assert (lab.serving, min(sizes)) == ("a", 2)
    assert lab.status["history"][-1]["reason"] == "Returned"


async def test_paused_starts_nothing_and_goes_on_later_delivery_61() -> None:
    lab = await serving()
    lab.apply(model=model("b"), server={"replicas": 2}, paused=True)
    await lab.run(seconds=5)
    assert (lab.reason, lab.sizes()) == ("Paused", {"a": 2})
    lab.apply(model=model("a"), server={"replicas": 3}, paused=True)
    await lab.run(seconds=5)
    assert (lab.reason, lab.condition("Ready")["status"], lab.sizes()) == ("Paused", "True", {"a": 3})  # type: ignore[index]
    lab.apply(model=model("b"), server={"replicas": 3})
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving) == ("Serving", "b")


async def test_pause_stops_the_progress_clock_delivery_61() -> None:
    lab = await serving(b=Behaviour.SLOW)
    spec = {"model": model("b"), "server": {"replicas": 2}, "progressDeadlineSeconds": 60}
    lab.apply(**spec)
    await lab.run(seconds=30)
    lab.apply(**spec, paused=True)
    await lab.run(seconds=300, step=10)
    assert lab.reason == "Paused"
    lab.apply(**spec)
    await lab.run(seconds=10)
    assert lab.reason == "RevisionStarting"
    await lab.run(seconds=40)
    assert lab.reason == "ProgressDeadlineExceeded"


async def test_pause_lets_a_moving_service_arrive() -> None:
    lab = await serving()
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(until=lambda: lab.serving == "b")
    lab.apply(model=model("b"), server={"replicas": 2}, paused=True)
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving, lab.sizes()) == ("Paused", "b", {"a": 0, "b": 2})


async def test_unhealthy_stable_does_not_block_a_fix_delivery_45_engineering_59() -> None:
    lab = await serving()
    lab._has_served = False  # the pods are killed by the test: from here the old revision has none
    lab.behaviours[digest("a")] = Behaviour.CRASHING
    lab.workloads.kill(NAMESPACE, {"modelcycle.dev/deployment": NAME})
    await lab.run(seconds=10)
    assert (lab.reason, lab.condition("Available")["status"]) == ("ReplicasNotReady", "False")  # type: ignore[index]
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving) == ("Serving", "b")


async def test_history_keeps_the_limit_and_never_what_serves() -> None:
    lab = await serving()
    for letter in "bcdef":
        lab.apply(model=model(letter), server={"replicas": 1}, revisionHistoryLimit=2)
        await lab.run(seconds=60)
    assert lab.sizes() == {"f": 1, "e": 0, "d": 0}
    assert len(lab.kube.find(CONTROLLER_REVISION, NAMESPACE)) == 3
    lab.apply(model=model("f"), server={"replicas": 1}, revisionHistoryLimit=0)
    await lab.run(seconds=10)
    assert lab.sizes() == {"f": 1}


async def test_last_good_revision_outlives_failed_ones() -> None:
    lab = await serving()
    lab.behaviours |= {digest(letter): Behaviour.CRASHING for letter in "cdef0"}
    lab.apply(model=model("b"), server={"replicas": 1}, revisionHistoryLimit=3)
    await lab.run(seconds=60)
    for letter in "cdef0":
        lab.apply(model=model(letter), server={"replicas": 1}, revisionHistoryLimit=3, progressDeadlineSeconds=30)
        await lab.run(seconds=60)
        assert (lab.serving, lab.reason) == ("b", "ServerFailed")
        assert "a" in lab.sizes()
    assert lab.sizes() == {"a": 0, "b": 1, "e": 0, "f": 0, "0": 0}  # the last one is still asked for


async def test_revisions_that_were_dropped_before_they_served_do_not_displace_those_that_did() -> None:
    lab = await serving()
    lab.behaviours |= {digest(letter): Behaviour.SLOW for letter in "cdef"}
    lab.apply(model=model("b"), server={"replicas": 1}, revisionHistoryLimit=2)
    await lab.run(seconds=60)
    for letter in "cdefb":
        lab.apply(model=model(letter), server={"replicas": 1}, revisionHistoryLimit=2)
        await lab.run(seconds=5)
    await lab.run(seconds=60)
    assert lab.sizes() == {"a": 0, "b": 1, "f": 0}


async def test_what_served_before_a_return_is_kept_though_its_number_is_not_the_newest() -> None:
    lab = await serving(c=Behaviour.CRASHING)
    for letter in "bac":
        lab.apply(model=model(letter), server={"replicas": 1}, revisionHistoryLimit=1, progressDeadlineSeconds=30)
        await lab.run(seconds=90)
    assert (lab.serving, lab.sizes()) == ("a", {"a": 1, "b": 0, "c": 0})  # c is what the spec asks for


async def test_kept_revision_comes_back_with_its_own_template() -> None:
    lab = await serving()
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(seconds=60)
    lab.serving_image = IMAGE.replace("1" * 64, "2" * 64)
    lab.apply(model=model("a"), server={"replicas": 2})
    await lab.run(seconds=60)
    assert (lab.serving, lab.status["stable"]["number"]) == ("a", 1)
    images = {d["spec"]["template"]["spec"]["containers"][0]["image"] for d in lab.kube.find(DEPLOYMENT, NAMESPACE)}
    assert images == {IMAGE}
