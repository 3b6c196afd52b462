"""A minute without Prometheus in mid-canary; meanwhile SIGKILL of the operator in each stage of another rollout.

Both end as they would have undisturbed.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from canary_ground import Ground, Line, canary, counted, eventually, reason, rejections
from demo.kubectl import Kubectl, describe, is_current, is_stalled
from outage import Outage, told, without_prometheus
from processes import operators

pytestmark = [pytest.mark.kills, pytest.mark.timeout(900)]
OUTAGE_SECONDS = 60.0
BY_PROMETHEUS = {"interval": "2s", "source": "Prometheus"}


@pytest.fixture(scope="module")
def lines(shared_ground: Ground) -> dict[str, Line]:
    """The usual model served to clients on two lines."""
    made = {"metered": shared_ground.line("metered"), "killed": shared_ground.line("killed", 2)}
    for line in made.values():
        line.ask(shared_ground.usual)
    for line in made.values():
        assert is_current(seen := line.ended()), describe(seen)
        line.load()
    return made


@pytest.fixture(scope="module")
def outage(shared_ground: Ground, lines: dict[str, Line]) -> Iterator[Outage]:
    """A rollout that is judged by Prometheus is under way when Prometheus stops."""
    line = lines["metered"]
    line.ask(shared_ground.equal, analysis=BY_PROMETHEUS)
    line.wait(lambda o: counted(o)[0] > 0)
    with without_prometheus(line) as begun:
        yield begun


Point = Callable[[Mapping[str, Any]], bool]
PROMOTION: Mapping[str, Point] = {
    "Starting": lambda o: canary(o).get("stage") == "Starting",
    "Steps": lambda o: canary(o).get("stage") == "Steps" and counted(o)[0] > 0,
    "Capacity": lambda o: canary(o).get("stage") == "Capacity",
    "Forwarding": lambda o: canary(o).get("stage") == "Forwarding",
    "GuardWindow": lambda o: not canary(o) and "retiring" in o["status"],
}
ROLLBACK: Mapping[str, Point] = {
    "Shared": lambda o: canary(o).get("weight", {}).get("desired") == "50",
    "Rejected": lambda o: not canary(o) and len(rejections(o)) == 1,
}


def kill_at(points: Mapping[str, Point], system: Kubectl, line: Line) -> dict[str, dict[str, Any]]:
    """Kill the operator as soon as each of the points is seen; the states in which they were."""
    seen: dict[str, dict[str, Any]] = {}
    with line.states() as states:
        for state in states:
            for name in [name for name, reached in points.items() if name not in seen and reached(state)]:
                seen[name] = state
                eventually(lambda: bool(operators()), "an operator runs")
                for pid in operators():
                    os.kill(pid, signal.SIGKILL)
                # A new pod, or the kubelet's growing back-off between restarts of one container would make the test wait.
                selector = "app.kubernetes.io/component=operator"
                system.run("delete", "pod", "-l", selector, "--grace-period=0", "--force")
            if len(seen) == len(points):
                return seen
    raise AssertionError(f"the watch ended after {list(seen)}")


def test_operator_killed_in_each_stage_of_promotion_and_rollback_engineering_1(
    system: Kubectl, shared_ground: Ground, lines: dict[str, Line], outage: Outage
) -> None:
    line = lines["killed"]
    line.ask(shared_ground.equal, guard="15s")
    states = kill_at(PROMOTION, system, line)
    status = states["GuardWindow"]["status"]
    answers = line.answers(status["retiring"]["revision"], status["analysis"]["rollout"])
    assert counted(states["Steps"])[1] < counted(states["GuardWindow"])[1] <= answers
    done = line.ended()
    assert is_current(done), describe(done)
    assert done["status"]["stable"]["digest"] == shared_ground.equal.digest
    assert [entry["reason"] for entry in done["status"]["history"]] == ["Ready", "Evidence"]
    line.ask(shared_ground.broken)
    kill_at(ROLLBACK, system, line)
    done = line.ended()
    assert is_stalled(done), describe(done)
    assert done["status"]["stable"]["digest"] == shared_ground.equal.digest
    assert rejections(done)[shared_ground.broken.digest] in ("CanaryFailFast", "CanaryFailed")
    stable = done["status"]["stable"]["revision"]
    eventually(lambda: all(line.page(p["metadata"]["name"]).share == 0 for p in line.pods(stable)), "no pod hands on")
    eventually(lambda: not line.pods(done["status"]["rejected"][-1]["revision"]), "no pod of the canary is left")
    everything, _ = line.clients.stop()
    assert everything.failed == 0, everything


def test_prometheus_stopped_for_a_minute_holds_the_rollout_delivery_32_monitoring_19(
    shared_ground: Ground, lines: dict[str, Line], outage: Outage
) -> None:
    line = lines["metered"]
    line.wait(lambda o: time.monotonic() > outage.began + OUTAGE_SECONDS)
    line.wait(lambda o: reason(o) == "MetricsUnavailable" and "Prometheus" in describe(o))
    during = list(outage.states)
    assert {(canary(o)["digest"], canary(o)["weight"]["desired"]) for o in during} == {
        (shared_ground.equal.digest, "50")
    }
    assert told(during) == ["CanaryInProgress", "MetricsUnavailable"]
    outage.end()
    done = line.ended()
    assert is_current(done), describe(done)
    assert done["status"]["stable"]["digest"] == shared_ground.equal.digest
    assert done["status"]["history"][-1]["reason"] == "Evidence"
    everything, _ = line.clients.stop()
    assert everything.failed == 0, everything
    assert counted(done)[0] < counted(done)[1] <= everything.requests
