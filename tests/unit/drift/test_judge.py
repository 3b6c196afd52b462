"""One judgement: what it finds in rows whose truth is known, what it says, and that it is quiet when nothing moved."""

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from fakes.judged_pods import Factory, JudgedPod, Table, classified
from modelcycle.api.driftmonitor import Effect
from modelcycle.drift import explain, judge, rows
from modelcycle.drift.judge import Level, Test
from modelcycle.drift.rows import Cause, Rate, Shift, Tables
from modelcycle.drift.windows import add
from modelcycle.stats.corrections import benjamini_hochberg
from modelcycle_bundle.outputs import ValueOutputs
from modelcycle_bundle.profile import Profile, build

Q = judge.false_discovery_rate(1, 3600)


def counted(factory: Factory, table: Table, pods: int = 1) -> Tables:
    """What `pods` pods count of `table` between them."""
    running = [factory.pod(str(at), 0.0) for at in range(pods)]
    for pod, part in zip(running, np.array_split(table, pods), strict=True):
        pod.predict(part, factory.answers(part))
    return rows.tables(add(*(pod.counts for pod in running)), factory.profile.hash)


def judged(factory: Factory, table: Table, q: float = Q) -> dict[tuple[Cause, str], Test]:
    tables = counted(factory, table)
    return {(t.cause, t.name): t for t in judge.tests(factory.profile, tables, tables, Effect(), q)}


def moved(found: dict[tuple[Cause, str], Test]) -> dict[tuple[Cause, str], Level]:
    return {key: test.level for key, test in found.items() if test.level}


def test_alarm_budget_is_a_rate_per_window_monitoring_13() -> None:
    assert judge.false_discovery_rate(1, 3600) == pytest.approx(4.6e-4, rel=0.01)
    assert judge.false_discovery_rate(4, 60) == pytest.approx(4 / (91.25 * 24 * 60))
    assert judge.false_discovery_rate(1000, 604_800) == judge.LARGEST_RATE


def test_half_a_standard_deviation_names_that_feature_alone_monitoring_4() -> None:
    factory = Factory(1, names=tuple(f"f{at}" for at in range(17)))
    table = factory.rows(500)
    table[:, 5] += 0.5
    found = judged(factory, table)
    assert moved(found) == {(Cause.INPUT_DRIFT, "f5"): Level.WARN}
    test = found[Cause.INPUT_DRIFT, "f5"]
    assert test.effect >= 0.2
    # The part of the range that grew most: a bin edge, and a share that has about doubled.
    words = test.text.removeprefix("f5 above ").split(" ")
    assert (
        abs(float(words[0].rstrip(":")) - np.quantile(factory.rows(20_000)[:, 5], [0.5, 0.6, 0.7, 0.8, 0.9])).min()
        < 0.1
    )
    assert test.text.endswith(f"(PSI {test.effect:.2f})")


@pytest.mark.parametrize("seed", range(5))
def test_five_percent_missing_is_found_among_200_rows_and_moves_nothing_else_monitoring_5(seed: int) -> None:
    factory = Factory(seed)
    table = factory.rows(200)
    table[:10, 1] = np.nan
    tables = counted(factory, table)
    found = judge.tests(factory.profile, None, tables, Effect(), Q)
    (test,) = [t for t in found if t.level]
    assert (test.cause, test.name, test.text) == (Cause.MISSING_VALUES, "pressure", "pressure missing: 0 % -> 5 %")
    full = judged(factory, np.concatenate((table, factory.rows(800))))
    assert full[Cause.INPUT_DRIFT, "pressure"].level is Level.NONE


def test_unit_change_is_out_of_range_before_a_shift_can_be_judged_monitoring_8() -> None:
    factory = Factory(2)
    table = factory.rows(60)
    table[:, 2] *= 1000
    found = judge.tests(factory.profile, None, counted(factory, table), Effect(), Q)
    (test,) = [t for t in found if t.level]
    assert (test.cause, test.name) == (Cause.OUT_OF_RANGE, "speed")
    assert test.text.startswith("speed out of range: 0.")


def test_split_over_pods_is_the_same_as_one_pod_monitoring_16() -> None:
    factory = Factory(3)
    table = factory.rows(999) + np.float32(0.3)
    one, three = counted(factory, table), counted(factory, table, pods=3)
    tests = [judge.tests(factory.profile, tables, tables, Effect(), Q) for tables in (one, three)]
    assert tests[0] == tests[1]


def test_answers_are_rows_of_their_own() -> None:
    """The input that the model looks at stands still while its answers move: a model that was changed, or a hidden input."""
    factory = Factory(4)
    table = factory.rows(1000)
    pod = factory.pod("a", 0.0)
    pod.predict(table, classified(1 / (1 + np.exp(-3 * table[:, 0] - 2))))
    tables = rows.tables(pod.counts, factory.profile.hash)
    found = {t.name: t for t in judge.tests(factory.profile, tables, tables, Effect(), Q) if t.level}
    assert found.keys() >= {rows.CLASS}
    assert {t.cause for t in found.values()} == {Cause.OUTPUT_DRIFT}
    assert found[rows.CLASS].text.startswith("predicted class 'bad': ")


def test_predictions_of_a_regression_are_judged_like_a_feature() -> None:
    factory = Factory(5, regression=True)
    table = factory.rows(1000)
    pod = factory.pod("a", 0.0)
    values = table[:, 0] * np.float32(2) + np.float32(2)
    values[:60] = np.nan
    pod.predict(table, ValueOutputs(values))
    tables = rows.tables(pod.counts, factory.profile.hash)
    found = {(t.cause, t.name): t for t in judge.tests(factory.profile, tables, tables, Effect(), Q) if t.level}
    assert found.keys() == {(Cause.OUTPUT_DRIFT, rows.PREDICTION), (Cause.MISSING_ANSWERS, rows.PREDICTION)}
    assert found[Cause.MISSING_ANSWERS, rows.PREDICTION].text == "prediction missing: 0 % -> 6 %"


