"""E, P, verdict and fail-fast against numbers computed another way."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from modelcycle.stats.evidence import (
    ABSOLUTE_FRACTIONS,
    ODDS_RATIOS,
    Counts,
    Design,
    Evidence,
    Look,
    Verdict,
    fail_fast,
    from_json,
    log_promote,
    log_rollback,
    observe,
    to_json,
    verdict,
)

DESIGN = Design()


def look(canary: tuple[int, int], stable: tuple[int, int]) -> Look:
    """(answers, events) of both arms."""
    return Look(Counts(*canary), Counts(*stable))


def after(*looks: Look, design: Design = DESIGN, phi: float = 1.0) -> Evidence:
    """Evidence after these looks."""
    evidence = Evidence()
    for item in looks:
        evidence = observe(evidence, item, design, phi)
    return evidence


def exact_likelihood_ratios(item: Look) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """psi**k / M(psi) for each odds ratio, by scipy's hypergeometric."""
    total, events = item.canary.n + item.stable.n, item.canary.events + item.stable.events
    j = np.arange(item.canary.n + 1)
    chances = hypergeom.pmf(j, total, events, item.canary.n)
    return np.array([psi**item.canary.events / float((chances * psi**j).sum()) for psi in ODDS_RATIOS])


@pytest.mark.parametrize(
    "item",
    [look((20, 2), (180, 1)), look((20, 0), (180, 4)), look((20, 18), (180, 170)), look((50, 49), (50, 30))],
    ids=str,
)
def test_e_is_at_most_the_exact_likelihood_ratio_and_close_to_it(item: Look) -> None:
    ours = np.array(after(item, design=Design(alpha=1e-30)).log_e)
    exact = np.log(exact_likelihood_ratios(item))
    assert np.all(ours <= exact + 1e-12)
    assert ours[0] == pytest.approx(exact[0], abs=0.05)  # the bound is tight near odds of 1


def test_the_odds_ratios_that_stored_evidence_has_one_number_for_are_those_of_all_releases() -> None:
    assert np.array(ODDS_RATIOS) == pytest.approx(np.geomspace(1.25, 16.0, 12), rel=1e-15)


def test_e_is_the_formula_for_rare_events_and_its_mirror_image_for_frequent_ones() -> None:
    psi, share = np.array(ODDS_RATIOS), 20 / 200
    rare = after(look((20, 2), (180, 1)), design=Design(alpha=1e-9))
    assert rare.log_e == pytest.approx(2 * np.log(psi) - 3 * np.log(1 + share * (psi - 1)))
    frequent = after(look((20, 19), (180, 150)), design=Design(alpha=1e-9))
    assert frequent.log_e == pytest.approx(-np.log(psi) - 31 * np.log(1 + share * (1 / psi - 1)))


def test_p_relative_is_the_exact_pgf_over_the_power() -> None:
    item = look((20, 2), (180, 3))
    j = np.arange(6)
    pgf = float((hypergeom.pmf(j, 200, 5, 20) * 2.0**j).sum())
    assert after(item).log_p_relative == pytest.approx(math.log(pgf / 4.0), abs=1e-12)


def test_p_is_half_relative_half_absolute() -> None:
    evidence = after(look((20, 1), (180, 3)), look((30, 0), (270, 2)))
    q = np.array(ABSOLUTE_FRACTIONS) * 0.01
    absolute = float((((1 - q) / 0.99) ** 49 * (q / 0.01) ** 1).mean())
    relative = math.exp(evidence.log_p_relative)
    assert log_promote(evidence, DESIGN) == pytest.approx(math.log(relative / 2 + absolute / 2), abs=1e-12)


def test_rollback_is_the_mean_over_the_odds_ratios() -> None:
    evidence = after(look((20, 3), (180, 1)), look((20, 0), (180, 1)))
    assert log_rollback(evidence) == pytest.approx(math.log(np.exp(evidence.log_e).mean()))


