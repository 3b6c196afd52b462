"""Alarms as people see them: what matters most, and what is said once. Through observe, decide and the executor."""

import json
import re
from typing import Any

import numpy as np
import pytest

from fakes.counting_pods import BASE, CountingPod
from fakes.drift_lab import IMPORTANT, Shift
from fakes.judged_pods import Factory, JudgedPod
from modelcycle.drift import alarms
from modelcycle.drift import ledger as ledgers
from modelcycle.kube import kinds


async def test_one_spike_is_no_alarm_and_two_are_exactly_one_monitoring_11() -> None:
    line = Shift()
    await line.window(line.table(pressure=1.0))
    assert (line.alarms, line.plant.reason, line.plant.events) == ([], ("True", "Observing"), [])
    await line.window(line.table())
    assert line.alarms == []
    await line.window(line.table(pressure=0.6))
    (alarm,) = line.alarms
    assert (alarm["cause"], alarm["features"], alarm["since"]) == ("input-drift", ["pressure"], "2026-11-23T07:03:00Z")
    assert line.plant.reason == ("True", "DriftDetected")
    assert line.alerts() == [("Normal", "DriftDetected")]
    for _ in range(3):
        await line.window(line.table(pressure=0.6))
    assert [a["fingerprint"] for a in line.alarms] == [alarm["fingerprint"]]
    assert len(line.plant.events) == 1


async def test_drift_is_explained_in_words() -> None:
    line = Shift(features=IMPORTANT)
    for _ in range(2):
        await line.window(line.table(5000, temperature=1.0, pressure=0.5), answers=line.table(5000))
    drift, out_of_range = line.message.split("; ")
    assert re.fullmatch(r"P2: temperature above 0\.5\d+: 30 % -> \d\d % \(PSI 0\.9\d\), with pressure", drift)
    assert re.fullmatch(r"P3: temperature out of range: 0\.\d+ % -> 2\.\d %", out_of_range)
    first = line.alarms[0]
    assert (first["priority"], first["owner"], first["features"]) == ("P2", "line-3", ["temperature", "pressure"])
    assert line.plant.status["summary"]["priority"] == "P2"
    assert line.plant.status["summary"]["topFeature"] == "temperature"
    most = line.plant.status["judgement"]["most"][0]
    assert (most["name"], most["level"], most["cause"]) == ("temperature", "Critical", "input-drift")


@pytest.mark.parametrize(
    ("importance", "by", "priority"),
    [("high", 1.0, "P2"), ("high", 0.5, "P4"), ("medium", 1.0, "P4"), ("low", 3.0, "P4")],
)
async def test_input_drift_alone_is_never_p1(importance: str, by: float, priority: str) -> None:
    line = Shift(features=[{"name": "pressure", "importance": importance}])
    for _ in range(2):
        await line.window(line.table(2000, pressure=by))
    assert next(a["priority"] for a in line.alarms if a["cause"] == "input-drift") == priority


async def test_answers_that_moved_are_p2_and_named() -> None:
    line = Shift()
    for _ in range(2):
        await line.window(line.table(), answers=line.table(temperature=1.5))
    assert [(a["priority"], a["cause"]) for a in line.alarms] == [("P2", "output-drift")]
    assert set(line.alarms[0]["features"]) == {"predicted class", "confidence"}
    assert "predicted class 'bad': " in line.message


async def test_missing_values_are_p3_with_their_owner_monitoring_5() -> None:
    line = Shift(features=[{"name": "pressure", "owner": "historian"}])
    table = line.table(200)
    table[:10, 1] = float("nan")
    await line.window(table)
    (alarm,) = line.alarms
    assert (alarm["priority"], alarm["cause"], alarm["owner"]) == ("P3", "missing-values", "historian")
    assert line.message == "P3: pressure missing: 0 % -> 5 %"
    assert line.plant.reason == ("True", "DataQuality")
    assert line.plant.condition("Alarm")["reason"] == "DataQuality"
    assert line.plant.status["recommendation"]["action"] == "CheckData"
    assert line.alerts() == [("Warning", "DataQuality")]


async def test_importance_times_effect_ranks() -> None:
    line = Shift(features=[{"name": "speed", "importance": "low"}, {"name": "pressure", "importance": "high"}])
    for _ in range(2):
        await line.window(line.table(5000, speed=1.2, pressure=0.9))
    assert line.alarms[0]["features"] == ["pressure", "speed"]


