"""Which Experiment of a lineage is followed."""

from typing import Any

from modelcycle.deployment.lineage import follow


def experiment(name: str, created: str, digest: str | None = None, **status: Any) -> dict[str, Any]:
    model = {"model": {"uri": f"s3://m/{name}", "digest": digest}} if digest else {}
    return {"metadata": {"name": name, "creationTimestamp": f"2026-11-{created}T00:00:00Z"}, "status": model | status}


ROOT = experiment("scrap", "01", "sha256:1")
UNTRAINED_ROOT = experiment("scrap", "01")
OLDER, NEWER = experiment("scrap-aa", "02", "sha256:2"), experiment("scrap-bb", "03", "sha256:3")
STALLED = [{"type": "Ready", "status": "False", "reason": "MaxFailedTrialsReached"}]


def test_without_a_retrain_the_named_one_is_followed() -> None:
    assert follow(ROOT, []) is ROOT
    assert follow(UNTRAINED_ROOT, []) is UNTRAINED_ROOT
    assert follow(None, []) is None


def test_newest_sealed_retrain_is_followed_in_whatever_order_they_are_listed() -> None:
    assert follow(ROOT, [OLDER, NEWER]) is NEWER
    assert follow(ROOT, [NEWER, OLDER]) is NEWER


def test_unfinished_or_failed_retrain_changes_nothing_monitoring_36() -> None:
    running = experiment("scrap-cc", "04")
    failed = experiment("scrap-dd", "05", conditions=STALLED)
    without_status = {"metadata": {"name": "scrap-ee", "creationTimestamp": "2026-11-06T00:00:00Z"}}
    assert follow(ROOT, [running, failed, without_status]) is ROOT
    assert follow(ROOT, [OLDER, running, failed, without_status]) is OLDER


def test_retrain_that_searches_on_after_it_was_sealed_stays_followed() -> None:
    more = experiment("scrap-cc", "04", "sha256:4", conditions=[{"type": "Ready", "status": "False"}])
    assert follow(ROOT, [OLDER, more]) is more


def test_retrain_on_its_way_out_is_not_followed() -> None:
    going = {**NEWER, "metadata": {**NEWER["metadata"], "deletionTimestamp": "2026-11-09T00:00:00Z"}}
    assert follow(ROOT, [OLDER, going]) is OLDER


def test_equal_times_are_decided_by_name() -> None:
    twin = experiment("scrap-zz", "03", "sha256:9")
    assert follow(ROOT, [twin, NEWER]) is twin
    assert follow(ROOT, [NEWER, twin]) is twin


def test_lineage_outlives_its_root() -> None:
    assert follow(None, [OLDER]) is OLDER
