"""When two answers agree, by how much they differ, and that no text of a peer is more than no answer."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from modelcycle_serving.comparison import Comparison, compare, read

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["data", "shape", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
OUTPUT = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["label", "probabilities", "prediction"]) | JUNK,
        "datatype": st.sampled_from(["FP32", "FP64", "INT64", "BYTES"]) | JUNK,
        "shape": st.lists(st.integers(-1, 2**70), max_size=3) | JUNK,
        "data": st.lists(st.floats() | st.integers(), max_size=6) | JUNK,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-9, 40) | JUNK}) | JUNK,
    },
)


def body(**outputs: Any) -> bytes:
    """An answer; an output is its data, [N] or [N, C]."""
    tensors = []
    for name, data in outputs.items():
        shape = np.shape(data)
        flat = [value for row in data for value in row] if len(shape) == 2 else data
        datatype = "FP32" if isinstance(flat[0], float) else "INT64" if isinstance(flat[0], int) else "BYTES"
        tensors.append({"name": name, "datatype": datatype, "shape": shape, "data": flat})
    return json.dumps({"outputs": tensors}).encode()


def of(one: bytes, two: bytes) -> Comparison:
    return compare(read(one, None), read(two, None))


def test_classifiers_agree_by_their_labels_in_every_row() -> None:
    own = body(label=[0, 1], probabilities=[[0.9, 0.1], [0.4, 0.6]])
    assert of(own, own) == Comparison(True, 0.0)
    near = of(own, body(label=[0, 1], probabilities=[[0.8, 0.2], [0.45, 0.55]]))
    assert near.agree is True
    assert near.difference == pytest.approx(0.1)
    far = of(own, body(label=[0, 0], probabilities=[[0.9, 0.1], [0.51, 0.49]]))
    assert far.agree is False
    assert far.difference == pytest.approx(0.11)


def test_answer_of_probabilities_alone_is_taken_for_its_likeliest_class() -> None:
    own = body(probabilities=[[0.9, 0.1], [0.4, 0.6]])
    assert of(own, body(probabilities=[[0.6, 0.4], [0.4, 0.6]])).agree
    assert not of(own, body(probabilities=[[0.9, 0.1], [0.6, 0.4]])).agree


@pytest.mark.parametrize("label", [["1"], [1, 1], [True, 0], [1.0]])
def test_labels_of_another_kind_or_number_differ(label: list[Any]) -> None:
    assert not of(body(label=[1]), body(label=label)).agree


@pytest.mark.parametrize(
    ("own", "other", "agree", "difference"),
    [
        ([[100.0], [0.0]], [[101.0], [0.0]], True, 1 / 101),
        ([[100.0]], [[102.0]], False, 2 / 102),
        ([[-1.0]], [[1.0]], False, 2.0),
        ([[0.0]], [[1e-30]], False, 1.0),
    ],
)
def test_regressions_agree_within_a_hundredth(own: Any, other: Any, agree: bool, difference: float) -> None:
    found = of(body(prediction=own), body(prediction=other))
    assert found.agree is agree
    assert found.difference == pytest.approx(difference)


def test_what_has_no_common_shape_or_no_finite_difference_has_no_difference() -> None:
    own = body(label=[1], probabilities=[[0.1, 0.9]])
    assert of(own, body(label=[1], probabilities=[[0.1, 0.2, 0.7]])) == Comparison(True, None)
    assert of(own, body(label=[1])) == Comparison(True, None)
    assert of(body(prediction=[1.0]), body(prediction=[[1.0]])) == Comparison(False, None)
    header = b'{"outputs":[{"name":"prediction","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}'
    for value in (np.nan, np.inf):
        other = read(header + np.float32(value).tobytes(), b"%d" % len(header))
        assert compare(read(body(prediction=[1.0]), None), other) == Comparison(False, None)


@given(
    raw=st.binary(max_size=40) | st.lists(OUTPUT, max_size=3).map(lambda each: json.dumps({"outputs": each}).encode()),
    tail=st.binary(max_size=40),
    length=st.none() | st.integers(-5, 200).map(lambda each: b"%d" % each) | st.binary(max_size=4),
)
@settings(max_examples=examples(150), deadline=None)
def test_whatever_a_peer_says_is_compared_or_no_answer(raw: bytes, tail: bytes, length: bytes | None) -> None:
    for own in (body(label=[1], probabilities=[[0.1, 0.9]]), body(probabilities=[[0.1, 0.9]]), body(prediction=[1.0])):
        try:
            found = compare(read(own, None), read(raw + tail, b"%d" % len(raw) if tail and length is None else length))
        except ValueError:
            continue
        assert isinstance(found.agree, bool)
        assert found.difference is None or 0 <= found.difference < np.inf