async def test_alert_is_said_again_when_it_matters_more_or_spreads_and_when_it_is_over() -> None:
    line = Shift(features=[{"name": "pressure", "importance": "high"}])
    for _ in range(2):
        await line.window(line.table(5000, pressure=0.5))
    for _ in range(2):
        await line.window(line.table(5000, pressure=1.0))
    for _ in range(2):
        await line.window(line.table(5000, pressure=1.0, speed=0.6))
    drift = [e for e in line.plant.events if e.reason == "DriftDetected"]
    assert [(e.type.value, e.note[:2]) for e in drift] == [("Normal", "P4"), ("Warning", "P2"), ("Warning", "P2")]
    assert drift[2].note.endswith(", with speed")
    for _ in range(3):
        await line.window(line.table(5000))
    assert line.alarms == []
    assert line.plant.reason == ("True", "Observing")
    over = [e for e in line.plant.events if e.reason == "AlarmCleared"]
    assert [e.note for e in over if "input-drift" in e.note] == ["input-drift of pressure, speed is over"]
    assert line.plant.condition("Alarm") == {}
    assert line.plant.status["summary"]["topFeature"] == "-"
    assert "recommendation" not in line.plant.status


async def test_less_than_the_least_priority_is_told_and_not_alerted() -> None:
    line = Shift(actions={"alert": {"minPriority": "P3"}})
    for _ in range(2):
        await line.window(line.table(2000, pressure=0.6))
    assert [(a["priority"], a["did"]) for a in line.alarms] == [("P4", "nothing")]
    assert (line.plant.events, line.plant.condition("Alarm")) == ([], {})
    assert line.plant.reason == ("True", "DriftDetected")


async def test_alarms_survive_a_restart_word_for_word_engineering_2() -> None:
    line = Shift(features=IMPORTANT)
    for _ in range(2):
        await line.window(line.table(2000, temperature=1.5))
    before, events = line.plant.status, list(line.plant.events)
    line.plant.restart_operator()
    await line.plant.look(60 * line.minute + 2)
    assert line.plant.status == before
    assert line.plant.events == events
    await line.window(line.table(2000, temperature=1.5))
    assert [a["fingerprint"] for a in line.alarms] == [a["fingerprint"] for a in before["alarms"]]


async def test_judging_inside_a_window_writes_nothing_engineering_79() -> None:
    line = Shift()
    for _ in range(2):
        await line.window(line.table(pressure=1.0))
    before = line.plant.objects()
    for second in range(2, 58, 2):
        table = line.table(50, pressure=1.0)
        line.pod.predict(table, line.factory.answers(table))
        await line.plant.look(60 * line.minute + second)
    assert line.plant.objects() == before


async def test_three_pods_say_what_one_would_monitoring_16() -> None:
    """The same rows, once by one pod and once by three: word for word the same status."""
    said = []
    for pods in (1, 3):
        line = Shift()
        line.plant.pods = [line.factory.pod(f"p{at}", BASE - 1000) for at in range(pods)]
        line.factory.rng = np.random.default_rng(5)
        for minute in range(3):
            if not minute:
                await line.plant.look(0)
                await line.plant.look(0)
            table = line.table(900, pressure=1.0)
            for at, pod in enumerate(line.plant.pods):
                assert isinstance(pod, JudgedPod)
                pod.predict(table[at::pods], line.factory.answers(table[at::pods]))
            await line.plant.look(60 * (minute + 1))
        said.append({key: line.plant.status[key] for key in ("judgement", "lastWindow", "summary")})
        said[-1]["messages"] = [a["message"] for a in line.alarms]
    assert said[0] == said[1]


async def test_too_few_rows_are_said_with_how_long_it_takes_monitoring_2() -> None:
    line = Shift()
    await line.window(line.table(100))
    assert line.plant.reason == ("True", "InsufficientData")
    assert line.message == (
        "100 of 439 rows that a judgement of drift takes, since 2026-11-23T07:00:00Z; about 4m more at this rate"
    )
    await line.window(line.table(400))
    await line.window(line.table(219))
    assert line.plant.reason == ("True", "Observing")
    assert line.message.endswith(
        "; 219 of 439 rows that a judgement of drift takes, since 2026-11-23T07:02:00Z; about 61s more at this rate"
    )


async def test_no_traffic_is_insufficient_data_monitoring_1() -> None:
    line = Shift()
    await line.window(line.table(0))
    assert line.plant.reason == ("True", "InsufficientData")
    assert line.message == "no row was predicted in the last window"


async def test_q_is_in_status_monitoring_13() -> None:
    line = Shift(window={"length": "1h"})
    line.plant.now = 0
    await line.plant.look(0)
    await line.plant.look(0)
    table = line.table(1000)
    line.pod.predict(table, line.factory.answers(table))
    await line.plant.look(3600)
    made = line.plant.status["judgement"]
    assert float(made["falseDiscoveryRate"]) == pytest.approx(4.6e-4, rel=0.01)
    assert (made["rows"], made["rowsNeeded"], made["tests"]) == (1000, 439, 12)
    # Three features: a shift, missing values and a range each; the answers: classes, confidence, NaN.
    features = line.plant.status["lastWindow"]["features"]
    assert all(float(f["psi"]) < 0.1 for f in features)


