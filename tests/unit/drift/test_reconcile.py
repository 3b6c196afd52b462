"""A DriftMonitor through observe, decide and the executor on an in-memory API: what is said, what is kept, what is never written."""

from typing import Any

import pytest

from fakes.counting_pods import BASE, OK, ROWS, CountingPod, at, bin_of
from fakes.drift_lab import KEY, Plant
from modelcycle.drift import ledger as ledgers
from modelcycle.engine.executor import Executor, Result
from modelcycle.engine.plan import Key
from modelcycle.kube import kinds
from modelcycle.kube.names import child_name


@pytest.fixture
def plant() -> Plant:
    return Plant()


async def observing(plant: Plant, **spec: Any) -> CountingPod:
    """A monitor that counts one pod, from second 0 on, in windows of 60 s."""
    pod = CountingPod("a", BASE - 1000)
    plant.pods.append(pod)
    plant.apply(**{"window": {"length": "60s"}, "interval": "2s", **spec})
    plant.deploy()
    await plant.look(0)
    await plant.look(0)
    return pod


async def test_waits_for_its_target(plant: Plant) -> None:
    plant.apply()
    await plant.look(0)
    assert plant.reason == ("False", "WaitingForTarget")
    assert "ModelDeployment scrap does not exist in namespace plant-7" in plant.condition("Reconciling")["message"]
    plant.deploy()
    plant.pods.append(CountingPod("a", BASE - 1000))
    await plant.look(2)
    assert plant.reason == ("True", "Observing")


async def test_reports_exact_windows(plant: Plant) -> None:
    pod = await observing(plant)
    pod.counts[bin_of("t", "missing")] = 0
    pod.serve(12)
    pod.counts[bin_of("t", "b00")] -= 12
    await plant.look(60)
    assert plant.status["lastWindow"] == {
        "start": "2026-11-23T07:00:00Z",
        "end": "2026-11-23T07:01:00Z",
        "requests": 12,
        "rows": 12,
        "complete": "1.000",
        "profile": "0123456789ab",
        "otherProfileRows": 0,
        "features": [{"name": "t", "rows": 12, "missing": 12, "below": 0, "above": 0, "bins": "0"}],
    }
    assert plant.status["summary"] == {
        "requests": "12",
        "window": "07:00:00-07:01:00",
        "features": "1",
        "priority": "-",
        "topFeature": "-",
    }
    assert plant.status["total"] == {"requests": 12, "rows": 12}
    assert (plant.status["observedGeneration"], plant.status["stateVersion"]) == (1, 2)


async def test_scrapes_inside_a_window_write_nothing_engineering_79(plant: Plant) -> None:
    pod = await observing(plant)
    before = plant.objects()
    for second in range(2, 60, 2):
        pod.serve(5)
        await plant.look(second)
    assert plant.objects() == before


async def test_restarted_operator_says_nothing_new_until_it_knows_engineering_2(plant: Plant) -> None:
    pod = await observing(plant)
    pod.serve(7)
    before = plant.objects()
    plant.restart_operator()
    plant.now = 20
    await plant.reconcile()
    assert plant.objects() == before
    await plant.look(60)
    assert plant.status["lastWindow"]["requests"] == 7


async def test_counts_map_is_ours_and_goes_with_the_monitor(plant: Plant) -> None:
    await observing(plant)
    meta = plant.counts_map()["metadata"]
    assert [(o["kind"], o["name"], o["controller"]) for o in meta["ownerReferences"]] == [
        ("DriftMonitor", "scrap", True)
    ]
    assert meta["labels"]["modelcycle.dev/monitor"] == "scrap"
    assert meta["name"].startswith("scrap-")
    assert meta["name"].endswith("-counts")


async def test_outage_holds_the_window_and_is_said_engineering_60(plant: Plant) -> None:
    pod = await observing(plant)
    pod.serve(3)
    plant.outage = "pods of scrap could not be listed: Unavailable"
    await plant.look(80)
    assert plant.reason == ("False", "NoData")
    assert "could not be listed: Unavailable; the open window is held" in plant.condition("Ready")["message"]
    assert "lastWindow" not in plant.status
    plant.outage = None
    await plant.look(200)
    assert plant.reason == ("True", "Observing")
    assert plant.status["lastWindow"]["requests"] == 3


async def test_deployment_without_pods_has_no_data(plant: Plant) -> None:
    plant.apply()
    plant.deploy()
    await plant.look(0)
    await plant.look(2)
    assert plant.reason == ("False", "NoData")
    assert plant.condition("Ready")["message"] == "ModelDeployment scrap has no running pod"


async def test_pods_that_do_not_answer_have_no_data_and_say_why(plant: Plant) -> None:
    plant.apply()
    plant.deploy()
    plant.pods.append(CountingPod("a", BASE, reachable=False))
    await plant.look(0)
    await plant.look(2)
    assert plant.reason == ("False", "NoData")
    assert "pod-a: connection failed" in plant.condition("Ready")["message"]


async def test_one_silent_pod_of_two_is_named_after_a_while(plant: Plant) -> None:
    plant.pods.append(CountingPod("b", BASE - 1000))
    await observing(plant)
    assert plant.condition("Ready")["message"] == "counting 2 pods of ModelDeployment scrap"
    plant.pods[0].reachable = False
    await plant.look(4)
    assert plant.condition("Ready")["message"] == "counting 2 pods of ModelDeployment scrap"
    await plant.look(20)
    assert plant.reason == ("True", "Observing")
    assert "counting 1 pod of ModelDeployment scrap; pod-b gives no counts" in plant.condition("Ready")["message"]


