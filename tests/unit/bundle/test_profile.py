"""The reference profile: bins of known tables, its size, and what is refused."""

import json
from typing import Any

import numpy as np
import pytest

from modelcycle_bundle.outputs import ClassOutputs, OutputError, ValueOutputs, from_arrays
from modelcycle_bundle.profile import BinCounter, ClassBins, Feature, Profile, ProfileError, build


def column(values: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(values, dtype=np.float32)[:, None]


def feature_of(values: Any) -> Feature:
    return build(["x"], column(values), ValueOutputs(np.zeros(1, np.float32))).features[0]


def test_a_thousand_distinct_values_give_ten_equal_bins_and_guards() -> None:
    feature = feature_of(np.arange(1, 1001))
    assert (feature.low, feature.high) == (1.0, 999.0)
    assert feature.edges == tuple(float(at) for at in range(100, 1000, 100))
    assert feature.counts == (0, *[100] * 9, 99, 1, 0)
    assert feature.mean == 500.5
    assert feature.sd == pytest.approx(288.675, abs=1e-3)


def test_a_heavy_tie_has_a_bin_of_its_own() -> None:
    feature = feature_of([0.0] * 600 + list(range(1, 401)))
    at = feature.edges.index(0.0) if 0.0 in feature.edges else 0
    assert feature.counts[feature.bins.index(f"b{at:02d}")] == 600


def test_a_constant_column_has_one_bin() -> None:
    feature = feature_of([7.5] * 50)
    assert (feature.edges, feature.bins, feature.counts) == ((), ("below", "b00", "above", "missing"), (0, 50, 0, 0))


def test_a_column_without_numbers_counts_any_later_number_in_one_bin() -> None:
    profile = build(["x"], column([np.nan] * 5), ValueOutputs(np.zeros(1, np.float32)))
    assert profile.features[0].counts == (0, 0, 0, 5)
    counter = BinCounter(profile)
    counter.add_inputs(column([1.0, np.nan, -3e38]))
    assert dict(zip(counter.input_series, counter.input_counts.tolist(), strict=True))[("x", "b00")] == 2


def test_negative_zero_and_zero_share_a_bin_and_a_text() -> None:
    one = build(["x"], column([-0.0, 1.0, 2.0]), ValueOutputs(np.zeros(1, np.float32)))
    two = build(["x"], column([0.0, 1.0, 2.0]), ValueOutputs(np.zeros(1, np.float32)))
    assert one.to_json() == two.to_json()


def test_infinities_lie_outside_the_guards() -> None:
    feature = feature_of([-np.inf, 1, 2, 3, np.inf, np.inf])
    assert (feature.counts[0], feature.counts[-2]) == (1, 2)


CODES = [0.0] * 40 + [1.0] * 40 + [3.0] * 5 + [np.nan] * 2


def test_a_column_of_codes_keeps_its_values() -> None:
    assert feature_of(CODES).values == (0.0, 1.0, 3.0)
    assert feature_of(np.repeat(np.arange(20), 5)).values == tuple(range(20))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([*CODES, 4.0], id="one value is rare: others were missed"),
        pytest.param(np.repeat(np.arange(21), 5), id="too many values"),
        pytest.param([0.5] * 40, id="no whole numbers"),
        pytest.param([np.nan, np.inf] * 40, id="no numbers"),
    ],
)
def test_a_column_of_anything_else_keeps_none(values: Any) -> None:
    assert feature_of(values).values == ()


def test_numbers_that_the_reference_never_held_are_unseen_wherever_they_lie() -> None:
    counter = BinCounter(build(["x", "y"], np.hstack([column(CODES)] * 2), ValueOutputs(np.zeros(1, np.float32))))
    for value in (0.0, -0.0, 3.0, 2.0, 0.5, -1.0, np.inf, np.nan):
        counter.add_inputs(np.array([[value, 1.0]], np.float32))
    assert counter.unseen_series == ("x", "y")
    assert counter.unseen_counts.tolist() == [4, 0]
    assert counter.input_counts.sum() == 16, "they are in their bins as well"


def test_only_a_profile_with_codes_says_what_older_readers_do_not_know() -> None:
    codes = build(["x"], column(CODES), ValueOutputs(np.zeros(1, np.float32)))
    plain = build(["x"], column(range(99)), ValueOutputs(np.zeros(1, np.float32)))
    assert (codes.version, plain.version) == (2, 1)
    assert Profile.parse(codes.to_json()) == codes
    assert "values" not in plain.to_json()
    with pytest.raises(ProfileError, match="version 1 does not fit"):
        Profile.parse(codes.to_json().replace('"version":2', '"version":1'))


