"""Copies for a canary, keys that requests stick to, and tests that pick their arm: what pods are told, and when it ends."""

import json
from datetime import timedelta
from typing import Any

import pytest

from fakes.canary_lab import canary_spec, shares, started
from fakes.deployment_lab import NAMESPACE, Lab, digest, model
from modelcycle.api.fields import SpecError
from modelcycle.api.modeldeployment import parse
from modelcycle.api.rollout import SetWeight, Shadow
from modelcycle.kube.kinds import POD
from modelcycle_bundle.traffic import ANNOTATION

COPY: dict[str, Any] = {"shadow": {"weight": 30, "duration": "20s"}}
FIRST_RELEASE = {"rollout", "seq", "share", "target", "timeout", "close"}


def told(lab: Lab) -> list[dict[str, Any]]:
    """The annotations of all pods that have one."""
    texts = [(pod["metadata"].get("annotations") or {}).get(ANNOTATION, "") for pod in lab.kube.find(POD, NAMESPACE)]
    return [json.loads(text) for text in texts if text]


def copied(lab: Lab) -> set[str]:
    return {each.get("shadow", "none") for each in told(lab)}


async def test_copies_come_first_at_share_0_and_end_with_their_time() -> None:
    lab = await started(steps=[COPY, {"setWeight": 20}, {"pause": {}}])
    await lab.run(seconds=20, until=lambda: copied(lab) == {"0.3000"})
    assert copied(lab) == {"0.3000"}
    assert {share for each in shares(lab).values() for share in each} == {0}
    assert all(each["target"] for each in told(lab))
    assert lab.status["traffic"]["shadow"] == 3000
    assert "copies of 30 % go to it for 20 s" in lab.condition("Ready")["message"]  # type: ignore[index]
    assert lab.reason == "CanaryInProgress"
    await lab.run(seconds=12)
    assert copied(lab) == {"0.3000"}, "not before its time"
    await lab.run(seconds=12)
    assert copied(lab) == {"none"}
    assert lab.status["canary"]["weight"]["desired"] == "20"
    assert "shadow" not in lab.status["traffic"]
    assert lab.status["canary"]["step"] == 2


async def test_copies_have_their_capacity_before_they_come_and_give_it_back() -> None:
    lab = Lab()
    steps: list[dict[str, Any]] = [{"shadow": {"weight": 100, "duration": "20s"}}, {"setWeight": 5}, {"pause": {}}]
    spec = canary_spec("a", steps) | {"server": {"replicas": 4}}
    lab.apply(**spec)
    await lab.run(seconds=10)
    lab.apply(**spec | {"model": model("b")})
    await lab.run(seconds=15)
    assert lab.sizes() == {"a": 4, "b": 4}
    assert copied(lab) == {"1.0000"}
    await lab.run(seconds=20)
    assert lab.sizes() == {"a": 4, "b": 1}
    assert (lab.status["canary"]["weight"]["desired"], copied(lab)) == ("5", {"none"})


async def test_copies_are_no_evidence() -> None:
    lab = await started(steps=[COPY, {"setWeight": 20}, {"analysis": {}}])
    await lab.run(seconds=18, until=lambda: copied(lab) == {"0.3000"})
    await lab.run(seconds=5)
    assert lab.status.get("analysis", {}).get("looks", 0) == 0
    assert "trafficAt" not in lab.status["canary"]


async def test_copies_beside_a_share_leave_it_as_it_is() -> None:
    lab = await started(steps=[{"setWeight": 20}, COPY, {"setWeight": 40}, {"pause": {}}])
    await lab.run(seconds=20, until=lambda: copied(lab) == {"0.3000"})
    assert {(each["share"], each.get("shadow")) for each in told(lab)} == {("0.2000", "0.3000")}
    await lab.run(seconds=26)
    assert {(each["share"], each.get("shadow")) for each in told(lab)} == {("0.4000", None)}


@pytest.mark.parametrize(("verb", "after"), [("Promote", "CanaryPaused"), ("Abort", "Aborted")])
async def test_person_who_ends_the_step_ends_the_copies(verb: str, after: str) -> None:
    steps: list[dict[str, Any]] = [{"shadow": {"weight": 30, "duration": "1h"}}, {"pause": {}}]
    lab = await started(steps=steps)
    await lab.run(seconds=20, until=lambda: copied(lab) == {"0.3000"})
    wish = {"id": "1", "verb": verb, "by": "ada", "digest": digest("b")}
    lab.apply(**canary_spec("b", steps), requests=[wish])
    await lab.run(seconds=5)
    assert (copied(lab), lab.reason) == ({"none"}, after)


