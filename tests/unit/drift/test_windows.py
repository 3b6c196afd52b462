"""Windows are exact: what was seen from its beginning lands in exactly one window; what was not seen lowers `complete`."""

from dataclasses import dataclass, field

import pytest

from fakes.counting_pods import BASE, OK, ROWS, CountingPod, bin_of, take
from modelcycle.drift import ledger as ledgers
from modelcycle.drift.ledger import Book
from modelcycle.drift.windows import Ledger, Wish, advance, due
from modelcycle.metrics.port import Samples
from modelcycle.metrics.runs import fold

LENGTH = 60.0


@dataclass
class Watch:
    """A monitor's memory: the sampler's samples and the stored ledger, which passes through its text each time."""

    pods: list[CountingPod] = field(default_factory=list)
    samples: Samples | None = None
    ledger: Ledger = field(default_factory=Ledger)
    wish: Wish = field(default_factory=lambda: Wish("scrap", LENGTH))
    writes: int = 0

    def look(self, seconds: float) -> Ledger:
        self.samples = fold(self.samples, take(self.pods, seconds))
        return self.decide()

    def decide(self) -> Ledger:
        after = advance(self.ledger, self.wish, self.samples)
        self.writes += after != self.ledger
        self.ledger = ledgers.parse(ledgers.render(Book(after))).counts
        assert self.ledger == after
        return self.ledger

    def restart_operator(self) -> None:
        self.samples = None

    def rows(self) -> list[int]:
        return [window.counts.get(ROWS, 0) for window in self.ledger.windows]

    def complete(self) -> list[int]:
        return [window.thousandths for window in self.ledger.windows]


def pod(uid: str = "a", started: float = -1000.0) -> CountingPod:
    return CountingPod(uid, BASE + started)


@pytest.mark.parametrize(
    ("start", "expected"),
    [(0.0, 3600.0), (1799.0, 3600.0), (1801.0, 7200.0), (3599.0, 7200.0), (3600.0, 7200.0), (3604.0, 7200.0)],
)
def test_windows_end_on_multiples_of_their_length(start: float, expected: float) -> None:
    assert due(start, 3600.0) == expected


def test_counts_before_the_watch_are_not_counted_and_the_first_window_is_complete() -> None:
    a = pod()
    a.serve(500)
    watch = Watch([a])
    watch.look(1)
    a.serve(7)
    watch.look(60)
    assert (watch.rows(), watch.complete()) == ([7], [1000])
    assert watch.ledger.windows[0].start == BASE + 1
    assert watch.ledger.windows[0].end == BASE + 60


def test_windows_follow_each_other_without_a_gap() -> None:
    a = pod()
    watch = Watch([a])
    watch.look(0)
    for minute in range(1, 5):
        a.serve(minute)
        watch.look(60 * minute)
    assert watch.rows() == [1, 2, 3, 4]
    assert [w.start for w in watch.ledger.windows[1:]] == [w.end for w in watch.ledger.windows[:-1]]
    assert watch.ledger.totals == {ROWS: 10, OK: 10}


def test_a_reading_that_changes_nothing_writes_nothing_engineering_79() -> None:
    a = pod()
    watch = Watch([a])
    watch.look(0)
    assert watch.writes == 1
    for second in range(2, 60, 2):
        a.serve(3)
        watch.look(second)
    assert watch.writes == 1


def test_nothing_is_written_at_rest_after_one_empty_window() -> None:
    a = pod()
    watch = Watch([a])
    watch.look(0)
    a.serve(1)
    for second in range(2, 600, 2):
        watch.look(second)
    assert watch.rows() == [1, 0]
    assert watch.writes == 3
    a.serve(5)
    watch.look(600)
    assert watch.rows() == [1, 0, 5]
    assert watch.complete() == [1000, 1000, 1000]


def test_pod_born_inside_counts_fully() -> None:
    a, b = pod("a"), pod("b", started=20)
    watch = Watch([a])
    watch.look(0)
    b.serve(9)
    watch.pods.append(b)
    watch.look(30)
    b.serve(1)
    watch.look(60)
    assert (watch.rows(), watch.complete()) == ([10], [1000])


def test_first_pod_of_a_deployment_counts_from_its_start() -> None:
    watch = Watch([])
    watch.look(0)
    assert watch.writes == 0
    a = pod("a", started=100)
    a.serve(4)
    watch.pods.append(a)
    watch.look(103)
    a.serve(1)
    watch.look(180)
    assert (watch.rows(), watch.complete()) == ([5], [1000])
    assert watch.ledger.windows[0].start == BASE + 100


def test_pod_met_late_begins_at_its_first_reading_and_the_window_is_partial() -> None:
    a, b = pod("a"), pod("b")
    b.reachable = False
    watch = Watch([a, b])
    watch.look(0)
    b.serve(100)
    b.reachable = True
    watch.look(30)
    b.serve(2)
    watch.look(60)
    assert (watch.rows(), watch.complete()) == ([2], [750])


def test_pod_that_vanishes_keeps_what_was_last_seen() -> None:
    a, b = pod("a"), pod("b")
    watch = Watch([a, b])
    watch.look(0)
    b.serve(6)
    watch.look(28)
    b.serve(1)  # never seen by anybody
    watch.pods.remove(b)
    watch.look(30)
    watch.look(60)
    assert watch.rows() == [6]
    assert watch.complete() == [977]  # 88 of 90 pod seconds
    watch.pods.append(b)
    b.serve(3)
    watch.look(62)
    watch.look(120)
    assert watch.rows() == [6, 4]


