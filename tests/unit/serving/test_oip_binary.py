"""The binary tensor extension: every datatype both ways, tensors mixed with JSON, sizes that do not fit, and what is not copied."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from modelcycle_serving.oip import BadInput, InferRequest, OutputSpec, Signature, encode_answer, parse_infer

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in dot")
SIGNATURE = Signature(
    ("a", "b"),
    (OutputSpec("label", "BYTES", (-1,)), OutputSpec("probabilities", "FP32", (-1, 2), ("no", "yes"))),
    accepts_missing=True,
)
VALUES = [[1, 0], [0, 1], [1, 1]]


def tensor(data: bytes | list[Any], /, **more: Any) -> tuple[dict[str, Any], bytes]:
    """One input: its JSON, and what follows it."""
    about = {"name": "input", "shape": [3, 2], "datatype": "FP32", **more}
    if isinstance(data, list):
        return {**about, "data": data}, b""
    return {**about, "parameters": {"binary_data_size": len(data), **more.get("parameters", {})}}, data


def body(*tensors: tuple[dict[str, Any], bytes], padding: int = 0, **more: Any) -> tuple[bytes, int]:
    text = json.dumps({"inputs": [about for about, _ in tensors], **more}).encode() + b" " * padding
    return text + b"".join(data for _, data in tensors), len(text)


def parse(*tensors: tuple[dict[str, Any], bytes], signature: Signature = SIGNATURE, **more: Any) -> InferRequest:
    return parse_infer(*body(*tensors, **more), signature)


def bf16(values: NDArray[np.float32]) -> bytes:
    return (values.view(np.uint32) >> 16).astype("<u2").tobytes()


WIRE = {"BOOL": "u1", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
WIRE |= {
    f"{sign}INT{bits}": f"<{code}{bits // 8}" for sign, code in (("", "i"), ("U", "u")) for bits in (8, 16, 32, 64)
}


@pytest.mark.parametrize("datatype", [*WIRE, "BF16"])
def test_every_datatype_arrives_as_the_same_rows(datatype: str) -> None:
    values = np.array(VALUES, dtype=np.float32)
    data = bf16(values) if datatype == "BF16" else values.astype(WIRE[datatype]).tobytes()
    rows = parse(tensor(data, datatype=datatype)).rows
    assert (str(rows.dtype), rows.flags.c_contiguous, rows.tolist()) == ("float32", True, VALUES)


@pytest.mark.parametrize(
    ("datatype", "value", "wanted"),
    [
        ("INT8", -128, -128),
        ("UINT8", 255, 255),
        ("INT16", -32768, -32768),
        ("UINT64", 2**64 - 1, 2.0**64),
        # As the same integer in JSON: by way of a double, which is halfway between two float32 and goes to the even one.
        ("INT64", 2**60 + 2**36 + 1, 2.0**60),
        ("FP64", 0.1, float(np.float32(0.1))),
        ("FP16", -0.0, -0.0),
        ("FP32", np.nan, np.nan),
        ("FP64", np.nan, np.nan),
    ],
)
def test_extremes_are_read_as_their_datatype_says(datatype: str, value: Any, wanted: float) -> None:
    data = np.full((3, 2), value, dtype=WIRE[datatype]).tobytes()
    rows = parse(tensor(data, datatype=datatype)).rows
    assert rows.tobytes() == np.full((3, 2), wanted, dtype=np.float32).tobytes()
    if value == value:
        in_json = [int(value) if "INT" in datatype else value] * 6
        assert parse(tensor(in_json, datatype=datatype)).rows.tobytes() == rows.tobytes()


@pytest.mark.parametrize("padding", range(8))
def test_fp32_is_a_view_of_the_body_where_it_is_aligned(padding: int) -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    raw, length = body(tensor(values.tobytes()), padding=padding)
    rows = parse_infer(raw, length, SIGNATURE).rows
    assert rows.tolist() == values.tolist()
    assert rows.flags.aligned
    assert np.shares_memory(rows, np.frombuffer(raw, np.uint8)) == (length % 4 == 0)


def test_binary_and_json_tensors_mix_in_the_order_of_the_inputs() -> None:
    signature = replace(SIGNATURE, features=("a", "b", "c"), inputs=())
    inputs = [
        tensor(np.array([3, 6], "<i8").tobytes(), name="c", shape=[2], datatype="INT64"),
        tensor([1, None], name="a", shape=[2]),
        tensor(np.array([2, 5], "<f8").tobytes(), name="b", shape=[2, 1], datatype="FP64"),
    ]
    wanted = np.array([[1, 2, 3], [np.nan, 5, 6]], np.float32)
    assert np.array_equal(parse(*inputs, signature=signature).rows, wanted, equal_nan=True)


def test_json_alone_may_say_its_length() -> None:
    raw, length = body(tensor([[1, 2], [3, 4], [5, 6]]))
    assert parse_infer(raw, length, SIGNATURE).rows.tolist() == parse_infer(raw, None, SIGNATURE).rows.tolist()


FP32 = np.ones((3, 2), np.float32).tobytes()
INFINITE = np.array([[1, 1], [np.inf, 1], [1, 1]])
REFUSED: list[tuple[Any, str]] = [
    (body(tensor(FP32[:-1])), "inputs[0].parameters.binary_data_size: expected 24"),
    (body(tensor(FP32, datatype="FP64")), "inputs[0].parameters.binary_data_size: expected 48"),
    (body(tensor(FP32, parameters={"binary_data_size": True})), "inputs[0].parameters.binary_data_size"),
    (body(tensor(FP32, parameters={"binary_data_size": -24})), "inputs[0].parameters.binary_data_size"),
    (body(tensor(FP32, parameters={"binary_data_size": 24.0})), "inputs[0].parameters.binary_data_size"),
    (body(tensor(FP32, shape=[10**15, 2])), "inputs[0].shape: expected [N, 2] with N from 1 to"),
    (body(tensor(FP32, shape=[0, 2])), "inputs[0].shape"),
    (body(tensor(FP32, data=[1])), "inputs[0].parameters.binary_data_size: expected no data"),
    (body(tensor(FP32, datatype="BYTES")), "inputs[0].datatype: the model takes numbers"),
    (body(tensor(b"\x00\x01\x02\x00\x00\x00", datatype="BOOL")), "inputs[0][2]: expected the byte 0 or 1"),
    (body(tensor(INFINITE.astype("<f4").tobytes())), "inputs[0][2]: out of the range of FP32"),
    (body(tensor(INFINITE.astype("<f2").tobytes(), datatype="FP16")), "inputs[0][2]"),
    (body(tensor(bf16(INFINITE.astype("<f4")), datatype="BF16")), "inputs[0][2]"),
    (body(tensor(np.full((3, 2), 1e39).tobytes(), datatype="FP64")), "inputs[0][0]: out of the range"),
    ((body(tensor(FP32))[0] + b"x", body(tensor(FP32))[1]), "body: 1 bytes follow"),
    ((body(tensor(FP32))[0][:-1], body(tensor(FP32))[1]), "inputs[0].parameters.binary_data_size: the body ends"),
    ((body(tensor(FP32))[0], None), "body: not JSON"),
    ((body(tensor(FP32))[0], 0), "body: not JSON"),
    ((body(tensor(FP32))[0], 10**6), "Inference-Header-Content-Length"),
    (
        (body(tensor(FP32))[0][: body(tensor(FP32))[1]], None),
        "inputs[0].parameters.binary_data_size: needs the request header",
    ),
    (body(tensor(FP32), parameters={"binary_data_output": 1}), "parameters.binary_data_output"),
    (body(tensor(FP32), parameters={"shared_memory_region": "r"}), "parameters.shared_memory_region"),
    (body(tensor([], parameters={"shared_memory_region": "r"})), "inputs[0].parameters.shared_memory_region"),
    (
        body(tensor(FP32), outputs=[{"name": "label", "parameters": {"classification": 2}}]),
        "outputs[0].parameters.classification",
    ),
    (
        body(tensor(FP32), outputs=[{"name": "label", "parameters": {"binary_data": "x"}}]),
        "outputs[0].parameters.binary_data",
    ),
    (body(tensor(FP32), outputs=[{"name": "label", "parameters": 5}]), "outputs[0].parameters"),
]


@pytest.mark.parametrize(
    ("sent", "field"), REFUSED, ids=[f"{at}-{field[:40]}" for at, (_, field) in enumerate(REFUSED)]
)
def test_refusal_names_the_field(sent: tuple[bytes, int | None], field: str) -> None:
    with pytest.raises(BadInput) as raised:
        parse_infer(*sent, SIGNATURE)
    assert str(raised.value).startswith(field)


def test_missing_binary_values_are_refused_where_the_card_says_so() -> None:
    values = np.array([[1, 2], [3, np.nan], [5, 6]], "<f4").tobytes()
    with pytest.raises(BadInput, match="b is missing"):
        parse(tensor(values), signature=replace(SIGNATURE, accepts_missing=False))


OUTPUTS = {
    "label": np.array(["no", "yé"], dtype=object),
    "probabilities": np.array([[0.9, 0.1], [0.25, 0.75]], np.float32),
}
LABELS = b"\x02\x00\x00\x00no\x03\x00\x00\x00y\xc3\xa9"
PROBABILITIES = OUTPUTS["probabilities"].tobytes()


def wanting(outputs: list[Any] | None, **parameters: Any) -> InferRequest:
    return parse(tensor(FP32), outputs=outputs, parameters=parameters, id="7")


@pytest.mark.parametrize(
    ("request_", "behind", "tail"),
    [
        (wanting(None), [], b""),
        (wanting(None, binary_data_output=True), ["label", "probabilities"], LABELS + PROBABILITIES),
        (wanting([{"name": "probabilities", "parameters": {"binary_data": True}}]), ["probabilities"], PROBABILITIES),
        (
            wanting([{"name": "probabilities"}, {"name": "label", "parameters": {"binary_data": True}}]),
            ["label"],
            LABELS,
        ),
        (
            wanting(
                [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probabilities"}],
                binary_data_output=True,
            ),
            ["probabilities"],
            PROBABILITIES,
        ),
    ],
    ids=["none", "all", "one", "second", "all-but-one"],
)
def test_answer_puts_behind_its_json_what_was_asked_for(request_: InferRequest, behind: list[str], tail: bytes) -> None:
    encoded = encode_answer("m", "v", request_, OUTPUTS, SIGNATURE)
    assert (encoded.header_length is None) == (not behind)
    text, rest = encoded.body[: encoded.header_length], encoded.body[encoded.header_length or len(encoded.body) :]
    answer = json.loads(text)
    assert (answer["model_name"], answer["model_version"], answer["id"], rest) == ("m", "v", "7", tail)
    assert [each["name"] for each in answer["outputs"]] == [each.name for each in request_.outputs]
    sizes = {"label": len(LABELS), "probabilities": len(PROBABILITIES)}
    for each in answer["outputs"]:
        if each["name"] in behind:
            assert (each["parameters"], "data" in each) == ({"binary_data_size": sizes[each["name"]]}, False)
        else:
            assert each["data"] == [
                float(value) if value != str(value) else value for value in OUTPUTS[each["name"]].flat
            ] or (np.array(each["data"], np.float32).tobytes() == PROBABILITIES)


def test_answer_of_a_slice_is_that_of_its_copy() -> None:
    many = np.arange(12, dtype=np.float32).reshape(3, 4)
    for values in (many[1:2, :2], many[:, 1:3], many[::2], many.T):
        signature = Signature(("a",), (OutputSpec("prediction", "FP32", (-1, 2)),))
        for parameters in ({}, {"binary_data_output": True}):
            asked = parse_infer(
                json.dumps(
                    {"inputs": [{"name": "a", "shape": [1], "datatype": "FP32", "data": [1]}], "parameters": parameters}
                ).encode(),
                None,
                signature,
            )
            given = encode_answer("m", "v", asked, {"prediction": values}, signature)
            copied = encode_answer("m", "v", asked, {"prediction": np.array(values, order="C")}, signature)
            assert given == copied
