"""Binned tests: their formulas against scipy, their promises by seeded draws."""

import math

import numpy as np
import pytest
from scipy import stats

from modelcycle.stats import binned
from modelcycle.stats.binned import debiased_psi, ordered_p, rows_needed, unordered_p

TEN = [0.1] * 10


def draws(n: int, shares: list[float], seed: int, times: int) -> list[list[int]]:
    found: list[list[int]] = np.random.default_rng(seed).multinomial(n, shares, size=times).tolist()
    return found


def test_pearson_is_scipys_test_of_homogeneity() -> None:
    reference, current = [2000, 1500, 800, 700], [90, 60, 61, 39]
    expected = stats.chi2_contingency(np.array([reference, current]), correction=False).pvalue
    assert unordered_p(reference, current) == pytest.approx(expected, rel=1e-9)


def test_small_bins_are_merged_until_five_are_expected() -> None:
    """The third bin expects 4.2 current rows: with an order it joins its neighbour, without one the smallest."""
    reference, current = [900, 3000, 80, 800, 500], [60, 160, 5, 30, 30]
    unordered = stats.chi2_contingency(
        np.array([[80 + 500, 900, 3000, 800], [5 + 30, 60, 160, 30]]), correction=False
    ).pvalue
    assert unordered_p(reference, current) == pytest.approx(unordered, rel=1e-9)
    assert binned._adjacent_merged(list(zip(reference, current, strict=True))) == [
        (900, 60),
        (3000, 160),
        (880, 35),
        (500, 30),
    ]


@pytest.mark.parametrize("times", [400])
def test_anderson_darling_agrees_with_a_permutation_test(times: int) -> None:
    """The same statistic over shuffled labels of the same rows."""
    rng = np.random.default_rng(11)
    reference, current = [300] * 10, [40, 35, 33, 30, 30, 31, 28, 27, 24, 22]
    rows = np.repeat(np.arange(10), np.add(reference, current))
    observed = _statistic(reference, current)
    shuffled = []
    for _ in range(times * 10):
        part = np.bincount(rng.permutation(rows)[:300], minlength=10)
        shuffled.append(_statistic((np.add(reference, current) - part).tolist(), part.tolist()))
    drawn = float(np.mean(np.array(shuffled) >= observed))
    p = binned._anderson_darling(list(zip(reference, current, strict=True)))
    assert p == pytest.approx(drawn, abs=4 * math.sqrt(drawn * (1 - drawn) / (times * 10)))


def _statistic(reference: list[int], current: list[int]) -> float:
    r, c = np.cumsum(reference)[:-1], np.cumsum(current)[:-1]
    m, n = sum(reference), sum(current)
    pooled = (r + c) / (m + n)
    return float(m * n / (m + n) * np.mean((c / n - r / m) ** 2 / (pooled * (1 - pooled))))


@pytest.mark.parametrize(("n", "seed"), [(100, 1), (1000, 2), (20_000, 3)])
def test_ordered_p_is_calibrated_when_nothing_moved(n: int, seed: int) -> None:
    """Rejections at each level stay below the level plus four standard errors, and near it: 6,000 draws."""
    times = 6000
    pairs = zip(draws(20_000, TEN, seed, times), draws(n, TEN, seed + 100, times), strict=True)
    found = np.array([ordered_p(r, c) for r, c in pairs])
    for level in (0.05, 0.01, 0.001):
        error = math.sqrt(level / times)
        assert 0.5 * level - 4 * error <= (found <= level).mean() <= 1.3 * level + 4 * error


def test_the_combination_sees_what_either_test_misses() -> None:
    """Power at 0.001, n 1500: a spike in one bin is Pearson's, a small shift of all bins is Anderson-Darling's."""
    reference = [2000] * 10
    spike = [0.095] * 5 + [0.145] + [0.095] * 4
    tilt = (np.linspace(1.2, 0.8, 10) / 10).tolist()

    def power(shares: list[float]) -> tuple[float, float, float]:
        sampled = draws(1500, shares, 4, 300)
        pairs = [list(zip(reference, current, strict=True)) for current in sampled]
        return (
            float(np.mean([ordered_p(reference, current) <= 1e-3 for current in sampled])),
            float(np.mean([binned._pearson(each) <= 1e-3 for each in pairs])),
            float(np.mean([binned._anderson_darling(each) <= 1e-3 for each in pairs])),
        )

    combined, pearson, anderson = power(spike)
    assert anderson + 0.3 < combined <= pearson
    combined, pearson, anderson = power(tilt)
    assert pearson + 0.2 < combined <= anderson


@pytest.mark.parametrize("test", [ordered_p, unordered_p])
def test_nothing_to_compare_is_no_evidence(test: object) -> None:
    assert callable(test)
    for reference, current in (([5, 5], [0, 0]), ([0, 0], [5, 5]), ([10], [3]), ([1000, 2], [10, 0])):
        assert test(reference, current) == 1.0


def test_disjoint_samples_are_certain() -> None:
    reference, current = [10_000] * 5 + [0] * 5, [0] * 5 + [10_000] * 5
    assert ordered_p(reference, current) < 1e-14
    assert math.isfinite(debiased_psi(reference, current))


@pytest.mark.parametrize("n", [200, 1000, 100_000])
def test_psi_without_drift_is_zero_on_average_whatever_n(n: int) -> None:
    """Before the floor at zero: the bias of the plain index is (B-1)(1/m+1/n)."""
    plain = [_plain_psi(r, c) for r, c in zip(draws(20_000, TEN, 5, 2000), draws(n, TEN, 6, 2000), strict=True)]
    bias = 9 * (1 / 20_000 + 1 / n)
    assert np.mean(plain) == pytest.approx(bias, rel=0.06)
    debiased = [debiased_psi(r, c) for r, c in zip(draws(20_000, TEN, 5, 50), draws(n, TEN, 6, 50), strict=True)]
    assert min(debiased) == 0.0


def _plain_psi(reference: list[int], current: list[int]) -> float:
    r = (np.array(reference) + 0.5) / (sum(reference) + 5)
    c = (np.array(current) + 0.5) / (sum(current) + 5)
    return float(((c - r) * np.log(c / r)).sum())


def test_psi_of_a_large_sample_is_the_textbook_index() -> None:
    shares = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
    textbook = float(((shares - 0.2) * np.log(shares / 0.2)).sum())
    assert debiased_psi([2_000_000] * 5, (shares * 10_000_000).astype(int).tolist()) == pytest.approx(
        textbook, rel=1e-4
    )


def test_psi_of_nothing_is_nothing() -> None:
    assert [debiased_psi([1], [4]), debiased_psi([3, 3], [0, 0]), debiased_psi([0, 0], [3, 3])] == [0.0, 0.0, 0.0]


def test_rows_needed_are_those_of_the_formula_monitoring_2() -> None:
    assert (rows_needed(11, 0.1), rows_needed(11, 0.25), rows_needed(1, 0.1)) == (296, 119, 0)
    assert rows_needed(20, 0.1) == math.ceil(stats.chi2.isf(0.001, 19) / 0.1)


def test_with_the_rows_needed_noise_passes_for_the_effect_once_in_a_thousand() -> None:
    n = rows_needed(10, 0.1)
    found = [debiased_psi([200_000] * 10, c) >= 0.1 for c in draws(n, TEN, 8, 20_000)]
    assert np.mean(found) <= 0.001
