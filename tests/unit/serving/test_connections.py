"""What becomes of a connection, by stage, age and drain: pure decisions."""

import pytest

from modelcycle_serving.connections import DrainPolicy, Fate, Limits, Stage, drain_over, fate

LIMITS = Limits(head_timeout=10, body_timeout=30, write_timeout=30, keep_alive=300, linger=2)


@pytest.mark.parametrize(
    ("stage", "age", "expected"),
    [
        (Stage.IDLE, 299, Fate.KEEP),
        (Stage.IDLE, 301, Fate.CLOSE),
        (Stage.HEAD, 9, Fate.KEEP),
        (Stage.HEAD, 11, Fate.TIME_OUT),
        (Stage.BODY, 29, Fate.KEEP),
        (Stage.BODY, 31, Fate.TIME_OUT),
        (Stage.WORKING, 10_000, Fate.KEEP),
        (Stage.BLOCKED, 29, Fate.KEEP),
        (Stage.BLOCKED, 31, Fate.CUT),
        (Stage.LINGERING, 1, Fate.KEEP),
        (Stage.LINGERING, 3, Fate.CUT),
    ],
)
def test_fate_by_stage_and_age(stage: Stage, age: float, expected: Fate) -> None:
    assert fate(stage, 1000, 1000 + age, LIMITS, None, 15) is expected


@pytest.mark.parametrize(
    ("idle_since", "drain_started", "now", "expected"),
    [
        (0, 100, 101, Fate.KEEP),
        (0, 100, 114.9, Fate.KEEP),
        (0, 100, 115, Fate.CLOSE),
        (110, 100, 115, Fate.KEEP),
        (110, 100, 125, Fate.CLOSE),
    ],
)
def test_drain_counts_idleness_from_the_later_of_activity_and_drain(
    idle_since: float, drain_started: float, now: float, expected: Fate
) -> None:
    assert fate(Stage.IDLE, idle_since, now, LIMITS, drain_started, 15) is expected


def test_draining_never_touches_a_request_under_way() -> None:
    for stage in (Stage.HEAD, Stage.BODY, Stage.WORKING):
        assert fate(stage, 100, 105, LIMITS, 0, 1) is Fate.KEEP


@pytest.mark.parametrize(
    ("elapsed", "open_connections", "over"), [(1, 0, False), (5, 1, False), (5, 0, True), (59, 3, False), (60, 3, True)]
)
def test_drain_ends_when_settled_and_empty_or_at_its_timeout(elapsed: float, open_connections: int, over: bool) -> None:
    assert drain_over(1000, 1000 + elapsed, open_connections, DrainPolicy(idle=15, settle=5, timeout=60)) is over
