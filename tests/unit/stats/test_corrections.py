"""Combining and correcting p-values, against scipy and by what they promise."""

import numpy as np
import pytest
from scipy import stats

from modelcycle.stats.corrections import LARGEST, SMALLEST, benjamini_hochberg, cauchy_combined


@pytest.mark.parametrize("p", [0.9, 0.5, 0.02, 1e-6, 1e-12])
def test_equal_p_values_combine_to_themselves(p: float) -> None:
    assert cauchy_combined((p, p)) == pytest.approx(p, rel=1e-9)


def test_combination_is_the_formula_of_liu_and_xie() -> None:
    p = np.array([0.003, 0.4])
    statistic = np.tan((0.5 - p) * np.pi).mean()
    assert cauchy_combined(p.tolist()) == pytest.approx(stats.cauchy.sf(statistic), rel=1e-9)


def test_one_certain_answer_is_not_cancelled_by_an_indifferent_one() -> None:
    assert cauchy_combined((1e-9, 1.0)) == pytest.approx(2e-9, rel=0.01)
    assert cauchy_combined((0.0, 0.0)) == pytest.approx(SMALLEST, rel=1e-6)
    assert cauchy_combined((1.0, 1.0)) == pytest.approx(LARGEST)


def test_benjamini_hochberg_agrees_with_scipy() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        p = np.concatenate((rng.random(15), rng.random(5) * 1e-3))
        expected = stats.false_discovery_control(p) <= 0.05
        assert benjamini_hochberg(p.tolist(), 0.05) == expected.tolist()


def test_benjamini_hochberg_of_nothing() -> None:
    assert benjamini_hochberg([], 0.05) == []
