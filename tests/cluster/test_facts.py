"""Facts larger than a termination message, on the real thing: out of the pod by its log, kept in ConfigMaps and in the store."""

import json
from typing import Any

from demo import records
from demo.kubectl import describe, is_current, is_stalled
from plant import Plant
from told_by_logs import messages_lost

SECONDS = 240.0
CONSTANT = 120
"""Columns with one value: each has a note, and together they are larger than a termination message."""
TASKS = ("inspect", "collect", "compare", "seal", "-t0")


def with_constants() -> bytes:
    """The usual records and columns that say nothing."""
    head, *rows = records.as_csv(records.usual()).decode().splitlines()
    names = ",".join(f"a sensor that was never connected {at}" for at in range(CONSTANT))
    return "\n".join([f"{names},{head}", *(f"{'0,' * CONSTANT}{row}" for row in rows)]).encode()


def facts(plant: Plant) -> list[dict[str, Any]]:
    listed = plant.kubectl.run("get", "configmaps", "-l", "app.kubernetes.io/component=facts", "-o", "json")
    return list(json.loads(listed)["items"])


def tasks_of(config_map: dict[str, Any]) -> str:
    """Which Job's facts they are, by the end of its name."""
    job: str = config_map["metadata"]["annotations"]["modelcycle.dev/job"]
    return next(task for task in TASKS if task in job)


def test_the_report_of_inspect_comes_home_by_the_log_and_lies_in_the_store(plant: Plant) -> None:
    experiment = plant.experiment("noted", data={"uri": plant.put("constants.csv", with_constants())})
    with messages_lost(plant.kubectl, "noted", mute="trial"):
        plant.kubectl.apply(experiment)
        done = plant.kubectl.wait("experiment", "noted", lambda o: is_current(o) or is_stalled(o), SECONDS)
    assert is_current(done), describe(done)
    told = {tasks_of(one): one for one in facts(plant)}
    # The trial told nothing at all: a Job read its result back from the store, and told it by its own log.
    assert told.keys() == {"inspect", "collect", "seal"}
    collected = json.loads(told["collect"]["data"]["facts.json"])
    assert collected["candidate_digest"] == done["status"]["model"]["digest"]
    assert "FactsIncomplete" not in {c["type"] for c in done["status"]["conditions"]}
    kept = told["inspect"]
    report = json.loads(kept["data"]["facts.json"])
    constant = [note["name"] for note in report["column_notes"] if note["constant"]]
    assert len(constant) == CONSTANT
    assert len(kept["data"]["facts.json"]) > 4096
    assert kept["immutable"]
    assert report["data_digest"] == done["status"]["data"]["digest"]
    stored = [e.path for e in plant.models.list(plant.name) if "/inspections/" in e.path]
    assert [json.loads(plant.models.get(path)) for path in stored] == [report]