def test_every_class_has_series_though_never_predicted() -> None:
    outputs = ClassOutputs(np.array(["ok", "ok"], dtype=object), np.array([[0.9, 0.1], [0.8, 0.2]], np.float32))
    profile = build(["x"], column([1.0]), outputs, ["ok", "scrap"])
    assert isinstance(profile.output, ClassBins)
    assert {label for label, _ in BinCounter(profile).output_series} == {"ok", "scrap"}
    assert profile.output_rows == 2


def test_integer_and_text_labels_count_alike() -> None:
    probabilities = np.array([[0.1, 0.9], [0.7, 0.3]], np.float32)
    profile = build(["x"], column([1.0]), ClassOutputs(np.array([1, 0]), probabilities), ["0", "1"])
    one, two = BinCounter(profile), BinCounter(profile)
    one.add_outputs(ClassOutputs(np.array([1, 0], dtype=np.int64), probabilities))
    two.add_outputs(ClassOutputs(np.array(["1", "0"], dtype=object), probabilities))
    assert one.output_counts.tolist() == two.output_counts.tolist()


def test_regression_series_have_no_confidence() -> None:
    profile = build(["x"], column([1.0]), ValueOutputs(np.arange(100, dtype=np.float32)[:, None]))
    series = BinCounter(profile).output_series
    assert series[0] == ("below", "none")
    assert series[-1] == ("missing", "none")


def test_fifty_features_and_two_classes_stay_below_100_kilobytes() -> None:
    random = np.random.default_rng(1)
    table = random.normal(size=(5000, 50)).astype(np.float32)
    probabilities = random.dirichlet([1, 1], size=1000).astype(np.float32)
    outputs = ClassOutputs(probabilities.argmax(axis=1), probabilities)
    text = build([f"a rather long feature name {at}" for at in range(50)], table, outputs, ["0", "1"]).to_json()
    assert len(text) < 100_000


def test_merging_counts_of_another_profile_is_refused() -> None:
    one = build(["x"], column([1.0]), ValueOutputs(np.zeros(1, np.float32)))
    two = build(["x"], column([2.0]), ValueOutputs(np.zeros(1, np.float32)))
    with pytest.raises(ProfileError, match="cannot add counts"):
        BinCounter(one).merge(BinCounter(two))


@pytest.mark.parametrize("table", [np.zeros((2, 2), np.float32), np.zeros(2, np.float32), np.zeros((2, 1), np.float64)])
def test_inputs_of_another_shape_or_type_are_refused(table: Any) -> None:
    counter = BinCounter(build(["x"], column([1.0]), ValueOutputs(np.zeros(1, np.float32))))
    with pytest.raises(ProfileError, match="expected float32"):
        counter.add_inputs(table)


def test_answers_of_another_kind_or_class_are_refused() -> None:
    probabilities = np.array([[0.1, 0.9]], np.float32)
    counter = BinCounter(build(["x"], column([1.0]), ClassOutputs(np.array([1]), probabilities), ["0", "1"]))
    with pytest.raises(ProfileError, match="another kind"):
        counter.add_outputs(ValueOutputs(np.zeros(1, np.float32)))
    with pytest.raises(ProfileError, match="not among"):
        counter.add_outputs(ClassOutputs(np.array([7]), probabilities))


VALID = json.loads(build(["x"], column(range(100)), ValueOutputs(np.arange(9, dtype=np.float32))).to_json())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("version",), 3),
        (("version",), True),
        (("features", 0, "values"), [1.0]),
        (("output", "values"), [1.0]),
        (("rows",), -1),
        (("rows",), 99),
        (("features",), []),
        (("features", 0, "edges"), [5.0, 5.0]),
        (("features", 0, "edges"), [0.1]),
        (("features", 0, "edges"), ["1"]),
        (("features", 0, "low"), None),
        (("features", 0, "low"), 50.0),
        (("features", 0, "counts"), [100]),
        (("features", 0, "counts", 0), 1.5),
        (("features", 0, "name"), 3),
        (("output", "kind"), "ranking"),
        (("output", "counts"), "many"),
    ],
)
def test_a_malformed_profile_is_refused(path: tuple[str | int, ...], value: Any) -> None:
    plain: Any = json.loads(json.dumps(VALID))
    target = plain
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    with pytest.raises(ProfileError):
        Profile.parse(json.dumps(plain))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[" * 100_000, '{"version":1}'])
def test_text_that_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(ProfileError):
        Profile.parse(text)


def test_unknown_model_outputs_are_named() -> None:
    with pytest.raises(OutputError, match="variable"):
        from_arrays({"variable": np.zeros(1)})
