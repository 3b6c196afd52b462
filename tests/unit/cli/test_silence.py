"""What `status` and `explain` say of an operator that does not answer: for how long, and how often it was restarted."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelcycle.cli import status
from modelcycle.cli.explain import explain
from modelcycle.cli.silence import silence

NOW = datetime(2026, 12, 1, 8, 0, tzinfo=UTC)


def ago(**span: int) -> str:
    return (NOW - timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


def changed(written: str, observed: int | None = 1) -> dict[str, Any]:
    fields = [
        {"manager": "kubectl", "time": written},
        {"manager": "modelcycle-status", "subresource": "status", "time": ago(seconds=1)},
    ]
    meta = {"name": "scrap", "namespace": "plant-7", "generation": 2, "creationTimestamp": ago(hours=9)}
    told = {} if observed is None else {"observedGeneration": observed}
    return {"kind": "ModelDeployment", "metadata": {**meta, "managedFields": fields}, "spec": {}, "status": told}


def pod(ready: str, since: str, restarts: int = 0) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": since}]
    return {
        "metadata": {"creationTimestamp": ago(hours=1)},
        "status": {"conditions": conditions, "containerStatuses": [{"restartCount": restarts}]},
    }


@pytest.mark.parametrize(
    ("objects", "pods", "words"),
    [
        ([changed(ago(minutes=4))], [pod("True", ago(hours=2), 5)], "operator: no answer for 4 min, 5 restarts"),
        ([changed(ago(minutes=4))], None, "operator: no answer for 4 min, its pods are not yours to read"),
        ([changed(ago(minutes=4))], [], "operator: no answer for 4 min, it has no pod"),
        ([changed(ago(seconds=5))], [pod("True", ago(hours=2), 5)], ""),
        ([changed(ago(hours=1), 2)], [pod("True", ago(hours=2), 5)], ""),
        ([changed(ago(hours=1), 2)], [pod("False", ago(minutes=14), 1)], "operator: no answer for 14 min, 1 restart"),
        ([changed(ago(hours=1), 2)], [pod("False", ago(minutes=14)), pod("True", ago(minutes=1))], ""),
        ([changed(ago(seconds=90), None)], [pod("True", ago(hours=2))], "operator: no answer for 90 s"),
        ([], [{"metadata": {"creationTimestamp": ago(hours=3)}}], "operator: no answer for 3 h"),
        ([changed("soon")], [{}], "operator: no answer for 9 h"),
        ([], None, ""),
    ],
)
def test_the_line(objects: list[dict[str, Any]], pods: list[dict[str, Any]] | None, words: str) -> None:
    assert silence(objects, pods, NOW) == words


def test_it_is_the_first_thing_that_is_said() -> None:
    words = "operator: no answer for 4 min, 5 restarts"
    assert words in explain(changed(ago(minutes=4)), words).as_text().split("Conditions")[0]
    assert status.overview("plant-7", [changed(ago(minutes=4))], words).operator == words
