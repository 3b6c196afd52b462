"""A change of `server.resources` alone: the pods are replaced without a canary, and the history stays what it was."""

from typing import Any

import pytest

from fakes.canary_lab import STEPS, canary_spec, shares
from fakes.deployment_lab import IMAGE, NAMESPACE, Lab, digest
from fakes.workloads import Behaviour
from modelcycle.kube.kinds import CONTROLLER_REVISION, DEPLOYMENT

LARGER = {"requests": {"memory": "256Mi"}, "limits": {"memory": "1Gi"}}


def sized(resources: dict[str, Any] | None, letter: str = "a", **more: Any) -> dict[str, Any]:
    spec = canary_spec(letter, STEPS, **more)
    return spec | {"server": spec["server"] | ({"resources": resources} if resources else {})}


def memory(gigabytes: int) -> dict[str, Any]:
    return {"limits": {"memory": f"{gigabytes}Gi"}, "requests": {"memory": "128Mi"}}


async def serving(rate: float = 100.0, **more: Any) -> Lab:
    lab = Lab()
    lab.apply(**canary_spec("a", **more))
    await lab.run(seconds=10)
    assert lab.reason == "Serving"
    lab.arms.rate = rate
    return lab


async def test_other_resources_replace_the_pods_without_a_canary_and_keep_the_history() -> None:
    lab = await serving()
    before = lab.status
    lab.serving_image = IMAGE.replace("1" * 64, "2" * 64)
    lab.apply(**sized(LARGER))
    told: set[int] = set()
    for _ in range(60):
        await lab.run(seconds=1)
        told |= {share for by_pod in shares(lab).values() for share in by_pod}
    assert lab.reason == "Serving"
    assert told == {0, 10000}
    assert lab.arms.bad_answers == 0
    assert lab.status["history"] == before["history"]
    assert lab.status["stable"]["number"] == before["stable"]["number"] == 1
    (running,) = [d for d in lab.kube.find(DEPLOYMENT, NAMESPACE) if d["spec"]["replicas"]]
    pod = running["spec"]["template"]["spec"]
    assert [c["resources"]["limits"] for c in (*pod["initContainers"], *pod["containers"])] == [LARGER["limits"]] * 2
    assert {c["image"] for c in (*pod["initContainers"], *pod["containers"])} == {IMAGE}
    lab.arms.rate = 0
    assert await lab.quiet() == []


async def test_resources_edited_again_and_again_do_not_displace_the_model_before() -> None:
    lab = await serving(revisionHistoryLimit=1)
    lab.apply(**sized(None, "b", revisionHistoryLimit=1))
    await lab.run(seconds=180, until=lambda: lab.reason == "Serving" and lab.serving == "b")
    for gigabytes in (1, 2, 3, 1):
        lab.apply(**sized(memory(gigabytes), "b", revisionHistoryLimit=1))
        await lab.run(seconds=60)
        assert (lab.reason, lab.serving, lab.status["stable"]["number"]) == ("Serving", "b", 2)
    letters = sorted(r["data"]["digest"][7] for r in lab.kube.find(CONTROLLER_REVISION, NAMESPACE))
    assert letters == ["a", "b"]
    assert [entry["reason"] for entry in lab.status["history"]] == ["Ready", "Evidence"]


async def test_other_resources_together_with_another_model_are_a_canary() -> None:
    lab = await serving(rate=5)
    lab.apply(**sized(LARGER, "b"))
    await lab.run(seconds=20)
    assert (lab.status["canary"]["stage"], lab.status["canary"]["number"]) == ("Steps", 2)


async def test_pods_that_do_not_start_at_the_new_size_leave_the_old_ones_and_another_size_is_tried() -> None:
    lab = await serving()
    lab.behaviours[digest("a")] = Behaviour.CRASHING
    lab.apply(**sized(memory(1)), progressDeadlineSeconds=30)
    await lab.run(seconds=60)
    assert (lab.reason, lab.condition("Available")["status"]) == ("ServerFailed", "True")  # type: ignore[index]
    lab.behaviours[digest("a")] = Behaviour.HEALTHY
    lab.apply(**sized(memory(2)), progressDeadlineSeconds=30)
    await lab.run(seconds=60)
    assert (lab.reason, lab.status["stable"]["number"], len(lab.status["history"])) == ("Serving", 1, 1)


async def test_size_that_somebody_aborted_does_not_stand_in_the_way_of_the_next() -> None:
    lab = await serving()
    lab.behaviours[digest("a")] = Behaviour.SLOW
    lab.apply(**sized(memory(1)))
    await lab.run(seconds=5)
    lab.apply(**sized(memory(1)), requests=[{"id": "1", "verb": "Abort", "by": "ada"}])
    await lab.run(seconds=30)
    assert lab.reason == "Aborted"
    lab.behaviours[digest("a")] = Behaviour.HEALTHY
    lab.apply(**sized(memory(2)))
    await lab.run(seconds=60)
    assert lab.reason == "Serving"


@pytest.mark.parametrize("source", ["Request", "Git"])
async def test_other_resources_of_an_approved_model_wait_for_nobody(source: str) -> None:
    lab = await serving()
    lab.enforce_policies()
    lab.apply(**sized(LARGER), approval={"required": True, "source": source})
    await lab.run(seconds=60)
    assert (lab.reason, lab.status["stable"]["number"]) == ("Serving", 1)
