"""Gauges of our objects: what status says and no more, bounded, gone with the object."""

import math
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelcycle.kube import kinds
from modelcycle.kube.kinds import Kind
from modelcycle.objects import FAMILIES, PREFIX
from modelcycle.telemetry import Telemetry

Labels = dict[str, str]


def an_object(name: str = "scrap", spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "plant-7", "name": name}, "spec": spec or {}, "status": status}


def scraped(telemetry: Telemetry, name: str) -> list[tuple[Labels, float]]:
    """The series of one gauge, without the labels that name the object."""
    families = text_string_to_metric_families(telemetry.exposition().decode())
    found = [s for f in families for s in f.samples if s.name == f"{PREFIX}_{name}"]
    return [({k: v for k, v in s.labels.items() if k not in ("namespace", "deployment")}, s.value) for s in found]


def shown(kind: Kind, obj: dict[str, Any], name: str) -> list[tuple[Labels, float]]:
    telemetry = Telemetry()
    telemetry.seen(kind, obj)
    return scraped(telemetry, name)


CANARY: dict[str, Any] = {
    "stable": {"digest": "sha256:aa", "revision": "r1", "readyReplicas": 3},
    "canary": {
        "digest": "sha256:bb",
        "revision": "r2",
        "readyReplicas": 1,
        "stage": "Steps",
        "step": 1,
        "stepCount": 4,
        "weight": {"desired": "5", "applied": "4.5", "realised": "-"},
    },
    "analysis": {
        "rollout": "r1",
        "looks": 17,
        "metrics": [
            {
                "name": "errors",
                "verdict": "Continue",
                "canary": {"n": 120, "events": 1},
                "stable": {"n": 2280, "events": 9},
                "evidence": {"rollback": "0.41", "rollbackAt": "100", "promote": "2.3", "promoteAt": "20"},
                "needed": 302,
            }
        ],
    },
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("canary_share", [({"which": "desired"}, 0.05), ({"which": "applied"}, 0.045)]),
        ("rollout_step", [({}, 1)]),
        ("rollout_steps", [({}, 4)]),
        ("ready_replicas", [({"arm": "stable", "revision": "r1"}, 3), ({"arm": "canary", "revision": "r2"}, 1)]),
        ("analysis_looks", [({}, 17)]),
        ("analysis_requests_needed", [({"metric": "errors"}, 302)]),
        (
            "evidence",
            [
                ({"metric": "errors", "decision": "rollback"}, 0.41),
                ({"metric": "errors", "decision": "promote"}, 2.3),
            ],
        ),
        (
            "evidence_threshold",
            [({"metric": "errors", "decision": "rollback"}, 100), ({"metric": "errors", "decision": "promote"}, 20)],
        ),
        (
            "analysis_events",
            [({"metric": "errors", "arm": "stable"}, 9), ({"metric": "errors", "arm": "canary"}, 1)],
        ),
    ],
)
def test_a_rollout_shows_share_evidence_and_what_is_needed(name: str, expected: list[tuple[Labels, float]]) -> None:
    found = shown(kinds.MODEL_DEPLOYMENT, an_object(**CANARY), name)
    assert [labels for labels, _ in found] == [labels for labels, _ in expected]
    assert [value for _, value in found] == pytest.approx([value for _, value in expected])


def test_exactly_one_stage_holds_and_without_a_canary_the_share_is_known_to_be_zero() -> None:
    during = shown(kinds.MODEL_DEPLOYMENT, an_object(**CANARY), "rollout_stage")
    assert [labels["stage"] for labels, value in during if value] == ["Steps"]
    at_rest = an_object(stable={"readyReplicas": 3})
    assert [n["stage"] for n, v in shown(kinds.MODEL_DEPLOYMENT, at_rest, "rollout_stage") if v] == ["None"]
    assert [value for _, value in shown(kinds.MODEL_DEPLOYMENT, at_rest, "canary_share")] == [0, 0, 0]


def test_the_latest_rejection_and_promotion_are_told_with_their_time() -> None:
    obj = an_object(
        rejected=[
            {"revision": "b", "reason": "CanaryFailed", "at": "2026-11-23T07:10:00Z"},
            {"revision": "a", "reason": "Aborted", "at": "2026-11-23T07:00:00Z"},
        ],
        history=[{"to": "a", "at": "2026-11-23T06:00:00Z"}, {"to": "c", "at": "2026-11-23T07:20:00.5Z"}],
    )
    assert shown(kinds.MODEL_DEPLOYMENT, obj, "rejected_revisions") == [({}, 2)]
    ((labels, at),) = shown(kinds.MODEL_DEPLOYMENT, obj, "last_rejection_timestamp_seconds")
    assert labels == {"reason": "CanaryFailed"}
    ((_, promoted),) = shown(kinds.MODEL_DEPLOYMENT, obj, "last_promotion_timestamp_seconds")
    assert promoted - at == pytest.approx(600.5)


