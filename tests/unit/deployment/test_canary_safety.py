"""No promotion that nothing shows, no rollback kept from happening, no verdict on what is not the model's: each was once possible."""

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.canary_lab import canary_spec, shares, started
from fakes.deployment_lab import NAMESPACE, Lab, digest
from fakes.faults import Write
from fakes.workloads import Behaviour
from modelcycle.api.modeldeployment import SpecError, parse
from modelcycle.kube.errors import Forbidden
from modelcycle.kube.kinds import CONTROLLER_REVISION, DEPLOYMENT, POD
from modelcycle_bundle.traffic import ANNOTATION


def stage(lab: Lab) -> str:
    found: str = lab.status.get("canary", {}).get("stage", "")
    return found


async def test_outage_after_the_evidence_was_there_still_holds() -> None:
    lab = await started(server={"replicas": 4})
    await lab.run(seconds=120, until=lambda: stage(lab) == "Capacity")
    lab.arms.outage = "connection failed"
    lab.arms.failing[digest("b")] = 1.0
    await lab.run(seconds=120)
    assert (lab.reason, lab.serving, lab.arms.bad_answers) == ("MetricsUnavailable", "a", 0)
    lab.arms.outage = None
    await lab.run(seconds=20)
    assert lab.reason == "CanaryFailFast"


async def test_pods_that_may_not_be_told_do_not_keep_the_canary_from_going() -> None:
    lab = await started()
    await lab.run(seconds=30, until=lambda: lab.status.get("analysis", {}).get("looks", 0) > 0)
    lab.arms.failing[digest("b")] = 1.0

    def refuse(write: Write) -> None:
        if write.kind == POD:
            raise Forbidden("pods is forbidden")

    lab.kube.before_write = refuse
    await lab.run(seconds=30)
    assert (lab.reason, lab.sizes()) == ("CanaryFailFast", {"a": 2, "b": 0})
    assert lab.arms.bad_answers == 0


@pytest.mark.parametrize("steps", [[{"pause": {}}], [{"setWeight": 0}, {"pause": {}}]])
async def test_steps_without_a_share_are_steps_all_the_same(steps: list[dict[str, Any]]) -> None:
    lab = await started(steps=steps)
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving) == ("CanaryPaused", "a")
    go = {"id": "1", "verb": "Promote", "by": "ada", "digest": digest("b")}
    lab.apply(**canary_spec("b", steps), requests=[go])
    await lab.run(seconds=40)
    assert (lab.serving, lab.status["history"][-1]["reason"]) == ("b", "Ready")


@pytest.mark.parametrize("steps", [[{"analysis": {}}], [{"setWeight": "0%"}, {"analysis": {}}, {"setWeight": 5}]])
def test_analysis_of_nothing_is_refused(steps: list[dict[str, Any]]) -> None:
    with pytest.raises(SpecError, match="needs a setWeight above 0"):
        parse(canary_spec("a", steps))


@pytest.mark.parametrize("paused", [False, True])
async def test_all_failing_canary_with_all_requests_is_taken_back(paused: bool) -> None:
    steps: list[dict[str, Any]] = [{"setWeight": 100}, {"pause": {}}]
    lab = await started(steps=steps)
    await lab.run(seconds=12)
    assert lab.status["canary"]["weight"]["desired"] == "100"
    lab.apply(**canary_spec("b", steps), paused=paused)
    lab.arms.failing[digest("b")] = 1.0
    await lab.run(seconds=15)
    assert ("CanaryFailFast" in lab.reason or paused, shares(lab)) == (True, {k: {0} for k in shares(lab)})
    assert lab.status["rejected"][0]["reason"] == "CanaryFailFast"
    assert lab.arms.bad_answers == 0


async def test_evicted_canary_pod_condemns_nothing_delivery_48() -> None:
    lab = await started()
    await lab.run(seconds=12)
    lab.workloads.kill(NAMESPACE, {"modelcycle.dev/revision": lab.status["canary"]["revision"]})
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert (lab.serving, lab.status.get("rejected"), lab.arms.bad_answers) == ("b", None, 0)


@pytest.mark.parametrize("verb", ["Approve", "PromoteFull", "Retry"])
async def test_command_that_binds_a_digest_has_to_name_it(verb: str) -> None:
    lab = await started(rate=5, approval={"required": True})
    lab.enforce_policies()
    lab.apply(**canary_spec("b"), approval={"required": True}, requests=[{"id": "1", "verb": verb, "by": "ada"}])
    await lab.run(seconds=20)
    assert (lab.reason, lab.status["requests"][0]["result"]) == ("AwaitingApproval", "Refused")


