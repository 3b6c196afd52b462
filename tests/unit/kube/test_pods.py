"""A pod that has ended is no pod of an attempt, whatever its status told last."""

from typing import Any

import pytest

from modelcycle.jobs.views import pod_view
from modelcycle.kube.pods import has_ended


def pod(phase: str, state: dict[str, Any], scheduled: str = "True") -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": scheduled, "reason": "Unschedulable", "message": "no node"}
    containers = [{"name": "main", "state": state}]
    return {
        "metadata": {"name": "p"},
        "status": {"phase": phase, "conditions": [condition], "containerStatuses": containers},
    }


@pytest.mark.parametrize(
    ("phase", "ended"),
    [("Failed", True), ("Succeeded", True), ("Running", False), ("Pending", False), ("Unknown", False)],
)
def test_phases_that_end_a_pod(phase: str, ended: bool) -> None:
    assert has_ended(pod(phase, {})) is ended
    assert not has_ended({"metadata": {"name": "p"}})


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ContainerCreating", "CreateContainerError"])
def test_evicted_pod_of_a_job_waits_for_nothing(reason: str) -> None:
    waits = {"waiting": {"reason": reason}}
    alive, evicted = pod_view(pod("Pending", waits)), pod_view(pod("Failed", waits))
    assert alive.image_problem or alive.not_starting
    assert (evicted.image_problem, evicted.not_starting, evicted.unschedulable) == ("", "", "")
    assert pod_view(pod("Failed", {}, "False")).unschedulable == ""


def test_pod_lost_with_its_node_does_not_run() -> None:
    runs: dict[str, Any] = {"running": {"startedAt": "2026-11-24T08:00:00Z"}}
    assert pod_view(pod("Running", runs)).running
    assert not pod_view(pod("Failed", runs)).running


def test_what_an_ended_pod_came_to_is_still_read() -> None:
    view = pod_view(pod("Failed", {"terminated": {"exitCode": 1, "message": "why"}}))
    assert (view.exit_code, view.message) == (1, "why")