def test_a_monitor_shows_the_ten_features_that_moved_most_and_every_priority() -> None:
    features = [{"name": f"f{n:02}", "psi": f"0.{n:02}"} for n in range(1, 40)] + [{"name": "new", "psi": "-"}]
    monitor = an_object(
        spec={"targetRef": {"name": "scrap"}},
        lastWindow={"requests": 12840, "complete": "0.998", "features": features},
        alarms=[{"priority": "P2"}, {"priority": "P3"}, {"priority": "P3"}],
    )
    drifted = shown(kinds.DRIFT_MONITOR, monitor, "drift_psi")
    assert [(labels["feature"], value) for labels, value in drifted] == [
        (f"f{n:02}", n / 100) for n in range(39, 29, -1)
    ]
    alarms = shown(kinds.DRIFT_MONITOR, monitor, "drift_alarms")
    assert {labels["priority"]: value for labels, value in alarms} == {"P1": 0, "P2": 1, "P3": 2, "P4": 0}
    assert [value for _, value in shown(kinds.DRIFT_MONITOR, monitor, "drift_window_complete")] == [0.998]


def test_an_experiment_shows_trials_by_state_and_its_objective() -> None:
    experiment = an_object(
        trials={"total": 5, "succeeded": 3, "running": 1, "failed": 1, "metricsUnavailable": 0},
        currentOptimalTrial={
            "observation": {"metrics": [{"name": "roc_auc", "value": 0.98}, {"name": "brier", "value": 1}]}
        },
    )
    trials = {labels["state"]: value for labels, value in shown(kinds.EXPERIMENT, experiment, "trials")}
    assert trials == {"succeeded": 3, "running": 1, "failed": 1, "metricsUnavailable": 0}
    ((labels, value),) = shown(kinds.EXPERIMENT, experiment, "best_objective")
    assert (labels["metric"], value) == ("roc_auc", 0.98)


@pytest.mark.parametrize("kind", kinds.OWN_KINDS, ids=lambda kind: kind.kind)
def test_a_condition_is_a_series_with_its_reason(kind: Kind) -> None:
    conditions = [
        {"type": "Ready", "status": "False", "reason": "CanaryFailed"},
        {"type": "Stalled", "status": "True", "reason": "CanaryFailed"},
    ]
    found = shown(kind, an_object(conditions=conditions), "condition")
    assert [(labels["kind"], labels["type"], labels["reason"], value) for labels, value in found] == [
        (kind.kind, "Ready", "CanaryFailed", 0),
        (kind.kind, "Stalled", "CanaryFailed", 1),
    ]


@pytest.mark.parametrize("kind", kinds.OWN_KINDS, ids=lambda kind: kind.kind)
@pytest.mark.parametrize("raw", [None, "", "-", "nan", "5 %", [], {}, True])
def test_what_is_no_number_is_left_out_and_never_nan_monitoring_41(kind: Kind, raw: Any) -> None:
    status: dict[str, Any] = {
        "canary": {"weight": {"desired": raw}, "step": raw, "readyReplicas": raw},
        "analysis": {"looks": raw, "metrics": [{"name": "errors", "needed": raw, "evidence": {"rollback": raw}}]},
        "rejected": [{"at": raw}],
        "history": [{"at": raw}],
        "lastWindow": {"requests": raw, "features": [{"name": "t", "psi": raw}]},
        "trials": {"running": raw},
        "currentOptimalTrial": {"observation": {"metrics": [{"name": "m", "value": raw}]}},
    }
    telemetry = Telemetry()
    telemetry.seen(kind, an_object(**status))
    values = [value for family in FAMILIES for _, value in scraped(telemetry, family.name)]
    assert all(map(math.isfinite, values))


def test_series_end_with_their_object_however_its_end_is_learnt() -> None:
    telemetry = Telemetry()
    one, two = an_object("one", **CANARY), an_object("two", **CANARY)
    for obj in (one, two):
        telemetry.seen(kinds.MODEL_DEPLOYMENT, obj)
    telemetry.seen(kinds.EXPERIMENT, one)
    assert len(scraped(telemetry, "analysis_looks")) == 2
    telemetry.gone(kinds.MODEL_DEPLOYMENT, one)
    assert len(scraped(telemetry, "analysis_looks")) == 1
    telemetry.listed(kinds.MODEL_DEPLOYMENT, [])
    assert scraped(telemetry, "analysis_looks") == []
    assert len(scraped(telemetry, "trials")) == 4, "a list of one kind says nothing of another"


def test_a_later_status_replaces_the_earlier_one() -> None:
    telemetry = Telemetry()
    telemetry.seen(kinds.MODEL_DEPLOYMENT, an_object(**CANARY))
    telemetry.seen(kinds.MODEL_DEPLOYMENT, an_object(stable={"readyReplicas": 1}))
    assert scraped(telemetry, "evidence") == []