async def test_approval_asked_for_in_mid_canary_holds_the_share() -> None:
    steps: list[dict[str, Any]] = [{"setWeight": 20}, {"pause": {"duration": "10s"}}, {"setWeight": 60}, {"pause": {}}]
    lab = await started(steps=steps)
    await lab.run(seconds=8)
    lab.enforce_policies()
    lab.apply(**canary_spec("b", steps), approval={"required": True})
    await lab.run(seconds=60)
    assert (lab.reason, lab.status["canary"]["weight"]["desired"]) == ("AwaitingApproval", "20")


async def test_canary_that_waited_long_survives_its_first_blip() -> None:
    lab = await started(steps=[{"setWeight": 20}, {"pause": {}}], progressDeadlineSeconds=60)
    await lab.run(seconds=600, step=10)
    lab.workloads.kill(NAMESPACE, {"modelcycle.dev/revision": lab.status["canary"]["revision"]})
    await lab.run(seconds=20)
    assert (lab.reason, lab.status.get("rejected")) == ("CanaryPaused", None)


async def test_spec_that_cannot_be_read_forgets_no_evidence() -> None:
    lab = await started(rate=30)
    await lab.run(seconds=15)
    before = lab.status["analysis"]
    lab.apply(model={"uri": "s3://x/y"}, strategy={"canary": {"steps": [{"setWeight": 20}]}})
    await lab.run(seconds=5)
    assert (lab.reason, lab.status["analysis"]) == ("InvalidSpec", before)
    lab.apply(**canary_spec("b"))
    await lab.run(seconds=4)
    assert lab.status["analysis"]["looks"] > before["looks"]


@given(st.from_regex(r"0\.[0-9]{1,6}", fullmatch=True).filter(lambda text: 1e-5 <= float(text) <= 0.5))
def test_whatever_the_schema_admits_the_parser_reads(number: str) -> None:
    floor = {"name": "errors", "harmFloor": number}
    parse(canary_spec("a", analysis={"alpha": number, "beta": number, "metrics": [floor]}))


def test_a_ratio_may_be_a_whole_number_and_what_cannot_be_read_is_said_with_field_value_and_remedy() -> None:
    def ratio(value: object) -> dict[str, Any]:
        return canary_spec("a", analysis={"metrics": [{"name": "errors", "harmRatio": value}]})

    assert parse(ratio(3)) == parse(ratio("3"))
    for value, said in (
        (1.5, '1.5 is not a whole number or a quoted decimal such as "2"'),
        (True, "True is not a whole number"),
        (101, "101 is not within 1.1 and 100"),
    ):
        with pytest.raises(
            SpecError, match=re.escape(f"spec.strategy.canary.analysis.metrics[errors].harmRatio: {said}")
        ):
            parse(ratio(value))


async def test_stable_that_is_gone_in_mid_canary_leaves_the_canary_to_serve() -> None:
    lab = await started(rate=5)
    await lab.run(seconds=12)
    old = lab.status["stable"]["revision"]
    lab._has_served = False
    for kind in (DEPLOYMENT, CONTROLLER_REVISION, POD):
        for body in lab.kube.find(kind, NAMESPACE, {"modelcycle.dev/revision": old}):
            lab.kube.remove(kind, NAMESPACE, body["metadata"]["name"])
    await lab.run(seconds=30)
    assert (lab.reason, lab.serving) == ("Serving", "b")


async def test_waiting_canary_is_not_looked_at_without_a_reason() -> None:
    lab = await started(rate=0, steps=[{"setWeight": 20}, {"pause": {}}], progressDeadlineSeconds=30)
    await lab.run(seconds=300, step=5)
    plan = await lab.plan()
    assert plan is not None
    assert plan.requeue_after is None or plan.requeue_after > 30


async def test_empty_steps_set_in_mid_canary_replace() -> None:
    lab = await started(rate=0)
    await lab.run(seconds=20)
    lab.apply(**canary_spec("b", []))
    await lab.run(seconds=40)
    assert (lab.reason, lab.serving) == ("Serving", "b")


async def test_clock_that_steps_back_keeps_no_rollback_from_happening() -> None:
    lab = await started()
    await lab.run(seconds=12)
    lab.now -= timedelta(minutes=10)
    lab.arms.restart()
    lab.arms.failing[digest("b")] = 1.0
    await lab.run(seconds=20)
    assert lab.reason == "CanaryFailFast"


