"""Judging is total, forgets nothing over a restart, and depends on nothing but the sums."""

import math
from dataclasses import replace
from random import Random
from typing import Final

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from fakes.judged_pods import Factory
from modelcycle.api.driftmonitor import Effect, MonitorSpec, Persistence
from modelcycle.drift import judge, rows
from modelcycle.drift import ledger as ledgers
from modelcycle.drift.history import History, Live, advance
from modelcycle.drift.ledger import Book
from modelcycle.drift.windows import Ledger, Window, add
from modelcycle.metrics.port import Counts, Series

FACTORIES: Final = (Factory(0), Factory(1, regression=True))
LIVE: Final = Live({factory.profile.hash: factory.profile for factory in FACTORIES}, "sha256:live")
NAMES: Final = [[series for series in factory.pod("a", 0.0).counts if len(series.labels) == 3] for factory in FACTORIES]
"""The series of each factory's profile."""


def measured(which: int, seed: int, number: int, shift: float, missing: float) -> Counts:
    """What a pod counts of seeded rows: `shift` standard deviations away, a share `missing` of one column."""
    factory, rng = FACTORIES[which], np.random.default_rng(seed)
    table = rng.standard_normal((number, 3)).astype(np.float32) + np.float32(shift)
    table[rng.random(number) < missing, 2] = np.nan
    pod = factory.pod("a", 0.0)
    pod.predict(table, factory.answers(table))
    return pod.counts


MODELS: Final = st.integers(0, 1)
SHAPE: Final = (
    st.integers(0, 2**16),
    st.sampled_from([0, 1, 30, 60, 200, 500, 3000]),
    st.sampled_from([0.0, 0.0, 0.3, 1.0, 50.0]),
    st.sampled_from([0.0, 0.0, 0.03, 0.5, 1.0]),
)
"""Seed, rows, shift and share missing of one window."""


@st.composite
def arbitrary(draw: st.DrawFn) -> tuple[int, dict[Series, int]]:
    """Counts that no data gives: any number in any bin."""
    which = draw(st.integers(0, 1))
    values = st.one_of(st.just(0), st.integers(0, 20), st.integers(0, 10**12))
    counts = draw(st.lists(values, min_size=len(NAMES[which]), max_size=len(NAMES[which])))
    return which, dict(zip(NAMES[which], counts, strict=True))


@settings(max_examples=examples(60), deadline=None)
@given(arbitrary(), st.floats(0.02, 2.0))
def test_judging_is_total_monitoring_41(case: tuple[int, dict[Series, int]], warn: float) -> None:
    which, counts = case
    profile = FACTORIES[which].profile
    tables = rows.tables(counts, profile.hash)
    for test in judge.tests(profile, tables, tables, Effect(warn, 2.0), 1e-3):
        assert 0.0 <= test.p <= 1.0
        assert math.isfinite(test.effect)
        assert test.effect >= 0.0
        assert not (test.quiet and test.level)
        assert test.text or test.quiet


@settings(max_examples=examples(30), deadline=None)
@given(arbitrary(), st.randoms(use_true_random=False))
def test_any_split_over_pods_is_judged_alike_monitoring_16(case: tuple[int, dict[Series, int]], random: Random) -> None:
    which, counts = case
    profile = FACTORIES[which].profile
    first = {series: random.randint(0, value) for series, value in counts.items()}
    second = {series: value - first[series] for series, value in counts.items()}
    both, alone = (rows.tables(each, profile.hash) for each in (add(second, first), counts))
    assert judge.tests(profile, both, both, Effect(), 1e-3) == judge.tests(profile, alone, alone, Effect(), 1e-3)


@st.composite
def lines(draw: st.DrawFn, models: st.SearchStrategy[int] = MODELS) -> tuple[tuple[Window, ...], MonitorSpec]:
    """Up to eight windows of an hour, each of one of the `models`, some inconsistent."""
    counts = draw(st.lists(st.builds(measured, models, *SHAPE), min_size=1, max_size=8))
    broken = draw(st.lists(st.sampled_from([0, 0, 0, 1]), min_size=10, max_size=10))
    k, of = draw(st.sampled_from([(1, 1), (2, 3), (3, 3), (2, 10)]))
    spec = MonitorSpec("scrap", persistence=Persistence(k, of), window_max=draw(st.sampled_from([3600.0, 14_400.0])))
    closed = [Window(3600.0 * at, 3600.0 * (at + 1), each, 1000, broken[at]) for at, each in enumerate(counts)]
    return tuple(closed), spec


def stored(history: History) -> History:
    """Through the ConfigMap's text, as a restarted operator finds it."""
    return ledgers.parse(ledgers.render(Book(Ledger(), history))).history


def one_by_one(closed: tuple[Window, ...], spec: MonitorSpec) -> History:
    """Judged as the windows end, with a restart after each."""
    history = History()
    for at in range(len(closed)):
        judged = advance(history, closed[: at + 1], LIVE, spec)
        history = stored(judged)
        assert history == judged
    return history


@settings(max_examples=examples(40), deadline=None)
@given(lines())
def test_restarts_change_nothing(case: tuple[tuple[Window, ...], MonitorSpec]) -> None:
    closed, spec = case
    history = one_by_one(closed, spec)
    assert advance(History(), closed, LIVE, spec) == history
    assert advance(history, closed, LIVE, spec) == history


@settings(max_examples=examples(30), deadline=None)
@given(lines(st.just(0)))
def test_a_profile_that_comes_late_changes_nothing(case: tuple[tuple[Window, ...], MonitorSpec]) -> None:
    closed, spec = case
    waiting = advance(History(), closed, Live({}), spec)
    assert waiting.rows == ()
    assert advance(waiting, closed, LIVE, spec) == one_by_one(closed, spec)


@settings(max_examples=examples(40), deadline=None)
@given(lines())
def test_alarms_stand_on_rows_and_only_on_them(case: tuple[tuple[Window, ...], MonitorSpec]) -> None:
    closed, spec = case
    history = History()
    for at in range(len(closed)):
        before, history = history, advance(history, closed[: at + 1], LIVE, spec)
        assert {e.cause for e in history.episodes} == {row.cause for row in history.rows if row.standing}
        assert all(len(row.levels) <= spec.persistence.of for row in history.rows)
        assert all(row.text for row in history.rows if row.standing)
        if history.profile == before.profile:
            known = {e.cause: e for e in before.episodes}
            assert all(known.get(e.cause, e) == e for e in history.episodes)
        if closed[at].inconsistent:
            assert replace(history, until=0, shifts_judged=False, target="") == replace(
                before, until=0, shifts_judged=False, target=""
            )
