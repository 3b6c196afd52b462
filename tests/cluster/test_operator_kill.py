"""SIGKILL of the operator at ten points of the loop: same end state, no second Job for a trial, no lost trial."""

import json
import os
import signal
import time
from typing import Any

import pytest

from demo.kubectl import Kubectl, KubectlError, describe, is_current, is_stalled
from plant import Plant
from processes import operators

SECONDS = 400.0
AT_ONCE: dict[str, Any] = {"canary": {"steps": []}}
"""Nobody asks this model anything, so there would be no evidence to wait for."""


class Killer:
    """Sends SIGKILL to the operator whenever an object's status is seen to have moved on, at most `count` times."""

    def __init__(self, system: Kubectl, count: int) -> None:
        self.system, self.left, self.seen = system, count, set[str]()

    def __call__(self, obj: dict[str, Any]) -> None:
        status = obj.get("status", {})
        mark = json.dumps(
            [obj["kind"], obj["metadata"]["name"], status.get("summary"), status.get("trials"), describe(obj)]
        )
        if mark in self.seen or not self.left:
            return
        self.seen.add(mark)
        processes = operators()
        if not processes:  # still starting after the last kill
            return
        self.left -= 1
        for pid in processes:
            os.kill(pid, signal.SIGKILL)
        # A new pod, or the kubelet's growing back-off between restarts of one container would make the test wait for minutes.
        self.system.run("delete", "pod", "-l", "app.kubernetes.io/component=operator", "--grace-period=0", "--force")


@pytest.mark.kills
def test_killed_at_ten_points_the_loop_ends_the_same_engineering_1(system: Kubectl, plant: Plant) -> None:
    kill = Killer(system, 10)
    search = plant.experiment(
        "killed",
        parameters=[{"name": "max_depth", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "4"}}],
        algorithm={"algorithmName": "grid"},
        maxTrialCount=4,
        parallelTrialCount=2,
        trainer={"estimator": "sklearn.tree.DecisionTreeClassifier"},
    )
    plant.kubectl.apply(search)
    done = plant.kubectl.wait("experiment", "killed", lambda o: is_current(o) or is_stalled(o), SECONDS, each=kill)
    assert is_current(done), describe(done)
    assert done["status"]["summary"]["trials"] == "4/4"
    assert [t["index"] for t in sorted(done["status"]["recentTrials"], key=lambda t: t["index"])] == [0, 1, 2, 3]
    plant.kubectl.apply(plant.deployment("killed", strategy=AT_ONCE, model={"experimentRef": {"name": "killed"}}))
    served = plant.kubectl.wait(
        "modeldeployment", "killed", lambda o: is_current(o) or is_stalled(o), SECONDS, each=kill
    )
    assert is_current(served), describe(served)
    assert served["status"]["stable"]["digest"] == done["status"]["model"]["digest"]
    again = plant.experiment(
        "again", trainer={"estimator": "sklearn.linear_model.LogisticRegression", "fixed": {"max_iter": 2000}}
    )
    plant.kubectl.apply(again)
    second = plant.kubectl.wait("experiment", "again", lambda o: is_current(o) or is_stalled(o), SECONDS, each=kill)
    assert is_current(second), describe(second)
    plant.kubectl.apply(plant.deployment("killed", strategy=AT_ONCE, model={"experimentRef": {"name": "again"}}))
    replaced = plant.kubectl.wait(
        "modeldeployment",
        "killed",
        lambda o: (
            (is_current(o) or is_stalled(o)) and o["status"]["stable"]["digest"] == second["status"]["model"]["digest"]
        ),
        SECONDS,
        each=kill,
    )
    assert is_current(replaced), describe(replaced)
    assert kill.left == 0, f"only {10 - kill.left} kills happened"
    _no_trial_ran_twice(plant)


def _no_trial_ran_twice(plant: Plant) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            events = json.loads(
                plant.kubectl.run("get", "events", "--field-selector", "reason=SuccessfulCreate", "-o", "json")
            )["items"]
            break
        except KubectlError:
            time.sleep(1)
    else:
        raise AssertionError("no events could be read")
    jobs: dict[str, set[str]] = {}
    for event in events:
        if event["involvedObject"]["kind"] == "Job":
            jobs.setdefault(event["involvedObject"]["name"], set()).add(event["involvedObject"]["uid"])
    assert jobs
    assert {name: len(uids) for name, uids in jobs.items() if len(uids) > 1} == {}