@pytest.mark.parametrize(("floor", "needed"), [(0.01, 422), (0.005, 845)])
def test_a_canary_without_events_passes_at_exactly_so_many_requests(floor: float, needed: int) -> None:
    design = Design(harm_floor=floor)
    one_by_one = [look((1, 0), (9, 0))] * needed
    assert verdict(after(*one_by_one[:-1], design=design), design) is Verdict.CONTINUE
    assert verdict(after(*one_by_one, design=design), design) is Verdict.PASS


def test_one_look_multiplies_e_by_at_most_one_over_the_root_of_alpha() -> None:
    item = look((1000, 1000), (9000, 0))
    once, twice = after(item), after(item, item)
    assert max(once.log_e) == pytest.approx(math.log(10.0))
    assert verdict(once, DESIGN) is not Verdict.FAIL
    assert verdict(twice, DESIGN) is Verdict.FAIL


def test_dispersion_divides_what_the_cap_has_left_and_leaves_p_alone_monitoring_26() -> None:
    mild, wild = look((20, 1), (180, 1)), look((20, 20), (180, 0))
    assert after(mild, phi=4.0).log_e == pytest.approx(np.array(after(mild).log_e) / 4.0)
    assert max(after(wild, phi=4.0).log_e) == pytest.approx(math.log(10.0) / 4.0)
    assert after(mild, phi=4.0).log_p_relative == pytest.approx(after(mild).log_p_relative / 4.0)


@pytest.mark.parametrize("phi", [0.99, 0.0, -1.0, math.nan, math.inf])
def test_a_dispersion_below_one_would_invent_evidence(phi: float) -> None:
    with pytest.raises(ValueError, match="phi"):
        observe(Evidence(), look((1, 0), (1, 0)), DESIGN, phi)


@pytest.mark.parametrize(
    "item",
    [
        look((0, 0), (180, 9)),
        look((20, 5), (0, 0)),
        look((0, 0), (0, 0)),
        look((20, 0), (180, 0)),
        look((9, 9), (1, 1)),
    ],
    ids=["canary silent", "stable silent", "both silent", "no events", "events only"],
)
def test_a_look_that_compares_nothing_changes_totals_only(item: Look) -> None:
    before = after(look((20, 1), (180, 1)))
    evidence = observe(before, item, DESIGN)
    assert (evidence.log_e, evidence.log_p_relative) == (before.log_e, before.log_p_relative)
    assert evidence.canary == before.canary + item.canary
    assert evidence.stable == before.stable + item.stable
    assert evidence.looks == 2


def test_the_same_totals_in_other_looks_are_other_evidence() -> None:
    apart = after(look((20, 5), (20, 5)), look((20, 0), (180, 0)))
    together = after(look((40, 5), (200, 5)))
    assert log_rollback(apart) < log_rollback(together)  # an outage of both arms at equal shares is no evidence


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (Evidence(), Verdict.NO_DATA),
        (after(look((0, 0), (50, 1))), Verdict.NO_DATA),
        (after(look((50, 1), (0, 0))), Verdict.INSUFFICIENT_DATA),
        (after(look((20, 0), (180, 1))), Verdict.CONTINUE),
        (after(look((422, 0), (0, 0))), Verdict.PASS),
        (after(look((50, 25), (450, 5)), look((50, 25), (450, 5))), Verdict.FAIL),
        (replace(after(look((9000, 0), (0, 0))), log_e=(9.0,) * 12), Verdict.FAIL),
    ],
    ids=["nothing", "stable alone", "canary alone", "both", "no events", "worse", "both bars reached"],
)
def test_verdicts(evidence: Evidence, expected: Verdict) -> None:
    assert verdict(evidence, DESIGN) is expected


BAD, GOOD = look((8, 8), (72, 0)), look((8, 0), (72, 0))


