"""Bins and counters over every float32 there is: exact sums, one bin per value, mergeable, equal after serialisation."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from modelcycle_bundle.outputs import ClassOutputs, Outputs, ValueOutputs
from modelcycle_bundle.profile import BinCounter, Feature, Profile, build

SPECIAL = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0, 1.0000001]
values = st.floats(width=32) | st.sampled_from(SPECIAL)
few_values = st.sampled_from([0.0, -0.0, 1.0, 2.0, float("nan")])  # heavy ties


@st.composite
def tables(draw: st.DrawFn, columns: int, min_rows: int = 0) -> NDArray[np.float32]:
    elements = draw(st.sampled_from([values, few_values]))
    rows = draw(st.integers(min_rows, 40))
    return draw(hnp.arrays(np.float32, (rows, columns), elements=elements))


@st.composite
def answers(draw: st.DrawFn, classes: tuple[str, ...]) -> Outputs:
    if not classes:
        return ValueOutputs(draw(tables(1))[:, 0])
    rows = draw(st.integers(0, 40))
    labels = draw(hnp.arrays(np.int64, rows, elements=st.integers(0, len(classes) - 1)))
    probabilities = draw(
        hnp.arrays(np.float32, (rows, len(classes)), elements=st.floats(0, 1, width=32) | st.just(np.nan))
    )
    return ClassOutputs(np.array(classes, dtype=object)[labels], probabilities)


@st.composite
def profiles(draw: st.DrawFn) -> tuple[Profile, tuple[str, ...]]:
    columns = draw(st.integers(1, 3))
    classes = draw(st.sampled_from([(), ("0", "1"), ("ok", "scrap", "ü")]))
    names = [f"f{at}" for at in range(columns)]
    return build(names, draw(tables(columns)), draw(answers(classes)), classes), classes


@st.composite
def served(draw: st.DrawFn) -> tuple[Profile, NDArray[np.float32], Outputs]:
    profile, classes = draw(profiles())
    return profile, draw(tables(len(profile.features))), draw(answers(classes))


def per_feature(counter: BinCounter) -> dict[str, int]:
    sums: dict[str, int] = {}
    for (feature, _), count in zip(counter.input_series, counter.input_counts, strict=True):
        sums[feature] = sums.get(feature, 0) + int(count)
    return sums


@given(served())
def test_each_feature_s_bins_sum_to_the_rows(case: tuple[Profile, NDArray[np.float32], Outputs]) -> None:
    profile, inputs, outputs = case
    counter = BinCounter(profile)
    counter.add_inputs(inputs)
    counter.add_outputs(outputs)
    assert per_feature(counter) == {feature.name: len(inputs) for feature in profile.features}
    assert int(counter.output_counts.sum()) == len(outputs)
    assert counter.input_counts.dtype == np.int64


def bin_by_the_book(feature: Feature, value: np.float32) -> str:
    """The documented rule, one value at a time; in Python's doubles, where no float32 is subnormal."""
    if np.isnan(value):
        return "missing"
    if feature.low is None or feature.high is None:
        return "below" if value == -np.inf else "b00"
    if float(value) < feature.low:
        return "below"
    if float(value) > feature.high:
        return "above"
    return f"b{sum(float(value) > edge for edge in feature.edges):02d}"


@given(served())
def test_vectorised_counts_equal_the_documented_rule(case: tuple[Profile, NDArray[np.float32], Outputs]) -> None:
    profile, inputs, _ = case
    inputs = np.where(np.abs(inputs) < 2 * np.finfo(np.float32).tiny, np.float32(0), inputs)
    counter = BinCounter(profile)
    counter.add_inputs(inputs)
    expected = dict.fromkeys(counter.input_series, 0)
    for at, feature in enumerate(profile.features):
        for value in inputs[:, at]:
            expected[(feature.name, bin_by_the_book(feature, value))] += 1
    assert dict(zip(counter.input_series, counter.input_counts.tolist(), strict=True)) == expected


codes = st.sampled_from([0.0, 1.0, 2.0, 5.0])


@st.composite
def coded(draw: st.DrawFn) -> tuple[Profile, NDArray[np.float32]]:
    column = np.repeat(np.array(draw(st.lists(codes, min_size=1, unique=True)), np.float32), 5)[:, None]
    rows = draw(hnp.arrays(np.float32, (draw(st.integers(0, 600)), 1), elements=codes | values, fill=codes))
    return build(["c"], column, ValueOutputs(column[:, 0])), rows


@given(coded())
def test_unseen_is_every_number_that_is_no_value_of_the_reference(case: tuple[Profile, NDArray[np.float32]]) -> None:
    profile, rows = case
    counter = BinCounter(profile)
    counter.add_inputs(rows)
    known = set(profile.features[0].values)
    expected = sum(float(value) not in known for value in rows[:, 0] if not np.isnan(value))
    assert counter.unseen_counts.tolist() == [expected]
    assert per_feature(counter) == {"c": len(rows)}


@given(served(), st.integers(0, 40))
def test_batches_and_merged_counters_give_the_same_counts(
    case: tuple[Profile, NDArray[np.float32], Outputs], cut: int
) -> None:
    profile, inputs, outputs = case
    whole, left, right = BinCounter(profile), BinCounter(profile), BinCounter(profile)
    whole.add_inputs(inputs)
    for row in inputs[:cut]:
        left.add_inputs(row[None, :])
    right.add_inputs(inputs[cut:])
    whole.add_outputs(outputs)
    right.add_outputs(outputs)
    left.merge(right)
    assert left.input_counts.tolist() == whole.input_counts.tolist()
    assert left.unseen_counts.tolist() == whole.unseen_counts.tolist()
    assert left.output_counts.tolist() == whole.output_counts.tolist()


@given(profiles())
def test_a_profile_reads_back_equal_and_counts_the_same(case: tuple[Profile, tuple[str, ...]]) -> None:
    profile, _ = case
    text = profile.to_json()
    again = Profile.parse(text)
    assert (again, again.to_json(), again.hash) == (profile, text, profile.hash)


@given(tables(2, min_rows=1))
def test_the_reference_counts_are_those_of_the_counter(table: NDArray[np.float32]) -> None:
    profile = build(["a", "b"], table, ValueOutputs(table[:, 0]))
    counter = BinCounter(profile)
    counter.add_inputs(table)
    counter.add_outputs(ValueOutputs(table[:, 0]))
    reference = [count for feature in profile.features for count in feature.counts]
    assert counter.input_counts.tolist() == reference
    assert isinstance(profile.output, Feature)
    assert counter.output_counts.tolist() == list(profile.output.counts)


@given(st.permutations(range(30)), st.data())
def test_the_order_of_rows_does_not_change_a_profile(order: list[int], data: st.DataObject) -> None:
    table = data.draw(hnp.arrays(np.float32, (30, 2), elements=values))
    outputs: Any = ValueOutputs(table[:, 0])
    shuffled: Any = ValueOutputs(table[order][:, 0])
    assert build(["a", "b"], table, outputs).to_json() == build(["a", "b"], table[order], shuffled).to_json()
