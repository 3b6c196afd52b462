"""The sum behind P, the planner and the dispersion, against scipy, the evidence itself and simulation."""

import math

import numpy as np
import pytest
from scipy.stats import chi2_contingency, hypergeom

from modelcycle.stats.dispersion import LEAST_FREEDOM, Dispersion, accumulate
from modelcycle.stats.evidence import Counts, Design, Evidence, Look, Verdict, observe, verdict
from modelcycle.stats.planner import MOST, requests_until_promotion, requests_until_rollback
from modelcycle.stats.special import log_choose, log_hypergeometric_pgf, log_mean_exp, log_sum_exp

DESIGN = Design()


@pytest.mark.parametrize("odds", [0.25, 0.8, 1.0, 2.0, 16.0])
@pytest.mark.parametrize(
    ("marked", "others", "drawn"),
    [
        (20, 180, 3),
        (20, 180, 0),
        (20, 180, 200),
        (20, 5, 22),
        (5, 20, 22),
        (1, 1, 1),
        (300, 300, 299),
        (6000, 80000, 7000),
    ],
)
def test_pgf_equals_scipy(odds: float, marked: int, others: int, drawn: int) -> None:
    j = np.arange(max(0, drawn - others), min(marked, drawn) + 1)
    expected = log_sum_exp(hypergeom.logpmf(j, marked + others, marked, drawn) + j * math.log(odds))
    assert log_hypergeometric_pgf(odds, marked, others, drawn) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("odds", [0.25, 1.0, 2.0, 16.0])
@pytest.mark.parametrize(
    ("marked", "others", "drawn"), [(60_000, 600_000, 200_000), (200, 200, 200), (700, 9_000, 600), (400_000, 90, 200)]
)
def test_pgf_that_takes_some_terms_only_equals_the_whole_sum(odds: float, marked: int, others: int, drawn: int) -> None:
    j = np.arange(max(0, drawn - others), min(marked, drawn) + 1)
    expected = log_sum_exp(hypergeom.logpmf(j, marked + others, marked, drawn) + j * math.log(odds))
    assert log_hypergeometric_pgf(odds, marked, others, drawn) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("marked", "others", "drawn"),
    [(10**9, 10**9, 10**9), (10**9, 10**6, 10**6), (10**6, 10**9, 5 * 10**8), (10**9, 10**9, 3)],
)
def test_pgf_of_a_billion_lies_between_jensen_and_the_binomial(marked: int, others: int, drawn: int) -> None:
    share = marked / (marked + others)
    value = log_hypergeometric_pgf(2.0, marked, others, drawn)
    assert share * drawn * math.log(2.0) - 1e-4 <= value <= drawn * math.log1p(share) + 1e-4


def test_pgf_of_a_billion_equals_the_saddle_point() -> None:
    half = 10**9  # sum over j of C(n,j)**2 odds**j, by the saddle point: the tilted share is sqrt(2) / (1 + sqrt(2))
    root = math.sqrt(2.0)
    at = root / (1.0 + root)
    mode = round(at * half)
    spread = math.sqrt(half * at * (1 - at) / 2)
    top = 2 * log_choose(half, mode) - log_choose(2 * half, half) + mode * math.log(2.0)
    expected = top + math.log(spread * math.sqrt(2 * math.pi))
    assert log_hypergeometric_pgf(2.0, half, half, half) == pytest.approx(expected, abs=1e-4)


def test_means_of_exponentials_neither_overflow_nor_mind_zeros() -> None:
    assert log_mean_exp([1e6, -math.inf]) == pytest.approx(1e6 - math.log(2.0))
    assert log_mean_exp([-1e6, -1e6]) == pytest.approx(-1e6)


# ---- planner ----


@pytest.mark.parametrize(("floor", "expected"), [(0.01, 422), (0.005, 845)])
@pytest.mark.parametrize("seen", [0, 1, 300])
def test_promotion_without_events_is_promised_exactly(floor: float, expected: int, seen: int) -> None:
    design = Design(harm_floor=floor)
    evidence = observe(Evidence(), Look(Counts(seen), Counts(9 * seen)), design)
    assert requests_until_promotion(evidence, design, 0.0) == expected - seen


@pytest.mark.parametrize("events", [0, 1, 3])
def test_the_promise_is_the_first_count_that_passes(events: int) -> None:
    evidence = observe(Evidence(), Look(Counts(100, events), Counts(900, 5)), DESIGN)
    more = requests_until_promotion(evidence, DESIGN, 0.0)
    assert verdict(observe(evidence, Look(Counts(more - 1), Counts()), DESIGN), DESIGN) is Verdict.CONTINUE
    assert verdict(observe(evidence, Look(Counts(more), Counts()), DESIGN), DESIGN) is Verdict.PASS


