"""From judgements to alarms: persistence, clearing, growing windows, profiles that come late or change. Windows are made up."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from fakes.judged_pods import Factory, JudgedPod, Table
from modelcycle.api.driftmonitor import MonitorSpec, Persistence
from modelcycle.drift import history as histories
from modelcycle.drift.history import History, Live, Row, advance
from modelcycle.drift.judge import Level, Test
from modelcycle.drift.rows import Cause
from modelcycle.drift.windows import Window, add
from modelcycle.metrics.port import Counts
from modelcycle_bundle.profile import Profile

SPEC = MonitorSpec("scrap")
N, W, C = Level.NONE, Level.WARN, Level.CRITICAL


def fold(levels: Sequence[tuple[Level, bool]], persistence: Persistence, cause: Cause) -> list[Level]:
    """Standing levels after each judged window; a window is (level, quiet)."""
    rows: tuple[Row, ...] = ()
    standing = []
    for level, quiet in levels:
        test = Test(cause, "t", 0.0, 0.3, level, quiet, "" if quiet else "t moved")
        rows = histories._rows(rows, [test], persistence)
        standing.append(rows[0].standing if rows else Level.NONE)
    return standing


TWO_OF_THREE = Persistence(2, 3)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        pytest.param([W, N, N, N], [N, N, N, N], id="one spike"),
        pytest.param([W, W], [N, W], id="two in a row"),
        pytest.param([W, N, W], [N, N, W], id="two of three"),
        pytest.param([W, N, N, W], [N, N, N, N], id="two of four"),
        pytest.param([C, W], [N, W], id="critical once is no critical alarm"),
        pytest.param([C, N, C], [N, N, C], id="critical twice"),
        pytest.param([W, W, C, C, W, W], [N, W, W, C, C, C], id="the highest level stays until the end"),
    ],
)
def test_shifts_count_when_they_last_monitoring_11(levels: list[Level], expected: list[Level]) -> None:
    assert fold([(level, level is N) for level in levels], TWO_OF_THREE, Cause.INPUT_DRIFT) == expected


@pytest.mark.parametrize(
    ("cause", "level", "expected"),
    [
        (Cause.MISSING_VALUES, W, W),
        (Cause.MISSING_ANSWERS, W, W),
        (Cause.OUT_OF_RANGE, W, N),
        (Cause.OUT_OF_RANGE, C, C),
        (Cause.INPUT_DRIFT, C, N),
    ],
)
def test_facts_count_at_once_monitoring_8(cause: Cause, level: Level, expected: Level) -> None:
    assert fold([(N, True), (level, False)], TWO_OF_THREE, cause) == [N, expected]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param([True, True, True], [W, W, N], id="three quiet windows"),
        pytest.param([True, True, False, True, True, True], [W, W, W, W, W, N], id="in a row"),
        pytest.param([False] * 6, [W] * 6, id="half of the threshold is not quiet"),
    ],
)
def test_alarms_end_after_three_quiet_windows(after: list[bool], expected: list[Level]) -> None:
    levels = [(W, False), (W, False), *((N, quiet) for quiet in after)]
    assert fold(levels, TWO_OF_THREE, Cause.INPUT_DRIFT)[2:] == expected


def test_what_was_cleared_does_not_count_again() -> None:
    """Two of ten: the old windows are still among the ten when the alarm is over."""
    levels = [(W, False), (W, False), (N, True), (N, True), (N, True), (N, False), (W, False)]
    assert fold(levels, Persistence(2, 10), Cause.INPUT_DRIFT)[-3:] == [N, N, N]


class Line:
    """A factory whose rows come in windows of an hour."""

    def __init__(self, seed: int = 0, spec: MonitorSpec = SPEC) -> None:
        self.factory = Factory(seed)
        self.spec = spec
        self.closed: list[Window] = []
        self.history = History()
        self.live = Live({self.factory.profile.hash: self.factory.profile}, "sha256:live")

    def window(self, table: Table, factory: Factory | None = None, *others: JudgedPod) -> History:
        """One more closed window with `table`, judged."""
        factory = factory or self.factory
        pod = factory.pod("a", 0.0)
        pod.predict(table, factory.answers(table))
        self.close(add(pod.counts, *(other.counts for other in others)))
        return self.judge()

    def close(self, counts: Counts, left_out: int = 0) -> None:
        start = 3600.0 * len(self.closed)
        self.closed.append(Window(start, start + 3600, counts, 1000, left_out))

    def judge(self) -> History:
        after = advance(self.history, self.closed[-14:], self.live, self.spec)
        assert advance(after, self.closed[-14:], self.live, self.spec) == after, "a window was judged twice"
        self.history = after
        return after

    def shifted(self, n: int, by: float = 2.0) -> Table:
        table = self.factory.rows(n)
        table[:, 1] += by
        return table

    def standing(self) -> list[tuple[Cause, str]]:
        return [(row.cause, row.name) for row in self.history.rows if row.standing]


def test_windows_are_added_up_until_there_are_enough_rows_monitoring_2() -> None:
    line = Line()
    for _ in range(3):
        line.window(line.factory.rows(120))
        assert not line.history.shifts_judged
    assert (histories.pending_rows(line.history), line.history.needed) == (360, 439)
    line.window(line.factory.rows(120))
    made = line.history.judgement
    assert made is not None
    assert (made.start, made.end, made.rows, line.history.shifts_judged) == (0, 14_400, 480, True)
    assert line.history.pending is None


def test_drift_in_small_windows_is_found_when_they_are_added_up() -> None:
    line = Line(1)
    for _ in range(8):
        line.window(line.shifted(120))
    assert (Cause.INPUT_DRIFT, "pressure") in line.standing()
    episode = next(e for e in line.history.episodes if e.cause is Cause.INPUT_DRIFT)
    assert (episode.start, episode.end, episode.digest) == (14_400, 28_800, "sha256:live")


def test_a_window_too_small_for_shifts_leaves_the_last_judgement_of_them_in_sight() -> None:
    line = Line(12)
    line.window(line.factory.rows(100))
    assert line.history.judgement is not None
    assert not line.history.judgement.shifts
    shifts = line.window(line.factory.rows(600)).judgement
    assert line.window(line.factory.rows(100)).judgement == shifts
    table = line.factory.rows(100)
    table[:50, 2] = float("nan")
    assert line.window(table).judgement == shifts
    assert line.standing() == [(Cause.MISSING_VALUES, "speed")]


def test_windows_are_given_up_at_their_maximum() -> None:
    line = Line(2, replace(SPEC, window_max=7200))
    line.window(line.factory.rows(100))
    line.window(line.factory.rows(100))
    assert line.history.short == (200, 7200)
    assert line.history.pending is None
    line.window(line.factory.rows(100))
    assert line.history.short is None
    assert histories.pending_rows(line.history) == 100


def test_missing_values_are_told_in_the_first_window_however_small_monitoring_5() -> None:
    line = Line(3)
    table = line.factory.rows(200)
    table[:10, 2] = float("nan")
    line.window(table)
    assert not line.history.shifts_judged
    assert line.standing() == [(Cause.MISSING_VALUES, "speed")]


def test_rows_that_trickle_are_judged_for_missing_values_too() -> None:
    line = Line(4, replace(SPEC, window_max=4 * 3600))
    for _ in range(4):
        table = line.factory.rows(30)
        table[:10, 2] = float("nan")
        line.window(table)
    assert line.standing() == [(Cause.MISSING_VALUES, "speed")]


def test_empty_and_inconsistent_windows_undo_nothing_monitoring_1() -> None:
    line = Line(5)
    for _ in range(2):
        line.window(line.shifted(600))
    before = line.history
    line.close({})
    line.judge()
    line.close(line.closed[0].counts, left_out=1)
    line.judge()
    assert (line.history.rows, line.history.episodes) == (before.rows, before.episodes)
    assert not line.history.shifts_judged


def test_a_window_waits_for_its_profile_and_is_judged_when_it_comes() -> None:
    line = Line(6)
    known, line.live = line.live, Live({})
    for _ in range(2):
        line.window(line.shifted(600))
    assert line.history == History()
    assert histories.blocked_by(line.history, line.closed) == line.factory.profile.hash
    line.live = known
    line.judge()
    assert (Cause.INPUT_DRIFT, "pressure") in line.standing()
    assert histories.blocked_by(line.history, line.closed) == ""


def test_a_profile_that_nobody_can_give_any_more_blocks_nothing() -> None:
    line, newer = Line(7), Factory(70)
    line.live = Live({newer.profile.hash: newer.profile})
    line.window(line.factory.rows(600))
    line.window(newer.rows(600), newer)
    assert line.history.profile == newer.profile.hash
    assert line.history.shifts_judged


def test_another_profile_begins_anew() -> None:
    line, newer = Line(8), Factory(80)
    profiles: dict[str, Profile] = {f.profile.hash: f.profile for f in (line.factory, newer)}
    line.live = Live(profiles)
    for _ in range(2):
        line.window(line.shifted(600))
    assert line.standing()
    line.window(newer.rows(600), newer)
    assert (line.history.profile, line.history.rows, line.history.episodes) == (newer.profile.hash, (), ())


def test_a_mixed_window_is_judged_for_the_model_with_the_most_rows() -> None:
    line, newer = Line(9), Factory(90)
    line.live = Live({f.profile.hash: f.profile for f in (line.factory, newer)})
    canary = newer.pod("n", 0.0)
    canary.predict(newer.rows(599) + 9, newer.answers(newer.rows(599)))
    line.window(line.factory.rows(600), None, canary)
    assert line.history.profile == line.factory.profile.hash
    assert line.standing() == []
    assert line.history.judgement is not None
    assert line.history.judgement.rows == 600


def test_another_target_begins_anew_after_its_last_window() -> None:
    line = Line(10)
    for _ in range(2):
        line.window(line.shifted(600))
    same = histories.of_target(line.history, "scrap", 7200.0)
    other = histories.of_target(line.history, "paint", 7200.0)
    assert same is line.history
    assert other == History(until=7200.0)
    assert advance(other, line.closed, line.live, replace(SPEC, target="paint")) == other


def test_an_alarm_keeps_its_beginning_when_its_first_feature_is_well_again() -> None:
    line = Line(11)
    for _ in range(2):
        line.window(line.shifted(1000))
    began = line.history.episodes
    table = line.shifted(1000)
    table[:, 2] += 2
    line.window(table)
    line.window(table)
    for _ in range(3):
        again = line.factory.rows(1000)
        again[:, 2] += 2
        line.window(again)
    assert line.standing() == [(Cause.INPUT_DRIFT, "speed"), (Cause.OUT_OF_RANGE, "speed")]
    assert [e for e in line.history.episodes if e.cause is Cause.INPUT_DRIFT] == [
        e for e in began if e.cause is Cause.INPUT_DRIFT
    ]