def test_a_significant_trifle_is_no_alarm() -> None:
    factory = Factory(6)
    table = factory.rows(200_000)
    table[:, 1] += 0.05
    test = judged(factory, table)[Cause.INPUT_DRIFT, "pressure"]
    assert (test.level, test.p < 1e-6, test.effect < 0.01) == (Level.NONE, True, True)


def test_a_large_effect_by_chance_is_no_alarm() -> None:
    """Three thousand times sixty rows from the reference itself: many look shifted, and next to none is significant."""
    edges = tuple(map(float, range(9)))
    sampled = np.random.default_rng(6).multinomial(60, [0.1] * 10, size=3000).tolist()
    found = [judge._of_shift(Shift(Cause.INPUT_DRIFT, "t", (2000,) * 10, tuple(c), edges), Effect()) for c in sampled]
    large = [test for test in found if test.effect >= 0.1]
    assert len(large) > 50
    assert sum(test.p <= Q for test in large) <= 6


def test_rows_below_the_minimum_are_not_judged() -> None:
    factory = Factory(7)
    table = factory.rows(40)
    table[:, 1] = np.nan
    tables = counted(factory, table)
    assert judge.tests(factory.profile, tables, tables, Effect(), Q) == ()


def test_what_the_pods_do_not_count_is_left_out() -> None:
    factory = Factory(8)
    tables = counted(factory, factory.rows(1000))
    del (features := dict(tables.features))["speed"]
    found = judge.tests(factory.profile, *(Tables(features, tables.outputs),) * 2, Effect(), Q)
    assert {t.name for t in found} == {"temperature", "pressure", rows.CLASS, rows.CONFIDENCE}


def test_no_rows_divide_by_nothing_monitoring_1() -> None:
    factory = Factory(9)
    tables = counted(factory, factory.rows(0))
    assert judge.tests(factory.profile, tables, tables, Effect(), Q) == ()


@pytest.mark.parametrize("n", [100, 1000])
def test_seventeen_quiet_features_alarm_in_at_most_three_of_a_hundred_windows_monitoring_3(n: int) -> None:
    factory = Factory(10, names=tuple(f"f{at}" for at in range(17)))
    windows = 200
    alarms = sum(bool(moved(judged(factory, factory.rows(n), q=0.01))) for _ in range(windows))
    assert alarms <= 0.03 * windows


def halves(seed: int) -> tuple[Profile, Table]:
    """A profile of one half of real measurements, 30 correlated columns with heavy tails, and the other half."""
    data, target = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(data))
    table = data[order].astype(np.float32)
    score = np.where(target[order] == 1, 0.9, 0.1)
    names = [f"m{at}" for at in range(30)]
    half = len(table) // 2
    return build(names, table[:half], classified(score[:half])), table[half:]


def test_real_shuffled_measurements_raise_no_more_alarms_than_the_budget_allows() -> None:
    """Breast cancer data, 80 random halves against each other, at a budget a hundred times the default: P(any) <= q."""
    q, windows, alarms = 0.05, 80, 0
    for seed in range(windows):
        profile, table = halves(seed)
        pod = JudgedPod("a", 0.0, profile=profile)
        pod.predict(table, classified(np.full(len(table), 0.1)))
        # Answers are made up here: only inputs and data quality are judged. Significance alone counts, whatever the effect.
        tables = Tables(rows.tables(pod.counts, profile.hash).features, {})
        tests = judge.tests(profile, tables, tables, Effect(), q)
        assert len(tests) == 90
        alarms += any(benjamini_hochberg([test.p for test in tests], q))
    assert alarms <= q * windows + 3 * np.sqrt(q * windows)


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.0199, "2 %"),
        (0.19, "19 %"),
        (0.00214, "0.21 %"),
        (0.00001, "<0.01 %"),
        (0.9996, "99.9 %"),
        (0.98, "98 %"),
    ],
)
def test_shares_in_words(share: float, words: str) -> None:
    assert explain.percent(share) == words


@pytest.mark.parametrize(
    ("current", "words"),
    [
        ((2, 2, 2, 14), "t above 30: 25 % -> 70 % (PSI 0.50)"),
        ((14, 2, 2, 2), "t up to 10: 25 % -> 70 % (PSI 0.50)"),
        ((2, 14, 2, 2), "t between 10 and 20: 25 % -> 70 % (PSI 0.50)"),
        ((2, 2, 8, 8), "t above 20: 50 % -> 80 % (PSI 0.50)"),
    ],
)
def test_the_part_that_grew_is_named(current: Sequence[int], words: str) -> None:
    row = Shift(Cause.INPUT_DRIFT, "t", (25,) * 4, tuple(current), (10.0, 20.0, 30.0))
    assert explain.shift(row, 0.5) == words


def test_long_names_are_cut() -> None:
    row = Rate(Cause.MISSING_VALUES, "x" * 500, 0, 100, 50, 100)
    assert explain.rate(row) == "x" * 77 + "... missing: 0 % -> 50 %"


@pytest.mark.parametrize(("seconds", "words"), [(1, "1s"), (90, "90s"), (91, "2m"), (5400, "90m"), (7200, "2h")])
def test_durations_in_words(seconds: float, words: str) -> None:
    assert explain.duration(seconds) == words