def test_vanished_pod_survives_a_restart_of_the_operator() -> None:
    a, b = pod("a"), pod("b")
    watch = Watch([a, b])
    watch.look(0)
    b.serve(6)
    watch.look(28)
    watch.pods.remove(b)
    watch.look(30)
    watch.restart_operator()
    watch.look(60)
    assert watch.rows() == [6]


def test_restart_of_the_operator_neither_loses_nor_counts_twice() -> None:
    a, b = pod("a"), pod("b", started=5)
    watch = Watch([a])
    watch.look(0)
    watch.pods.append(b)
    for second in range(10, 600, 10):
        a.serve(2)
        b.serve(3)
        if second % 30 == 0:
            watch.restart_operator()
        watch.look(second)
    watch.look(600)
    assert sum(watch.rows()) == 59 * 5
    assert set(watch.complete()) == {1000}


def test_operator_down_over_the_end_of_a_window_gives_one_long_exact_window() -> None:
    a = pod()
    watch = Watch([a])
    watch.look(0)
    a.serve(40)
    watch.restart_operator()
    watch.look(3000)
    assert (watch.rows(), watch.complete()) == ([40], [1000])
    assert watch.ledger.windows[0].end == BASE + 3000


def test_restarted_container_is_a_new_run() -> None:
    a = pod()
    watch = Watch([a])
    watch.look(0)
    a.serve(10)
    watch.look(10)
    a.restart(12)
    a.serve(4)
    watch.look(20)
    watch.look(60)
    assert watch.rows() == [14]
    assert watch.complete()[0] < 1000


def test_counter_running_backwards_is_left_out_and_said() -> None:
    a, b = pod("a"), pod("b")
    watch = Watch([a, b])
    watch.look(0)
    a.serve(5)
    b.serve(100)
    watch.look(10)
    b.counts[ROWS] -= 50
    watch.look(20)
    watch.restart_operator()
    watch.look(30)
    watch.look(60)
    window = watch.ledger.windows[0]
    assert (window.counts[ROWS], window.left_out, window.inconsistent) == (5, 1, True)
    b.serve(2)
    watch.look(120)
    assert watch.ledger.windows[1].counts[ROWS] == 2
    assert not watch.ledger.windows[1].left_out


def test_silent_pod_counts_in_the_window_in_which_it_is_read_again() -> None:
    a, b = pod("a"), pod("b")
    watch = Watch([a, b])
    watch.look(0)
    a.serve(1)
    b.serve(8)
    b.reachable = False
    watch.look(60)
    assert (watch.rows(), watch.complete()) == ([1], [500])
    b.reachable = True
    watch.look(120)
    assert watch.rows() == [1, 8]


def test_window_does_not_end_without_a_fresh_reading() -> None:
    a = pod()
    watch = Watch([a])
    watch.look(0)
    a.serve(1)
    watch.decide()
    assert watch.ledger.windows == ()


def test_suspension_ends_the_open_window_and_what_is_served_meanwhile_is_not_counted_engineering_55() -> None:
    a = pod()
    watch = Watch([a])
    watch.look(0)
    a.serve(3)
    watch.wish = Wish("scrap", LENGTH, suspended=True)
    watch.look(20)
    assert (watch.rows(), watch.ledger.open) == ([3], None)
    a.serve(1000)
    watch.wish = Wish("scrap", LENGTH)
    watch.restart_operator()
    watch.look(50)
    a.serve(4)
    watch.look(120)
    assert watch.rows() == [3, 4]


def test_resumed_before_the_sampler_noticed_counts_nothing_twice() -> None:
    a = pod()
    watch = Watch([a])
    watch.look(0)
    a.serve(3)
    watch.wish = Wish("scrap", LENGTH, suspended=True)
    watch.look(20)
    watch.wish = Wish("scrap", LENGTH)
    watch.decide()
    watch.look(60)
    assert sum(watch.rows()) == 3


def test_other_target_ends_the_open_window_and_begins_anew() -> None:
    a, c = pod("a"), pod("c")
    watch = Watch([a])
    watch.look(0)
    a.serve(3)
    watch.wish = Wish("paint", LENGTH)
    watch.look(20)
    assert (watch.rows(), watch.ledger.open) == ([3], None)
    watch.decide()
    assert watch.ledger.open is None
    watch.samples = fold(None, take([c], 22, "paint"))
    watch.decide()
    assert watch.ledger.open is not None
    assert watch.ledger.open.target == "paint"


def test_only_the_last_14_windows_are_kept_and_totals_go_on() -> None:
    a = pod()
    watch = Watch([a])
    watch.look(0)
    for minute in range(1, 31):
        a.serve(1)
        watch.look(60 * minute)
    assert len(watch.ledger.windows) == 14
    assert watch.ledger.totals[ROWS] == 30


def test_bins_that_do_not_add_up_to_rows_are_said() -> None:
    a = pod()
    watch = Watch([a])
    watch.look(0)
    a.serve(1000)
    a.counts[bin_of("t", "b00")] -= 50
    watch.look(60)
    assert "950" in watch.ledger.windows[0].mismatches[0]
    assert watch.ledger.windows[0].inconsistent