async def test_full_promotion_ends_the_copies() -> None:
    steps: list[dict[str, Any]] = [{"shadow": {"weight": 30, "duration": "1h"}}, {"pause": {}}]
    lab = await started(steps=steps)
    await lab.run(seconds=20, until=lambda: copied(lab) == {"0.3000"})
    wish = {"id": "1", "verb": "PromoteFull", "by": "ada", "digest": digest("b")}
    lab.apply(**canary_spec("b", steps), requests=[wish])
    await lab.run(seconds=40, until=lambda: lab.reason == "Serving")
    assert (lab.reason, lab.serving, copied(lab) - {"none"}) == ("Serving", "b", set())


async def test_spec_that_goes_back_ends_the_copies() -> None:
    lab = await started(steps=[{"shadow": {"weight": 30, "duration": "1h"}}])
    await lab.run(seconds=20, until=lambda: copied(lab) == {"0.3000"})
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=5)
    assert copied(lab) == {"none"}


async def test_pods_are_told_of_keys_and_tests_only_where_the_spec_has_them() -> None:
    lab = await started(steps=[{"setWeight": 20}, {"pause": {}}])
    await lab.run(seconds=14)
    assert {frozenset(each) for each in told(lab)} == {frozenset(FIRST_RELEASE)}
    traffic = {"traffic": {"sticky": {"header": "X-User-Id"}, "testHeader": True}}
    lab.apply(**canary_spec("b", [{"setWeight": 20}, {"pause": {}}]), **traffic)
    await lab.run(seconds=5)
    assert {(each["sticky"], each["testHeader"]) for each in told(lab)} == {("x-user-id", True)}
    assert {each["share"] for each in told(lab)} == {"0.2000"}, "the share does not begin anew"


def spec(**more: Any) -> dict[str, Any]:
    return {"model": {"uri": "s3://a", "digest": "sha256:" + "a" * 64}, **more}


def steps(*steps: object) -> dict[str, Any]:
    return spec(strategy={"canary": {"steps": list(steps)}})


def test_fields_are_read() -> None:
    read = parse(spec(traffic={"sticky": {"header": "X-User-Id"}, "testHeader": True}))
    assert (read.sticky_header, read.test_header) == ("x-user-id", True)
    assert parse(steps({"shadow": {"weight": "0.5%", "duration": "1h"}}, {"setWeight": 5})).canary.steps == (
        Shadow(50, timedelta(hours=1)),
        SetWeight(500),
    )


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (steps({"shadow": {"weight": 0, "duration": "1h"}}), "steps[0].shadow.weight: nothing"),
        (steps({"shadow": {"duration": "1h"}}), "steps[0].shadow.weight: None is not a percentage"),
        (steps({"shadow": {"weight": 5}}), "steps[0].shadow.duration: a shadow step says how long"),
        (steps({"shadow": {"weight": 5, "duration": "soon"}}), "steps[0].shadow.duration: 'soon' is not"),
        (steps({"shadow": {"weight": 5, "duration": "1h"}, "pause": {}}), "exactly one of"),
        (steps({"shadow": {"weight": 5, "duration": "1h"}}, {"analysis": {}}), "needs a setWeight above 0"),
        (
            spec(traffic={"sticky": {"header": "X User"}}),
            "spec.traffic.sticky.header: 'X User' is no name of a request header",
        ),
        (spec(traffic={"sticky": {"cookie": "x"}}), "spec.traffic.sticky.header: required"),
        (spec(traffic={"sticky": "x"}), "spec.traffic.sticky: 'x' is not an object"),
        (
            spec(approval={"required": True, "source": "Mail"}),
            "spec.approval.source: 'Mail' is unknown, expected one of Request, Git",
        ),
        (spec(strategy={"canary": {"steps": "5"}}), "spec.strategy.canary.steps: '5' is not a list"),
        (spec(server={"replicas": -1}), "spec.server.replicas: -1 is not a whole number of 0 or more"),
        (spec(traffic={"sticky": "x" * 200}), f"spec.traffic.sticky: '{'x' * 56}... is not an object"),
    ],
)
def test_errors_name_the_field(raw: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse(raw)
    assert says in str(refused.value)