async def test_counter_running_backwards_is_a_condition_that_clears(plant: Plant) -> None:
    pod = await observing(plant)
    pod.serve(9)
    await plant.look(10)
    pod.counts[OK] = 1
    await plant.look(20)
    await plant.look(22)
    assert plant.reason == ("False", "CountsInconsistent")
    assert plant.condition("CountsInconsistent")["status"] == "True"
    assert "left out" in plant.condition("CountsInconsistent")["message"]
    await plant.look(60)
    assert plant.status["lastWindow"]["rows"] == 0
    pod.serve(4)
    await plant.look(120)
    assert plant.reason == ("True", "Observing")
    assert plant.condition("CountsInconsistent") == {}
    assert plant.status["lastWindow"]["rows"] == 4
    assert [event.reason for event in plant.events] == ["CountsInconsistent"]


async def test_suspended_monitor_reads_nothing_engineering_55(plant: Plant) -> None:
    pod = await observing(plant)
    pod.serve(5)
    plant.kube.edit(kinds.DRIFT_MONITOR, "plant-7", "scrap", lambda obj: obj["spec"].update(suspend=True))
    await plant.look(10)
    assert plant.reason == ("True", "Suspended")
    assert plant.status["lastWindow"]["requests"] == 5
    assert plant.sampler.latest(KEY) is None


async def test_name_taken_by_somebody_else_is_never_written_engineering_35(plant: Plant) -> None:
    plant.apply()
    plant.deploy()
    uid = (plant.kube.read(kinds.DRIFT_MONITOR, "plant-7", "scrap") or {})["metadata"]["uid"]
    monitor_name = child_name("scrap", uid, "counts")
    body = {"metadata": {"name": monitor_name}, "data": {"mine": "x"}}
    plant.kube.seed(kinds.CONFIG_MAP, "plant-7", body)
    plant.pods.append(CountingPod("a", BASE))
    await plant.look(0)
    await plant.look(2)
    assert plant.reason == ("False", "NameTaken")
    assert plant.condition("Stalled")["status"] == "True"
    assert plant.counts_map()["data"] == {"mine": "x"}
    assert [event.reason for event in plant.events] == ["NameTaken"]


async def test_ledger_that_somebody_broke_is_said_and_not_overwritten(plant: Plant) -> None:
    await observing(plant)
    name = plant.counts_map()["metadata"]["name"]
    plant.kube.edit(kinds.CONFIG_MAP, "plant-7", name, lambda obj: obj["data"].update({ledgers.DATA_KEY: "{}"}))
    await plant.look(60)
    assert plant.reason == ("False", "LedgerUnreadable")
    assert plant.counts_map()["data"] == {ledgers.DATA_KEY: "{}"}
    plant.kube.remove(kinds.CONFIG_MAP, "plant-7", name)
    await plant.look(62)
    assert plant.reason == ("True", "InsufficientData")


async def test_too_many_series_are_refused_in_words(plant: Plant) -> None:
    for number in range(40):
        pod = CountingPod(f"pod-{number}", BASE - 1000)
        pod.counts.update({bin_of(f"feature {f}", f"b{b:02d}"): 10**7 for f in range(200) for b in range(13)})
        plant.pods.append(pod)
    await observing(plant)
    assert plant.reason == ("False", "LedgerTooLarge")
    assert plant.kube.find(kinds.CONFIG_MAP, "plant-7") == []


async def test_status_of_a_newer_operator_is_left_alone_and_said(plant: Plant) -> None:
    plant.apply()
    plant.deploy()
    plant.kube.set_status(kinds.DRIFT_MONITOR, "plant-7", "scrap", {"stateVersion": 3, "windows": 7})
    await plant.look(0)
    await plant.look(1)
    assert (plant.status["stateVersion"], plant.status["windows"]) == (3, 7)
    assert plant.reason == ("False", "NewerState")
    assert [event.reason for event in plant.events] == ["NewerState"]


async def test_conflicting_write_of_a_second_operator_is_refused_not_added_engineering_39(plant: Plant) -> None:
    pod = await observing(plant)
    pod.serve(8)
    plant.now = 60
    await plant.sampler._read_once(KEY)
    world = await plant.reconciler.observe(KEY, at(60))
    assert world is not None
    await plant.look(60)
    outcome = await Executor(plant.kube, plant).run(plant.reconciler.decide(world))
    assert outcome.result is Result.OBSERVE_AGAIN
    stored = ledgers.parse(plant.counts_map()["data"][ledgers.DATA_KEY])
    assert stored.counts.totals[ROWS] == 8


async def test_gone_monitor_is_forgotten(plant: Plant) -> None:
    await observing(plant)
    plant.kube.remove(kinds.DRIFT_MONITOR, "plant-7", "scrap")
    assert await plant.reconciler.observe(KEY, at(4)) is None
    assert plant.sampler.latest(KEY) is None


async def test_two_profiles_are_never_added_up(plant: Plant) -> None:
    pod = await observing(plant)
    pod.serve(5)
    newer = CountingPod("n", BASE + 10, counts={ROWS: 0, OK: 0, bin_of("t", "b00", "ffff"): 0})
    newer.serve(20)
    plant.pods.append(newer)
    await plant.look(60)
    window = plant.status["lastWindow"]
    assert (window["rows"], window["profile"], window["otherProfileRows"]) == (25, "ffff", 5)
    assert [f["rows"] for f in window["features"]] == [20]


def test_looks_again_when_its_deployment_changes(plant: Plant) -> None:
    obj = {"metadata": {"namespace": "plant-7", "name": "scrap"}, "spec": {"targetRef": {"name": "paint"}}}
    assert plant.reconciler.references(obj) == (Key("ModelDeployment", "plant-7", "paint"),)
