"""The share of requests handed on: exact over every prefix, also while it changes, and fair to traffic with a rhythm."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from modelcycle_bundle.traffic import SHARE_DENOMINATOR
from modelcycle_serving.split import Split

SHARES = st.one_of(st.integers(0, SHARE_DENOMINATOR), st.sampled_from([0, 1, 500, 5000, 9999, SHARE_DENOMINATOR]))


@given(seed=st.integers(), phases=st.lists(st.tuples(SHARES, st.integers(1, 400)), min_size=1, max_size=8))
@settings(max_examples=examples(200), deadline=None)
def test_share_is_exact_over_every_prefix_and_across_changes_delivery_5(
    seed: int, phases: list[tuple[int, int]]
) -> None:
    split = Split(Random(seed))
    forwarded = due = 0
    for share, requests in phases:
        for _ in range(requests):
            forwarded += split.take(share)
            due += share
            assert abs(forwarded * SHARE_DENOMINATOR - due) <= SHARE_DENOMINATOR


@given(seed=st.integers(), before=st.lists(SHARES, max_size=50))
@settings(max_examples=examples(50), deadline=None)
def test_share_of_all_forwards_all_and_share_of_none_nothing_more_than_was_due(seed: int, before: list[int]) -> None:
    split = Split(Random(seed))
    for share in before:
        split.take(share)
    assert all(split.take(SHARE_DENOMINATOR) for _ in range(30))
    assert sum(split.take(0) for _ in range(30)) <= 1


@pytest.mark.parametrize("share", [100, 500, 2500, 5000])
def test_no_machine_of_a_round_robin_is_preferred(share: int) -> None:
    machines, rounds = 20, 4000
    split = Split(Random("pod-1"))
    counts = [0] * machines
    for request in range(machines * rounds):
        counts[request % machines] += split.take(share)
    expected = rounds * share / SHARE_DENOMINATOR
    spread = (rounds * (share / SHARE_DENOMINATOR) * (1 - share / SHARE_DENOMINATOR)) ** 0.5
    assert max(abs(count - expected) for count in counts) < 5 * spread, counts


def test_pods_do_not_fire_in_step() -> None:
    one, other = Split(Random("pod-1")), Split(Random("pod-2"))
    assert [one.take(500) for _ in range(200)] != [other.take(500) for _ in range(200)]
