"""The traffic annotation: every value survives the text, junk is refused whole, and a marker only binds within a ModelDeployment."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from modelcycle_bundle.traffic import SHARE_DENOMINATOR, Traffic, TrafficError, is_marked, parse, to_text

HEX = "0123456789abcdef"
ROLLOUTS = st.builds("{}-{}".format, st.text(HEX, min_size=6, max_size=6), st.text(HEX, min_size=8, max_size=8))
ADDRESSES = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map("[{}]".format))
TARGETS = st.builds("{}:{}".format, ADDRESSES, st.integers(1, 65535))
COMMON = {
    "seq": st.integers(0, 2**63),
    "timeout": st.integers(1, 60_000).map(lambda milliseconds: milliseconds / 1000),
    "close": st.booleans(),
    "sticky": st.just("") | st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True),
    "test_header": st.booleans(),
}
SENDING = {"rollout": ROLLOUTS, "target": TARGETS, **COMMON}
TRAFFICS = st.one_of(
    st.builds(Traffic, share=st.integers(1, SHARE_DENOMINATOR), shadow=st.integers(0, SHARE_DENOMINATOR), **SENDING),
    st.builds(Traffic, share=st.just(0), shadow=st.integers(1, SHARE_DENOMINATOR), **SENDING),
    st.builds(Traffic, rollout=ROLLOUTS | st.just(""), share=st.just(0), target=TARGETS | st.just(""), **COMMON),
)
VALID = {
    "rollout": "aabbcc-00112233",
    "seq": 3,
    "share": "0.0500",
    "target": "10.96.0.7:8080",
    "timeout": "1.000",
    "close": False,
}
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*VALID, "x"]), inner, max_size=6),
    max_leaves=8,
)


@given(traffic=TRAFFICS)
@settings(max_examples=examples(200), deadline=None)
def test_every_traffic_survives_its_text_and_equal_values_are_equal_texts(traffic: Traffic) -> None:
    text = to_text(traffic)
    assert parse(text) == traffic
    assert to_text(parse(text)) == text
    assert parse(json.dumps(json.loads(text), indent=2)) == traffic


def test_text_without_the_later_fields_is_what_the_first_release_wrote() -> None:
    """An upgrade of the operator rewrites no pod's annotation."""
    first = '{"close":false,"rollout":"aabbcc-00112233","seq":3,"share":"0.0500","target":"10.96.0.7:8080","timeout":"1.000"}'
    assert to_text(Traffic("aabbcc-00112233", 3, 500, "10.96.0.7:8080")) == first
    assert parse(first) == Traffic("aabbcc-00112233", 3, 500, "10.96.0.7:8080")


@pytest.mark.parametrize("text", ["", "  \n", to_text(Traffic())])
def test_no_annotation_is_the_zero_value(text: str) -> None:
    assert parse(text) == Traffic()


def test_unknown_fields_are_ignored() -> None:
    assert parse(json.dumps({**VALID, "later": [1]})) == parse(json.dumps(VALID))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[
            ("rollout", value)
            for value in ("", "aabbcc", "AABBCC-00112233", "aabbcc-00112233\n", "aabbcc-00112233\r\nX: y", 7, None)
        ],
        *[("seq", value) for value in (-1, 1.0, "1", True, None)],
        *[("share", value) for value in ("1.0001", "-0.1", "nan", "1e-3", "٠.٥", "0.5\n", 0.5, True, None)],
        *[
            ("target", value)
            for value in (
                "",
                "a:80",
                "10.0.0.1",
                "10.0.0.1:",
                "10.0.0.1:0",
                "10.0.0.1:65536",
                "10.0.0.1:80\n",
                "10.0.0.256:80",
            )
        ],
        *[
            ("target", value)
            for value in ("10.0.0.1:٨٠", "::1:80", "[10.0.0.1]:80", "[fe80::1%eth0\r\n]:80", ["10.0.0.1:80"], None)
        ],
        *[("timeout", value) for value in ("0", "0.0001", "60.001", "inf", 1, None)],
    ],
)
def test_a_bad_field_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(TrafficError, match=f"^{field}"):
        parse(json.dumps({**VALID, field: value}))
    without = {name: each for name, each in VALID.items() if name != field}
    with pytest.raises(TrafficError, match=f"^{field}"):
        parse(json.dumps(without))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("shadow", value) for value in ("1.0001", "-0.1", "1e-3", 0.5, True, None)],
        *[("sticky", value) for value in ("", "X-User", "-x", "x user", "x:y", "x\n", "a" * 64, 7, None)],
    ],
)
def test_a_bad_later_field_is_refused_by_name_and_may_be_left_out(field: str, value: Any) -> None:
    with pytest.raises(TrafficError, match=f"^{field}"):
        parse(json.dumps({**VALID, field: value}))


@pytest.mark.parametrize("missing", ["rollout", "target"])
def test_a_copy_needs_a_name_and_a_place_too(missing: str) -> None:
    with pytest.raises(TrafficError, match=f"^{missing}"):
        parse(json.dumps({**VALID, "share": "0.0000", "shadow": "0.1000", missing: ""}))


def test_only_true_lets_a_test_pick_its_arm() -> None:
    assert parse(json.dumps({**VALID, "testHeader": True})).test_header
    assert not any(parse(json.dumps({**VALID, "testHeader": value})).test_header for value in (False, "true", 1, None))


@given(
    junk=st.one_of(
        JUNK.map(json.dumps), st.text(max_size=40), JUNK.map(lambda each: json.dumps({**VALID, "share": each}))
    )
)
@settings(max_examples=examples(300), deadline=None)
def test_junk_is_refused_or_is_a_traffic_that_can_be_applied(junk: str) -> None:
    try:
        traffic = parse(junk)
    except TrafficError:
        return
    assert 0 <= traffic.share <= SHARE_DENOMINATOR
    assert not (traffic.share or traffic.shadow) or (traffic.rollout and traffic.target)
    assert parse(to_text(traffic)) == traffic


@pytest.mark.parametrize("text", ["[" * 100_000, '{"seq":' + "9" * 5000 + "}", "\ud800", "NaN", "[]", '"x"', "{"])
def test_what_no_parser_likes_is_refused(text: str) -> None:
    with pytest.raises(TrafficError):
        parse(text)


def test_a_marker_binds_pods_of_one_deployment_whatever_their_rollout() -> None:
    traffic = parse(json.dumps(VALID))
    assert is_marked(traffic, "aabbcc-00112233")
    assert is_marked(traffic, "aabbcc-ffffffff")
    for other in ("", "aabbcc", "aabbcc-", "aabbcc-0011223", "aabbcc-00112233\n", "ddeeff-00112233", "AABBCC-00112233"):
        assert not is_marked(traffic, other)
    assert not is_marked(Traffic(), "-00112233")
    assert not is_marked(Traffic(), "aabbcc-00112233")
