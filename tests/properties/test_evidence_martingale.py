"""What makes looking at every moment safe, by exact enumeration: E gains nothing while the canary is no worse, P nothing while it harms.

And what makes restarts and replicas harmless: evidence is a fold over looks, and a look is a sum over pods.
"""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from budget import examples
from modelcycle.stats.dispersion import Dispersion, accumulate
from modelcycle.stats.evidence import (
    Counts,
    Design,
    Evidence,
    Look,
    from_json,
    log_absolute,
    log_promote,
    log_rollback,
    observe,
    to_json,
)

rates = st.floats(0.001, 0.999)
arms = st.integers(1, 9)
phis = st.just(1.0) | st.floats(1.0, 20.0)
ROUNDING = 1e-9


def with_odds(rate: float, ratio: float) -> float:
    """The rate with `ratio` times the odds of `rate`."""
    return ratio * rate / (1.0 - rate + ratio * rate)


def outcomes(canary: int, stable: int, canary_rate: float, stable_rate: float) -> list[tuple[Look, float]]:
    """Every look that can be, with its chance."""
    return [
        (
            Look(Counts(canary, k), Counts(stable, s)),
            float(binom.pmf(k, canary, canary_rate) * binom.pmf(s, stable, stable_rate)),
        )
        for k, s in itertools.product(range(canary + 1), range(stable + 1))
    ]


@given(arms, arms, rates, st.floats(0.05, 1.0), phis, st.sampled_from([0.5, 0.01, 1e-9]))
@settings(max_examples=examples(60), deadline=None)
def test_no_bet_on_a_canary_that_is_no_worse_has_a_mean_above_one(
    canary: int, stable: int, rate: float, ratio: float, phi: float, alpha: float
) -> None:
    design = Design(alpha=alpha)
    mean: NDArray[np.float64] = np.zeros(12)
    for look, chance in outcomes(canary, stable, with_odds(rate, ratio), rate):
        mean += chance * np.exp(observe(Evidence(), look, design, phi).log_e)
    assert mean.max() <= 1.0 + ROUNDING


@given(arms, arms, rates, st.floats(1.0, 20.0), st.floats(1.1, 8.0))
@settings(max_examples=examples(60), deadline=None)
def test_no_bet_on_a_canary_that_harms_has_a_mean_above_one(
    canary: int, stable: int, rate: float, worse: float, ratio: float
) -> None:
    design = Design(harm_ratio=ratio)
    mean = sum(
        chance * math.exp(observe(Evidence(), look, design).log_p_relative)
        for look, chance in outcomes(canary, stable, with_odds(rate, ratio * worse), rate)
    )
    assert mean <= 1.0 + ROUNDING


@given(st.integers(0, 60), st.floats(0.001, 0.5), st.floats(1.0, 10.0))
@settings(max_examples=examples(100), deadline=None)
def test_no_bet_on_a_rate_below_the_floor_has_a_mean_above_one_at_or_above_it(
    n: int, floor: float, above: float
) -> None:
    rate = min(1.0, floor * above)
    mean = sum(float(binom.pmf(k, n, rate)) * math.exp(log_absolute(n, k, floor)) for k in range(n + 1))
    assert mean <= 1.0 + ROUNDING


@pytest.mark.parametrize("stable_rate", [0.02, 0.3, 0.8])
def test_over_two_looks_whose_rates_and_shares_differ_the_means_stay_below_one(stable_rate: float) -> None:
    design = Design(harm_floor=0.01)
    other = stable_rate / 2  # a better hour for both arms
    e = p = 0.0
    for (first, a), (second, b) in itertools.product(
        outcomes(3, 5, stable_rate, stable_rate), outcomes(4, 2, other, other)
    ):
        e += a * b * math.exp(log_rollback(observe(observe(Evidence(), first, design), second, design)))
    harmful, harmful_other = with_odds(stable_rate, 2.0), with_odds(other, 2.0)
    for (first, a), (second, b) in itertools.product(
        outcomes(3, 5, harmful, stable_rate), outcomes(4, 2, harmful_other, other)
    ):
        p += a * b * math.exp(log_promote(observe(observe(Evidence(), first, design), second, design), design))
    assert e <= 1.0 + ROUNDING
    assert p <= 1.0 + ROUNDING


@st.composite
def counts(draw: st.DrawFn, most: int = 10**9) -> Counts:
    n = draw(st.integers(0, 50) | st.integers(0, most))
    return Counts(n, draw(st.integers(0, n)))


looks = st.builds(Look, counts(), counts())
histories = st.lists(st.tuples(looks, phis), max_size=6)
designs = st.builds(Design, alpha=st.sampled_from([0.01, 1e-4]), harm_ratio=st.sampled_from([1.5, 2.0]))


@given(histories, designs)
@settings(max_examples=examples(60), deadline=None)
def test_a_restart_after_any_look_changes_nothing_monitoring_18(
    history: list[tuple[Look, float]], design: Design
) -> None:
    straight = restarted = Evidence()
    for look, phi in history:
        straight = observe(straight, look, design, phi)
        restarted = observe(from_json(json.loads(json.dumps(to_json(restarted)))), look, design, phi)
    assert restarted == straight


@given(histories, designs)
@settings(max_examples=examples(60), deadline=None)
def test_whatever_is_counted_the_evidence_is_finite(history: list[tuple[Look, float]], design: Design) -> None:
    evidence = Evidence()
    for look, phi in history:
        evidence = observe(evidence, look, design, phi)
    assert math.isfinite(log_rollback(evidence))
    assert math.isfinite(log_promote(evidence, design))


@given(looks, designs)
@settings(max_examples=examples(60), deadline=None)
def test_one_look_alone_never_rolls_back(look: Look, design: Design) -> None:
    assert log_rollback(observe(Evidence(), look, design)) <= design.log_rollback_at / 2 + ROUNDING


@given(st.lists(counts(1000), min_size=1, max_size=6), st.randoms(use_true_random=False), counts(1000))
@settings(max_examples=examples(60), deadline=None)
def test_replicas_and_their_order_do_not_matter_monitoring_16(
    pods: list[Counts], random: object, stable: Counts
) -> None:
    shuffled = list(pods)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    as_one = observe(Evidence(), Look(Counts(sum(p.n for p in pods), sum(p.events for p in pods)), stable), Design())
    as_many = observe(Evidence(), Look(sum(shuffled, Counts()), stable), Design())
    assert as_many == as_one
    assert accumulate(Dispersion(), shuffled) == accumulate(Dispersion(), pods)
