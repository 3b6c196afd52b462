"""An operator that gets no CPU: it is not restarted for that, people see that it does not answer, and it goes on where it was."""

import json
import os
import signal
import time
from typing import Final

import pytest

from demo.kubectl import Kubectl
from plant import Plant
from processes import operators, throttled

FROZEN: Final = 45.0
"""Without one turn: more than three probes and their timeouts."""
CROWDED: Final = 45.0
"""With a few milliseconds every ten seconds, as on a node at load 40."""

AT_START: Final = 65.0
"""With a hundredth of a core from its first moment on: longer than the 60 s that a start was once given, in probes of 1 s."""


def restarts(system: Kubectl) -> list[tuple[str, int]]:
    pods = json.loads(system.run("get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "json"))["items"]
    return [(p["metadata"]["uid"], s["restartCount"]) for p in pods for s in p["status"]["containerStatuses"]]


@pytest.mark.kills
def test_a_starved_operator_is_not_restarted_and_is_said_to_be_silent(system: Kubectl, plant: Plant) -> None:
    before, processes = restarts(system), operators()
    assert len(processes) == 1
    (pid,) = processes
    os.kill(pid, signal.SIGSTOP)
    try:
        plant.kubectl.apply(plant.experiment("starved", suspend=True))
        time.sleep(FROZEN)
        seen = plant.kubectl.plugin("status")
        explained = plant.kubectl.plugin("explain", "starved")
        head, row = plant.kubectl.run("get", "experiment", "starved", "-o", "wide").splitlines()
        end = time.monotonic() + CROWDED
        while time.monotonic() < end:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.02)
            os.kill(pid, signal.SIGSTOP)
            time.sleep(9.98)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "operator: no answer for " in seen
    assert "operator: no answer for " in explained
    gen, seen_at = head.index("GEN"), head.index("SEEN")
    assert (row[gen : gen + 4].strip(), row[seen_at : seen_at + 4].strip()) == ("1", "")
    answered = plant.kubectl.wait("experiment", "starved", lambda o: "observedGeneration" in o.get("status", {}), 120)
    assert answered["status"]["observedGeneration"] == answered["metadata"]["generation"]
    assert restarts(system) == before
    assert "operator: no answer" not in plant.kubectl.plugin("status")


def newest(before: list[int]) -> int:
    """The operator's process that was not there before."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if fresh := [pid for pid in operators() if pid not in before]:
            return fresh[0]
        time.sleep(0.02)
    raise AssertionError("no new operator came")


@pytest.mark.kills
def test_an_operator_that_is_starved_by_a_quota_while_it_starts_is_not_restarted_and_answers_afterwards(
    system: Kubectl, plant: Plant
) -> None:
    before = operators()
    system.run("delete", "pod", "-l", "app.kubernetes.io/component=operator", "--wait=false")
    with throttled(newest(before)):
        time.sleep(AT_START)
        plant.kubectl.apply(plant.experiment("early", suspend=True))
        assert started(system) == [(0, False)], "it starts still"
    answered = plant.kubectl.wait("experiment", "early", lambda o: "observedGeneration" in o.get("status", {}), 120)
    assert answered["status"]["observedGeneration"] == answered["metadata"]["generation"]
    system.run("wait", "pod", "-l", "app.kubernetes.io/component=operator", "--for=condition=Ready", "--timeout=60s")
    assert started(system) == [(0, True)]


def started(system: Kubectl) -> list[tuple[int, bool]]:
    """Restarts, and whether the startup probe has succeeded."""
    pods = json.loads(system.run("get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "json"))["items"]
    return [(s["restartCount"], s["started"]) for p in pods for s in p["status"]["containerStatuses"]]
