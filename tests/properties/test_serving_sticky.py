"""The place of a key: the same everywhere, monotone in the share, uniform, and independent from one rollout to the next."""

from hashlib import sha256
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from modelcycle_bundle.traffic import SHARE_DENOMINATOR
from modelcycle_serving.split import place

KEYS = [b"user-%d" % number for number in range(100_000)]
ONE, TWO = b"aabbcc-00000001", b"aabbcc-00000002"


def places(salt: bytes) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array([place(salt, key) for key in KEYS])


def test_places_are_the_ones_of_every_version_and_of_the_command_line() -> None:
    """Another value would move users from one arm to the other in an upgrade. The hash: printf 'SALT\\0KEY' | sha256sum | head -c 16."""
    assert [place(ONE, key) for key in (b"user-7", b"", b"\xff\x00", "Zoë".encode())] == [9612, 3264, 7067, 9825]
    top = int(sha256(ONE + b"\0user-7").hexdigest()[:16], 16)
    assert place(ONE, b"user-7") == top * SHARE_DENOMINATOR // 2**64


@given(salt=st.binary(max_size=20), key=st.binary(max_size=200), shares=st.lists(st.integers(0, SHARE_DENOMINATOR)))
@settings(max_examples=examples(200), deadline=None)
def test_who_is_in_at_a_share_is_in_at_every_larger_one(salt: bytes, key: bytes, shares: list[int]) -> None:
    taken = [place(salt, key) < share for share in sorted(shares)]
    assert taken == sorted(taken)
    assert 0 <= place(salt, key) < SHARE_DENOMINATOR


@pytest.mark.parametrize("salt", [ONE, TWO])
def test_places_are_uniform(salt: bytes) -> None:
    """Chi-square over 100 cells, 99 degrees of freedom: above 149 once in 1,000 salts. The keys are fixed, and so is the outcome."""
    counts = np.bincount(places(salt) * 100 // SHARE_DENOMINATOR, minlength=100)
    expected = len(KEYS) / 100
    assert float(((counts - expected) ** 2 / expected).sum()) < 149


@pytest.mark.parametrize("share", [1, 500, 2000, 5000])
def test_share_of_keys_is_the_share_asked_for(share: int) -> None:
    wanted = share / SHARE_DENOMINATOR
    deviation = sqrt(wanted * (1 - wanted) / len(KEYS))
    assert abs(float((places(ONE) < share).mean()) - wanted) < 4 * deviation


def test_rollouts_draw_independently() -> None:
    """Whoever met one canary is no likelier to meet the next: chi-square of independence over 10 x 10 cells, 81 degrees of freedom."""
    first, second = (places(salt) * 10 // SHARE_DENOMINATOR for salt in (ONE, TWO))
    cells = np.bincount(first * 10 + second, minlength=100).reshape(10, 10)
    expected = np.outer(cells.sum(axis=1), cells.sum(axis=0)) / len(KEYS)
    assert float(((cells - expected) ** 2 / expected).sum()) < 127


def test_salt_and_key_do_not_run_into_each_other() -> None:
    assert place(b"a", b"bc") != place(b"ab", b"c")