@pytest.mark.parametrize(
    ("recent", "expected"),
    [
        ([], False),
        ([BAD], True),
        ([GOOD, BAD], True),
        ([BAD, GOOD], False),
        ([look((7, 7), (63, 0))], False),
        ([look((4, 4), (36, 0)), look((4, 4), (36, 0))], True),
        ([look((4, 4), (36, 0)), look((0, 0), (0, 0)), look((4, 4), (36, 0))], False),
        ([look((8, 7), (72, 0))], False),
        ([look((8, 8), (72, 36))], False),
        ([look((8, 8), (72, 35))], True),
        ([look((8, 8), (0, 0))], False),
        ([look((4, 3), (36, 0)), look((8, 8), (72, 0))], True),
        ([look((4, 4), (36, 36)), look((4, 4), (10, 0))], False),
        ([look((9002, 9000), (81000, 40))], True),
        ([look((9002, 9000), (81000, 41000))], False),
        ([look((12, 11), (108, 0))], True),
        ([look((11, 10), (108, 0))], False),
        ([look((1000, 890), (9000, 0))], False),
        ([look((1000, 900), (9000, 0))], True),
    ],
    ids=str,
)
def test_fail_fast(recent: list[Look], expected: bool) -> None:
    assert fail_fast(recent) is expected


def late(canary: tuple[int, int], among: int) -> Look:
    """A look with late answers among the canary's bad ones, where stable fails nothing."""
    return replace(look(canary, (72, 0)), late=among)


@pytest.mark.parametrize(
    ("recent", "expected"),
    [
        ([late((8, 8), 8)], False),
        ([GOOD, late((8, 8), 8)], False),
        ([late((8, 8), 8), late((8, 8), 8)], True),
        ([late((4, 4), 4), late((4, 4), 4)], True),
        ([late((9, 8), 8), late((100, 100), 100)], False),
        ([late((0, 0), 0), late((100, 100), 100)], False),
        ([late((8, 8), 4)], True),
        ([GOOD, late((8, 8), 5)], False),
    ],
    ids=str,
)
def test_late_answers_that_came_together_in_one_look_are_no_reason_for_fail_fast(
    recent: list[Look], expected: bool
) -> None:
    assert fail_fast(recent) is expected


@given(answers=st.integers(1, 600), good=st.integers(0, 60), half=st.integers(0, 299))
def test_fail_fast_is_no_likelier_than_eight_bad_of_eight_for_an_arm_that_fails_half(
    answers: int, good: int, half: int
) -> None:
    good = min(good, answers)
    exact = sum(math.comb(answers, k) for k in range(good + 1)) / 2**answers
    if fail_fast([look((answers, answers - good), (600, half))]):
        assert exact <= 2**-8 * (1 + 1e-6)
        assert good <= answers / 10
    elif good <= answers / 10:
        assert exact > 2**-8 / 2  # the bound of the sum is no cruder than that


@pytest.mark.parametrize("pair", [(-1, 0), (3, 4), (3, -1)])
def test_counts_that_cannot_be_are_refused_monitoring_41(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="events among"):
        Counts(*pair)


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"beta": math.nan},
        {"beta": -0.1},
        {"harm_ratio": 1.0},
        {"harm_ratio": math.inf},
        {"harm_ratio": math.nan},
        {"harm_floor": 0.0},
        {"harm_floor": 1.5},
    ],
    ids=str,
)
def test_a_design_outside_its_ranges_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Design(**wrong)


def test_evidence_is_json_without_floats_and_of_bounded_length() -> None:
    evidence = after(*[look((10**9, 10**8), (10**9, 10**7))] * 3, phi=1.7)
    document = to_json(evidence)
    assert from_json(document) == evidence
    texts = [*document["logE"], document["logP"]]  # type: ignore[misc]
    assert all(isinstance(text, str) and len(text) <= 24 for text in texts)


GOOD_DOCUMENT = to_json(after(look((20, 1), (180, 1))))


@pytest.mark.parametrize(
    "change",
    [
        {"logE": ["0.0"] * 11},
        {"logE": "0.0"},
        {"logE": [0.0] * 12},
        {"logP": "nan"},
        {"logP": "inf"},
        {"logP": "many"},
        {"logP": 0.0},
        {"looks": -1},
        {"looks": True},
        {"looks": "3"},
        {"canary": {"n": 1}},
        {"canary": {"n": 1, "events": 2}},
        {"stable": None},
    ],
    ids=str,
)
def test_damaged_evidence_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        from_json({**GOOD_DOCUMENT, **change})


@pytest.mark.parametrize("value", [None, [], "x", {}])
def test_what_is_no_evidence_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not evidence"):
        from_json(value)
