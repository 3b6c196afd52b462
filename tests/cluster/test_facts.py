"""Facts larger than a termination message, on the real thing: out of the pod by its log, kept in ConfigMaps and in the store."""

import json
from typing import Any

from demo import records
from demo.kubectl import is_current, is_stalled
from plant import Plant

SECONDS = 240.0
CONSTANT = 120
"""Columns with one value: each has a note, and together they are larger than a termination message."""


def with_constants() -> bytes:
    """The usual records and columns that say nothing."""
    head, *rows = records.as_csv(records.usual()).decode().splitlines()
    names = ",".join(f"a sensor that was never connected {at}" for at in range(CONSTANT))
    return "\n".join([f"{names},{head}", *(f"{'0,' * CONSTANT}{row}" for row in rows)]).encode()


def facts(plant: Plant) -> list[dict[str, Any]]:
    listed = plant.kubectl.run("get", "configmaps", "-l", "app.kubernetes.io/component=facts", "-o", "json")
    return list(json.loads(listed)["items"])


def test_the_report_of_inspect_comes_home_by_the_log_and_lies_in_the_store(plant: Plant) -> None:
    plant.kubectl.apply(plant.experiment("noted", data={"uri": plant.put("constants.csv", with_constants())}))
    done = plant.kubectl.wait("experiment", "noted", lambda o: is_current(o) or is_stalled(o), SECONDS)
    (kept,) = facts(plant)
    report = json.loads(kept["data"]["facts.json"])
    constant = [note["name"] for note in report["column_notes"] if note["constant"]]
    assert len(constant) == CONSTANT
    assert len(kept["data"]["facts.json"]) > 4096
    assert kept["immutable"]
    assert report["data_digest"] == done["status"]["data"]["digest"]
    stored = [e.path for e in plant.models.list(plant.name) if "/inspections/" in e.path]
    assert [json.loads(plant.models.get(path)) for path in stored] == [report]
