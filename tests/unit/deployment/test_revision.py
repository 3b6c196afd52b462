"""The identity of a revision: golden hashes. A hash that changes here rolls out every model of every cluster on upgrade."""

from dataclasses import replace

import pytest

from modelcycle.deployment.revision import Target, canonical

PLAIN = Target("s3://models/scrap/sha256-" + "a" * 64, "sha256:" + "a" * 64, secret=None, image=None)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (PLAIN, "395c90c2aa"),
        (replace(PLAIN, secret="store-credentials"), "4277951335"),
        (replace(PLAIN, image="localhost/serving@sha256:" + "1" * 64), "4f7ca5a17b"),
        (replace(PLAIN, requests={"cpu": "250m", "memory": "128Mi"}, limits={"memory": "256Mi"}), "b662350c82"),
        (replace(PLAIN, requests={}), "4e237882c0"),
    ],
)
def test_golden_hashes_never_change_delivery_41(target: Target, expected: str) -> None:
    assert target.hash == expected


def test_order_of_resources_is_not_identity() -> None:
    one = replace(PLAIN, requests={"cpu": "1", "memory": "1Gi"})
    other = replace(PLAIN, requests={"memory": "1Gi", "cpu": "1"})
    assert one.hash == other.hash


def test_canonical_form_is_versioned_and_leaves_out_what_is_absent() -> None:
    assert canonical(PLAIN) == (
        '{"digest":"sha256:' + "a" * 64 + '","uri":"s3://models/scrap/sha256-' + "a" * 64 + '","v":1}'
    )