async def test_younger_rejection_of_a_model_stands_behind_an_older_one() -> None:
    lab = await started(progressDeadlineSeconds=20)
    lab.behaviours[digest("b")] = Behaviour.SLOW
    await lab.run(seconds=40, until=lambda: lab.reason == "ProgressDeadlineExceeded")
    lab.behaviours.clear()
    lab.arms.failing[digest("b")] = 1.0
    elsewhere = canary_spec("b") | {"model": {"uri": "s3://elsewhere/b", "digest": digest("b")}}
    lab.apply(**elsewhere)
    await lab.run(seconds=40, until=lambda: lab.reason == "CanaryFailFast")
    lab.apply(**canary_spec("b"))
    await lab.run(seconds=20)
    assert (lab.reason, lab.status.get("canary")) == ("CanaryFailFast", None)


async def test_door_stays_while_pods_of_a_pruned_revision_are_ending() -> None:
    lab = await started(revisionHistoryLimit=0)
    await lab.run(seconds=200, until=lambda: lab.reason == "GuardWindow")
    await lab.run(seconds=30)
    assert lab.reason == "Serving"
    assert lab.sizes().keys() == {"b"}


@pytest.mark.parametrize(("verb", "reason"), [("PromoteFull", "PromoteFull")])
async def test_history_says_what_a_promotion_rested_on(verb: str, reason: str) -> None:
    lab = await started(rate=5)
    await lab.run(seconds=10)
    lab.apply(**canary_spec("b"), requests=[{"id": "1", "verb": verb, "by": "ada", "digest": digest("b")}])
    await lab.run(seconds=40, until=lambda: lab.serving == "b")
    assert lab.status["history"][-1]["reason"] == reason


@pytest.mark.parametrize("steps", [[], [{"setWeight": 20}, {"analysis": {}}]])
async def test_other_inputs_are_refused_whatever_the_steps(steps: list[dict[str, Any]]) -> None:
    lab = await started(steps=steps)
    lab.arms.inputs[digest("b")] = "other"
    await lab.run(seconds=30)
    assert (lab.reason, lab.serving) == ("IncompatibleSignature", "a")


async def test_server_that_does_not_name_its_inputs_is_judged_by_its_answers() -> None:
    lab = await started()
    lab.arms.inputs[digest("b")] = ""
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert lab.serving == "b"


async def test_promote_in_the_same_commit_as_the_model_waits_for_the_steps() -> None:
    steps: list[dict[str, Any]] = [{"pause": {}}, {"setWeight": 20}, {"analysis": {}}]
    lab = Lab()
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=10)
    lab.arms.rate = 100
    go = {"id": "1", "verb": "Promote", "by": "ada", "digest": digest("b")}
    lab.apply(**canary_spec("b", steps), requests=[go])
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert (lab.serving, lab.status["requests"][0]["result"]) == ("b", "Executed")


async def test_annotation_that_somebody_overwrote_is_put_right() -> None:
    lab = await started(rate=30)
    await lab.run(seconds=12)
    name = lab.kube.find(POD, NAMESPACE, {"modelcycle.dev/revision": lab.status["stable"]["revision"]})[0]["metadata"][
        "name"
    ]
    right = lab.kube.read(POD, NAMESPACE, name)
    assert right is not None
    lab.kube.edit(POD, NAMESPACE, name, lambda body: body["metadata"]["annotations"].update({ANNOTATION: "junk"}))
    await lab.reconcile()
    put = lab.kube.read(POD, NAMESPACE, name)
    assert put is not None
    assert put["metadata"]["annotations"][ANNOTATION] == right["metadata"]["annotations"][ANNOTATION]


async def test_experiment_that_is_gone_for_a_moment_drops_no_canary() -> None:
    lab = Lab()
    lab.experiment("a")
    spec = canary_spec("a", [{"setWeight": 20}, {"pause": {}}]) | {"model": {"experimentRef": {"name": "scrap"}}}
    lab.apply(**spec)
    await lab.run(seconds=10)
    lab.arms.rate = 20
    lab.experiment("b")
    await lab.run(seconds=12)
    rollout = lab.status["canary"]["rollout"]
    lab.experiment(None)
    await lab.run(seconds=5)
    lab.experiment("b")
    await lab.run(seconds=5)
    assert lab.status["canary"]["rollout"] == rollout
