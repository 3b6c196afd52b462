"""A canary that needs a part of stable's inputs, or all in another order: promoted, and no tensor is ever read in the wrong order."""

from typing import Any

import pytest

from fakes.canary_lab import STEPS, canary_spec, started
from fakes.deployment_lab import NAMESPACE, Lab, digest
from modelcycle.deployment.manifests import is_telling, telling
from modelcycle.kube.kinds import CONTROLLER_REVISION, DEPLOYMENT, POD
from modelcycle_bundle import client_inputs

STABLE = ("age", "height", "weight")
WAYS: dict[str, list[dict[str, Any]]] = {"steps": STEPS, "no steps": []}
ORDER = {"id": "1", "verb": "PromoteFull", "by": "ada", "digest": digest("b"), "reason": "the line waits"}


async def begun(needs: tuple[str, ...], letter: str = "b", stable: tuple[str, ...] = STABLE, **more: Any) -> Lab:
    lab = await started(letter=letter, **more)
    lab.arms.features = {digest("a"): stable, digest(letter): needs}
    lab.arms.clients = stable
    lab.arms.misread = 0
    return lab


def told(lab: Lab, letter: str) -> str:
    """What the stored template of a revision tells its server."""
    found = [r for r in lab.kube.find(CONTROLLER_REVISION, NAMESPACE) if r["data"]["digest"] == digest(letter)]
    env = found[0]["data"]["template"]["spec"]["containers"][0]["env"] if found else ()
    return next((item["value"] for item in env if item["name"] == client_inputs.ENVIRONMENT), "")


@pytest.mark.parametrize("steps", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("needs", [("weight", "age"), ("weight", "height", "age"), ("height",)], ids=",".join)
@pytest.mark.parametrize("late", [0, 3])
async def test_canary_that_needs_some_of_the_inputs_in_any_order_is_promoted_and_reads_all_rightly(
    needs: tuple[str, ...], steps: list[dict[str, Any]], late: int
) -> None:
    lab = await begun(needs, steps=steps)
    lab.arms.outage = "connection failed"
    await lab.run(seconds=late)
    lab.arms.outage = None
    await lab.run(seconds=200, until=lambda: lab.reason == "Serving" and lab.serving == "b")
    assert (lab.serving, lab.arms.misread, lab.arms.bad_answers) == ("b", 0, 0)
    assert lab.arms.by_digest[digest("b")] > 0
    assert client_inputs.parse(told(lab, "b")) == STABLE
    assert not await lab.quiet()


async def test_model_with_the_inputs_of_stable_is_told_nothing_and_its_pods_are_made_once() -> None:
    lab = await begun(STABLE)
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert (lab.serving, told(lab, "b"), lab.arms.misread) == ("b", "", 0)


async def test_what_is_told_is_said_while_the_pods_are_made_again() -> None:
    lab = await begun(("weight", "age"))
    said = set()
    for _ in range(15):
        await lab.run(seconds=1)
        said.add(lab.condition("Ready")["message"])  # type: ignore[index]
    assert any("its pods are made again and told in which order clients send them" in text for text in said)


async def test_canary_that_needs_more_is_refused_and_the_message_names_what_is_missing() -> None:
    lab = await begun(("age", "temperature\nC", *(f"s{at}" for at in range(7))))
    await lab.run(seconds=30)
    assert (lab.reason, lab.serving, lab.arms.misread) == ("IncompatibleSignature", "a", 0)
    message = lab.condition("Ready")["message"]  # type: ignore[index]
    assert 'it needs "temperature\\nC", "s0", "s1", "s2", "s3" and 3 more, which stable does not take' in message
    assert digest("b") not in lab.arms.by_digest


@pytest.mark.parametrize("silent", ["a", "b"])
async def test_pods_of_an_earlier_image_are_judged_as_before(silent: str) -> None:
    lab = await begun(("weight", "age"))
    del lab.arms.features[digest(silent)]
    lab.arms.inputs[digest(silent)] = "other"
    await lab.run(seconds=30)
    assert (lab.reason, lab.serving, told(lab, "b")) == ("IncompatibleSignature", "a", "")


async def test_next_canary_is_compared_with_what_clients_send_not_with_what_the_last_model_needed() -> None:
    lab = await begun(("weight", "age"))
    await lab.run(seconds=200, until=lambda: lab.reason == "Serving" and lab.serving == "b")
    lab.arms.features[digest("c")] = ("height", "weight")
    lab.apply(**canary_spec("c"))
    await lab.run(seconds=200, until=lambda: lab.reason == "Serving" and lab.serving == "c")
    assert (lab.serving, lab.arms.misread, client_inputs.parse(told(lab, "c"))) == ("c", 0, STABLE)
    lab.arms.features[digest("d")] = STABLE
    lab.apply(**canary_spec("d"))
    await lab.run(seconds=200, until=lambda: lab.reason == "Serving" and lab.serving == "d")
    assert (lab.serving, lab.arms.misread, told(lab, "d")) == ("d", 0, "")


@pytest.mark.parametrize("late", [0, 2, 4])
async def test_order_of_a_person_waits_until_the_pods_are_told(late: int) -> None:
    lab = await begun(("weight", "height", "age"), requests=[ORDER])
    lab.arms.outage = "connection failed"
    await lab.run(seconds=late)
    lab.arms.outage = None
    await lab.run(seconds=120, until=lambda: lab.reason == "Serving" and lab.serving == "b")
    assert (lab.serving, lab.arms.misread) == ("b", 0)
    assert lab.status["history"][-1]["reason"] == "PromoteFull"


async def test_change_of_resources_keeps_what_the_pods_are_told() -> None:
    lab = await begun(("weight", "age"))
    await lab.run(seconds=200, until=lambda: lab.reason == "Serving" and lab.serving == "b")
    spec = canary_spec("b")
    lab.apply(**spec | {"server": {"replicas": 2, "resources": {"limits": {"memory": "1Gi"}}}})
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving, lab.arms.misread) == ("Serving", "b", 0)
    live = [d for d in lab.kube.find(DEPLOYMENT, NAMESPACE) if d["spec"]["replicas"]]
    [deployment] = live
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    assert client_inputs.ENVIRONMENT in {item["name"] for item in env}


