"""Request bodies: every accepted form gives the same rows, every refused one names its field and quotes nothing."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcycle_serving.oip import BadInput, InferRequest, OutputSpec, Signature, encode_answer, parse_infer

SIGNATURE = Signature(
    ("a", "b"),
    (OutputSpec("label", "INT64", (-1,)), OutputSpec("probabilities", "FP32", (-1, 2), ("0", "1"))),
    accepts_missing=True,
)
SECRET = 73519.25


def tensor(**more: Any) -> dict[str, Any]:
    return {"name": "input", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4], **more}


def parse(body: Any) -> InferRequest:
    return parse_infer(body if isinstance(body, bytes) else json.dumps(body).encode(), None, SIGNATURE)


def column(name: str, data: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [2], "datatype": "FP32", "data": data, **more}


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor()],
        [tensor(data=[[1, 2], [3, 4]])],
        [tensor(datatype="FP64", data=[1.0, 2.0, 3.0, 4.0])],
        [tensor(datatype="INT8")],
        [tensor(datatype="UINT64")],
        [column("a", [1, 3]), column("b", [2, 4])],
        [column("b", [2, 4], datatype="INT32"), column("a", [[1], [3]], shape=[2, 1])],
    ],
)
def test_every_form_gives_the_same_rows(inputs: list[Any]) -> None:
    rows = parse({"inputs": inputs}).rows
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    assert rows.tolist() == [[1, 2], [3, 4]]


def test_null_is_a_missing_value_of_any_datatype() -> None:
    for datatype, value in (("FP32", 1.5), ("INT16", 1), ("BOOL", True)):
        rows = parse({"inputs": [tensor(datatype=datatype, data=[value, None, value, None])]}).rows
        assert np.isnan(rows).tolist() == [[False, True], [False, True]]


def test_null_is_refused_by_name_where_the_card_says_so() -> None:
    body = json.dumps({"inputs": [tensor(data=[1, 2, 3, None])]}).encode()
    with pytest.raises(BadInput, match="b is missing"):
        parse_infer(body, None, replace(SIGNATURE, accepts_missing=False))


def test_booleans_become_zero_and_one() -> None:
    assert parse({"inputs": [tensor(datatype="BOOL", data=[True, False, False, True])]}).rows.tolist() == [
        [1, 0],
        [0, 1],
    ]


BAD: list[tuple[Any, str]] = [
    (b"", "body"),
    (b"[NaN]", "body"),
    (b'{"inputs":[{"name":"input","shape":[1,2],"datatype":"FP32","data":[73519.25,NaN]}]}', "body"),
    (b'{"inputs":[{"name":"input","shape":[1,2],"datatype":"FP32","data":[73519.25,-Infinity]}]}', "body"),
    (b"[" * 3000, "body"),
    ([SECRET], "body"),
    ({"id": SECRET, "inputs": [tensor()]}, "id"),
    ({"parameters": SECRET, "inputs": [tensor()]}, "parameters"),
    ({}, "inputs"),
    ({"inputs": []}, "inputs"),
    ({"inputs": {"a": SECRET}}, "inputs"),
    ({"inputs": [SECRET]}, "inputs[0].name"),
    ({"inputs": [tensor(name="73519.25")]}, "inputs[0].name"),
    ({"inputs": [tensor(), tensor()]}, "inputs[0].name"),
    ({"inputs": [column("a", [1, 2])]}, "inputs: feature b is missing"),
    ({"inputs": [column("a", [1, 2]), column("a", [1, 2])]}, "inputs[1].name"),
    ({"inputs": [column("a", [1, 2]), column("b", [1], shape=[1])]}, "inputs[1].shape"),
    ({"inputs": [column("a", [1, 2]), column("b", [1, 2], shape=[1, 2])]}, "inputs[1].shape"),
    ({"inputs": [tensor(shape=[4])]}, "inputs[0].shape"),
    ({"inputs": [tensor(shape=[0, 2], data=[])]}, "inputs[0].shape"),
    ({"inputs": [tensor(shape=[2, 3])]}, "inputs[0].shape"),
    ({"inputs": [tensor(shape=[2.0, 2])]}, "inputs[0].shape"),
    ({"inputs": [tensor(shape=[True, 2])]}, "inputs[0].shape"),
    ({"inputs": [tensor(shape="73519.25")]}, "inputs[0].shape"),
    ({"inputs": [tensor(shape=[10**15, 2])]}, "inputs[0].shape"),
    ({"inputs": [tensor(shape=[524_288 // 3, 2])]}, "inputs[0].data"),
    ({"inputs": [tensor(shape=[524_288 // 3 + 1, 2])]}, "inputs[0].shape: expected [N, 2] with N from 1 to 174762"),
    ({"inputs": [column("a", [1], shape=[10**6]), column("b", [1])]}, "inputs[0].shape"),
    (b'{"x":[' + b"[],{}," * 300_000 + b'""]}', "body: expected at most 524288 lists"),
    (b"{" + b'"a":1,' * 300_000 + b'"b":1}', "body: expected at most 524288 lists"),
    ({"inputs": [tensor(datatype="BYTES")]}, "inputs[0].datatype"),
    ({"inputs": [tensor(datatype=["FP32"])]}, "inputs[0].datatype"),
    ({"inputs": [tensor(data=SECRET)]}, "inputs[0].data"),
    ({"inputs": [tensor(data=[SECRET])]}, "inputs[0].data"),
    ({"inputs": [tensor(data=[[1, 2], [3]])]}, "inputs[0].data[1]"),
    ({"inputs": [tensor(data=[[1, 2], SECRET])]}, "inputs[0].data[1]"),
    ({"inputs": [tensor(data=[1, 2, "73519.25", 4])]}, "inputs[0].data[2]"),
    ({"inputs": [tensor(data=[1, 2, 3, True])]}, "inputs[0].data[3]"),
    ({"inputs": [tensor(data=[1, [SECRET], 3, 4])]}, "inputs[0].data[1]"),
    ({"inputs": [tensor(data=[1, {"x": SECRET}, 3, 4])]}, "inputs[0].data[1]"),
    ({"inputs": [tensor(data=[1, 2, 1e39, 4])]}, "inputs[0].data[2]"),
    ({"inputs": [tensor(datatype="INT32", data=[1, 2, 3, SECRET])]}, "inputs[0].data[3]"),
    ({"inputs": [tensor(datatype="INT8", data=[1, 300, 3, 4])]}, "inputs[0].data[1]"),
    ({"inputs": [tensor(datatype="UINT8", data=[1, 2, 3, -1])]}, "inputs[0].data[3]"),
    ({"inputs": [tensor(datatype="BOOL", data=[1, 0, 1, 0])]}, "inputs[0].data[0]"),
    ({"inputs": [tensor(parameters={"binary_data_size": 16})]}, "inputs[0].parameters.binary_data_size"),
    ({"inputs": [tensor(parameters=5)]}, "inputs[0].parameters"),
    ({"inputs": [tensor()], "outputs": "label"}, "outputs"),
    ({"inputs": [tensor()], "outputs": [{"name": "73519.25"}]}, "outputs[0].name"),
    ({"inputs": [tensor()], "outputs": [{"name": "label"}, {"name": "label"}]}, "outputs[1].name"),
    ({"inputs": [tensor()], "outputs": [None]}, "outputs[0].name"),
]


@pytest.mark.parametrize(("body", "field"), BAD, ids=[f"{at}-{field}" for at, (_, field) in enumerate(BAD)])
def test_refusal_names_the_field_and_quotes_no_value(body: Any, field: str) -> None:
    with pytest.raises(BadInput) as raised:
        parse(body)
    assert str(raised.value).startswith(field)
    assert "73519" not in str(raised.value)


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text(max_size=4)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data", "parameters", "x"]), inner, max_size=5),
    ),
    max_leaves=12,
)


@given(
    name=st.one_of(st.sampled_from(["input", "a", "b"]), JSON_VALUES),
    shape=st.one_of(st.just([2, 2]), st.just([2]), JSON_VALUES),
    datatype=st.one_of(st.sampled_from(["FP32", "INT64", "BOOL"]), JSON_VALUES),
    data=st.one_of(st.just([1, 2, 3, 4]), JSON_VALUES),
    outputs=st.one_of(st.none(), JSON_VALUES),
)
def test_any_json_is_rows_or_a_refusal(name: Any, shape: Any, datatype: Any, data: Any, outputs: Any) -> None:
    body = {"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}], "outputs": outputs}
    try:
        rows = parse_infer(orjson.dumps(body), None, SIGNATURE).rows
    except BadInput:
        return
    assert rows.shape[1] == 2
    assert not np.isinf(rows).any()


@given(values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=20))
def test_float32_values_arrive_to_the_bit(values: list[float]) -> None:
    values = values[: len(values) // 2 * 2]
    body = {"inputs": [tensor(shape=[len(values) // 2, 2], data=values)]}
    assert parse(body).rows.reshape(-1).tobytes() == np.array(values, dtype=np.float32).tobytes()


def test_answer_holds_the_chosen_outputs_in_the_asked_order() -> None:
    asked = parse({"id": "é", "inputs": [tensor()], "outputs": [{"name": "probabilities"}, {"name": "label"}]})
    arrays = {"label": np.array([0, 1]), "probabilities": np.array([[0.1, 0.9], [1, 0]], dtype=np.float32)}
    answer = json.loads(encode_answer("m", "v", asked, arrays, SIGNATURE).body)
    assert answer == {
        "model_name": "m",
        "model_version": "v",
        "id": "é",
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [2, 2], "data": [0.1, 0.9, 1.0, 0.0]},
            {"name": "label", "datatype": "INT64", "shape": [2], "data": [0, 1]},
        ],
    }