async def test_unknown_profile_counts_on_and_judges_later() -> None:
    line = Shift()
    profiles, line.plant.profiles = line.plant.profiles, {}
    for _ in range(2):
        await line.window(line.table(pressure=0.6))
    assert line.plant.reason == ("False", "ProfileUnknown")
    assert line.plant.status["lastWindow"]["rows"] == 600
    assert line.alarms == []
    line.plant.profiles = profiles
    await line.plant.look(60 * line.minute + 2)
    assert line.plant.reason == ("True", "DriftDetected")
    assert line.alarms[0]["since"] == "2026-11-23T07:02:00Z"


async def test_profile_that_is_not_served_is_said_before_the_first_window_ends() -> None:
    line = Shift()
    line.plant.profiles = {}
    await line.plant.look(0)
    await line.plant.look(2)
    assert line.plant.reason == ("False", "ProfileUnknown")
    assert f"the reference profile {line.factory.profile.hash} is not known" in line.message


async def test_outage_holds_alarms() -> None:
    line = Shift()
    for _ in range(2):
        await line.window(line.table(pressure=1.0))
    before = line.alarms
    line.plant.outage = "pods of scrap could not be listed: Unavailable"
    await line.plant.look(60 * line.minute + 100)
    assert line.plant.reason == ("False", "NoData")
    assert line.alarms == before
    assert line.plant.condition("Alarm")["status"] == "True"


async def test_a_ledger_that_somebody_broke_does_not_end_an_alarm() -> None:
    line = Shift()
    for _ in range(2):
        await line.window(line.table(pressure=1.0))
    name = line.plant.counts_map()["metadata"]["name"]
    line.plant.kube.edit(kinds.CONFIG_MAP, "plant-7", name, lambda obj: obj["data"].update({ledgers.DATA_KEY: "{}"}))
    await line.plant.look(60 * line.minute + 2)
    assert line.plant.reason == ("False", "LedgerUnreadable")
    assert "AlarmCleared" not in [event.reason for event in line.plant.events]


async def test_inconsistent_counts_raise_no_alarm_monitoring_41() -> None:
    """A counter that ran backwards is left out, and what is left is not judged."""
    line = Shift()
    other = line.factory.pod("b", BASE - 1000)
    line.plant.pods.append(other)
    await line.window(line.table(pressure=3.0))
    table = line.table(pressure=3.0)
    line.pod.predict(table, line.factory.answers(table))
    other.counts = dict.fromkeys(other.counts, 7)
    await line.plant.look(90)
    other.counts = dict.fromkeys(other.counts, 1)
    await line.plant.look(120)
    assert line.plant.reason == ("False", "CountsInconsistent")
    assert [a for a in line.alarms if a["cause"] == "input-drift"] == []


async def test_ledger_of_the_version_before_is_judged_from_now_on() -> None:
    """Version 1 counted and judged nothing: its windows are judged when they are read."""
    line = Shift()
    for _ in range(2):
        await line.window(line.table(pressure=0.6))
    name = line.plant.counts_map()["metadata"]["name"]

    def older(obj: dict[str, Any]) -> None:
        raw = json.loads(obj["data"][ledgers.DATA_KEY])
        del raw["history"], raw["retrain"]
        obj["data"][ledgers.DATA_KEY] = json.dumps({**raw, "v": 1})

    line.plant.kube.edit(kinds.CONFIG_MAP, "plant-7", name, older)
    await line.plant.look(60 * line.minute + 2)
    assert line.alarms[0]["since"] == "2026-11-23T07:02:00Z"


async def test_status_stays_small_with_many_features() -> None:
    names = tuple(f"{'long name ' * 20}{at}" for at in range(150))
    line = Shift()
    line.factory = Factory(1, names=names)
    line.plant.profiles = {line.factory.profile.hash: line.factory.profile}
    line.pod = line.factory.pod("a", BASE - 1000)
    pods: list[CountingPod] = [line.pod]
    line.plant.pods = pods
    for _ in range(2):
        await line.window(line.factory.rows(600) + 2)
    (drift,) = [a for a in line.alarms if a["cause"] == "input-drift"]
    assert len(drift["features"]) == alarms.MAX_FEATURES
    assert drift["message"].endswith("and 146 more")
    assert len(str(line.plant.status)) < 200_000