async def test_pod_that_was_not_read_since_it_was_told_gets_no_request() -> None:
    """One that still reads tensors in its own order may be among them."""
    lab = await begun(("weight", "height", "age"), steps=[{"setWeight": 100}, {"analysis": {}}])
    await lab.run(seconds=40, until=lambda: told(lab, "b") != "")
    for _ in range(40):
        pods = [pod["metadata"] for pod in lab.kube.find(POD, NAMESPACE)]
        lab.arms.deaf |= {pod["uid"] for pod in pods if pod["name"].endswith("-told-0")}
        await lab.run(seconds=1)
    assert len(lab.arms.serving(digest("b"))) == 2
    assert (lab.serving, lab.arms.misread, lab.arms.by_digest.get(digest("b"), 0)) == ("a", 0, 0)


async def test_order_of_a_person_waits_for_told_pods_that_cannot_be_read_a_minute_at_most() -> None:
    lab = await begun(("weight", "height", "age"), requests=[ORDER])
    for second in range(120):
        pods = [pod["metadata"] for pod in lab.kube.find(POD, NAMESPACE)]
        lab.arms.deaf |= {pod["uid"] for pod in pods if "-told-" in pod["name"]}
        await lab.run(seconds=1)
        assert second >= 60 or lab.serving == "a"
    assert (lab.serving, lab.arms.misread, lab.arms.bad_answers) == ("b", 0, 0)


async def test_canary_pod_that_cannot_be_read_any_more_is_not_said_to_be_made_again() -> None:
    lab = await begun(("weight", "age"), steps=[{"setWeight": 50}, {"pause": {}}])
    await lab.run(seconds=60, until=lambda: lab.reason == "CanaryPaused")
    assert lab.reason == "CanaryPaused"
    lab.kube.remove(POD, NAMESPACE, next(p["metadata"]["name"] for p in lab.kube.find(POD, NAMESPACE) if told_pod(p)))
    for _ in range(10):
        lab.arms.deaf |= {pod["metadata"]["uid"] for pod in lab.kube.find(POD, NAMESPACE) if told_pod(pod)}
        await lab.run(seconds=1)
        assert "made again" not in lab.condition("Ready")["message"]  # type: ignore[index]


def told_pod(pod: dict[str, Any]) -> bool:
    return "-told-" in pod["metadata"]["name"]


def test_template_is_told_the_last_list_alone() -> None:
    template = {"metadata": {}, "spec": {"containers": [{"name": "server", "env": [{"name": "X", "value": "1"}]}]}}
    once = telling(telling(template, ("a",)), ("b", "$(X)"))
    assert once["spec"]["containers"][0]["env"] == [
        {"name": "X", "value": "1"},
        {"name": "MODELCYCLE_INPUTS", "value": '["b","\\u0024(X)"]'},
    ]
    assert (is_telling(template), is_telling(once)) == (False, True)