def test_nothing_is_missing_once_a_bar_is_reached() -> None:
    passed = observe(Evidence(), Look(Counts(422), Counts(10)), DESIGN)
    assert requests_until_promotion(passed, DESIGN, 0.01) == 0
    wild = Look(Counts(100, 100), Counts(900))
    failed = observe(observe(Evidence(), wild, DESIGN), wild, DESIGN)
    assert requests_until_rollback(failed, DESIGN, 0.0, 0.0) == 0


def test_rollback_of_one_to_three_percent_is_expected_where_research_measured_it() -> None:
    assert 500 <= requests_until_rollback(Evidence(), DESIGN, 0.03, 0.01, share=0.1) <= 560


def test_a_canary_that_is_no_worse_is_never_expected_to_be_rolled_back() -> None:
    assert requests_until_rollback(Evidence(), DESIGN, 0.01, 0.01, share=0.1) == MOST
    assert requests_until_rollback(Evidence(), DESIGN, 0.0, 0.0) == MOST


def test_dispersion_postpones_the_rollback_in_proportion() -> None:
    calm = requests_until_rollback(Evidence(), DESIGN, 0.03, 0.01, share=0.1)
    bursty = requests_until_rollback(Evidence(), DESIGN, 0.03, 0.01, share=0.1, phi=3.0)
    assert bursty == pytest.approx(3 * calm, rel=0.01)


def test_a_larger_rate_of_stable_settles_a_relative_promotion_sooner() -> None:
    needed = [requests_until_promotion(Evidence(), DESIGN, rate, share=0.1) for rate in (0.01, 0.02, 0.05)]
    assert needed == sorted(needed, reverse=True)


def test_the_share_so_far_is_the_share_to_come_unless_told() -> None:
    evidence = observe(Evidence(), Look(Counts(50, 1), Counts(150, 2)), DESIGN)
    assert requests_until_promotion(evidence, DESIGN, 0.02) == requests_until_promotion(
        evidence, DESIGN, 0.02, share=0.25
    )
    assert requests_until_promotion(evidence, DESIGN, 0.02) != requests_until_promotion(
        evidence, DESIGN, 0.02, share=0.05
    )


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_nothing_or_all_still_gives_an_answer(share: float) -> None:
    assert 0 < requests_until_promotion(Evidence(), DESIGN, 0.02, share=share) <= MOST


# ---- dispersion ----


def test_x2_is_pearsons_of_pods_by_outcome() -> None:
    pods = [Counts(60, 4), Counts(50, 0), Counts(70, 2)]
    seen = accumulate(Dispersion(), pods)
    table = [[pod.events for pod in pods], [pod.n - pod.events for pod in pods]]
    assert seen.x2 == pytest.approx(chi2_contingency(table, correction=False).statistic)
    assert seen.freedom == 2


@pytest.mark.parametrize(
    "pods",
    [[], [Counts(60, 3)], [Counts(60, 0), Counts(60, 0)], [Counts(6, 6), Counts(6, 6)], [Counts(60, 3), Counts(0, 0)]],
    ids=["no pod", "one pod", "no events", "events only", "one answering pod"],
)
def test_a_look_that_shows_no_spread_between_pods_says_nothing(pods: list[Counts]) -> None:
    before = Dispersion(7.0, 5)
    assert accumulate(before, pods) == before


def test_what_hits_every_pod_alike_is_no_dispersion() -> None:
    assert accumulate(Dispersion(), [Counts(60, 30), Counts(40, 20)]).x2 == pytest.approx(0.0)


def test_phi_is_never_below_one_and_one_until_enough_is_seen() -> None:
    assert Dispersion(1.0, 100).phi == 1.0
    assert Dispersion(1000.0, LEAST_FREEDOM - 1).phi == 1.0
    assert Dispersion(4.0 * LEAST_FREEDOM, LEAST_FREEDOM).phi == 4.0


def test_independent_failures_have_a_dispersion_of_one_and_bursts_their_own_monitoring_26() -> None:
    rng = np.random.default_rng(1)
    calm, bursty = Dispersion(), Dispersion()
    for _ in range(2000):
        calm = accumulate(calm, [Counts(60, int(k)) for k in rng.binomial(60, 0.02, 3)])
        rates = np.where(rng.random(3) < 0.1, 0.3, 0.005)
        bursty = accumulate(bursty, [Counts(60, int(k)) for k in rng.binomial(60, rates)])
    assert calm.x2 / calm.freedom == pytest.approx(1.0, abs=0.1)
    assert bursty.phi > 5.0


@pytest.mark.parametrize(("x2", "freedom"), [(math.nan, 1), (math.inf, 1), (-1.0, 1), (1.0, -1)])
def test_a_damaged_dispersion_is_refused(x2: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="degrees of freedom"):
        Dispersion(x2, freedom)
