"""Tails of null distributions against scipy, and against draws where scipy has nothing."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from modelcycle.stats.fisher import excess
from modelcycle.stats.tails import chi2_point, chi2_tail, weighted_chi2_tail


@pytest.mark.parametrize("df", [1, 2, 3, 9, 10, 19, 40])
@pytest.mark.parametrize("x", [1e-6, 0.3, 1.0, 9.5, 60.0, 400.0, 1300.0])
def test_chi_squared_tail_is_exact_however_far_out(df: int, x: float) -> None:
    assert chi2_tail(x, df) == pytest.approx(stats.chi2.sf(x, df), rel=1e-10, abs=1e-290)


def test_chi_squared_tail_of_nothing_is_one() -> None:
    assert [chi2_tail(x, 3) for x in (0.0, -1.0)] == [1.0, 1.0]


@pytest.mark.parametrize("df", [1, 2, 9, 19])
@pytest.mark.parametrize("tail", [0.5, 0.001, 1e-9])
def test_chi_squared_point_is_the_inverse(df: int, tail: float) -> None:
    assert chi2_point(tail, df) == pytest.approx(stats.chi2.isf(tail, df), rel=1e-7)


@pytest.mark.parametrize("scale", [0.2, 1.0, 30.0])
@pytest.mark.parametrize("tail", [0.9, 0.4, 0.05, 1e-3, 1e-6, 1e-12])
def test_equal_weights_are_a_scaled_chi_squared(scale: float, tail: float) -> None:
    """Barndorff-Nielsen's form is within two percent here, twelve decades down."""
    x = scale * stats.chi2.isf(tail, 6)
    assert weighted_chi2_tail(x, [scale] * 6) == pytest.approx(tail, rel=0.02)


@pytest.mark.parametrize(
    "weights", [[0.55, 0.2, 0.11, 0.07, 0.04, 0.03], [0.9, 0.05, 0.05], [1 / (j * (j + 1)) for j in range(1, 20)]]
)
@pytest.mark.parametrize("x", [0.3, 0.8, 1.0, 2.0, 4.0, 8.0, 11.0])
def test_weighted_tail_agrees_with_numerical_inversion(weights: list[float], x: float) -> None:
    """Imhof, Biometrika 1961. Far out the approximation errs to the side of a larger probability."""
    exact = inverted(np.array(weights), x)
    assert 0.95 * exact <= weighted_chi2_tail(x, weights) <= 1.1 * exact
    if exact < 0.01:
        assert weighted_chi2_tail(x, weights) > exact


def inverted(weights: NDArray[np.float64], x: float) -> float:
    def integrand(u: float) -> float:
        angle = 0.5 * np.sum(np.arctan(weights * u)) - 0.5 * x * u
        return float(np.sin(angle) / (u * np.prod((1 + (weights * u) ** 2) ** 0.25)))

    value, _ = integrate.quad(integrand, 0, 400, limit=4000)
    return 0.5 + float(value) / math.pi


def test_weighted_tail_falls_without_a_step_at_the_mean() -> None:
    weights = [0.5, 0.3, 0.2]
    grid = np.linspace(0.9, 1.1, 401)
    tails = np.array([weighted_chi2_tail(float(x), weights) for x in grid])
    assert np.all(np.diff(tails) < 0)
    assert np.abs(np.diff(tails)).max() < 0.001


def test_weighted_tail_of_nothing_is_one() -> None:
    assert weighted_chi2_tail(0.0, [1.0]) == 1.0


@pytest.mark.parametrize(
    ("reference_events", "reference_rows", "events", "rows"),
    [
        (40, 20_000, 3, 1000),
        (0, 20_000, 10, 200),
        (0, 20_000, 1, 50),
        (100, 1000, 0, 50),
        (100, 1000, 3, 50),
        (5, 10, 10, 10),
        (10, 10, 10, 10),
        (0, 0, 3, 10),
        (1000, 100_000, 1000, 100_000),
        (1000, 100_000, 900, 100_000),
        (100_000, 10_000_000, 11_000, 1_000_000),
    ],
)
def test_excess_is_the_hypergeometric_tail(reference_events: int, reference_rows: int, events: int, rows: int) -> None:
    total, all_events = reference_rows + rows, reference_events + events
    expected = stats.hypergeom.sf(events - 1, total, all_events, rows)
    assert excess(reference_events, reference_rows, events, rows) == pytest.approx(expected, rel=2e-6)


def test_excess_is_fishers_test_of_scipy() -> None:
    table = [[7, 193], [31, 19_969]]
    expected = stats.fisher_exact(table, alternative="greater").pvalue
    assert excess(31, 20_000, 7, 200) == pytest.approx(expected, rel=1e-9)


def test_excess_of_no_rows_says_nothing() -> None:
    assert excess(3, 100, 0, 0) == 1.0
