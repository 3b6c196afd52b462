"""Bodies nobody should send, to a real process: refused with the field, or answered as a plain reader of JSON would have them answered.

Never a closed connection, a 500, a wrong answer, or a row that is counted and was not answered.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings

from benchmarks.serving import wire
from budget import examples
from corpus.corpus import files, mutated
from modelcycle_bundle import layout, metric_names
from unit.serving import rig

JSON = files("serving/json")
BINARY = files("serving/binary")
"""Each begins with a line that holds Inference-Header-Content-Length."""
JSON_TOKENS = [
    *(
        b"0",
        b"-",
        b"1e9",
        b"1e999",
        b".5",
        b"NaN",
        b"Infinity",
        b"null",
        b"true",
        b'"',
        b"\\",
        b"\\u0000",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b":",
    ),
    *(
        b'"data"',
        b'"inputs"',
        b'"shape"',
        b'"FP32"',
        b'"INT64"',
        b'"name":"input"',
        b'"data":[1,2,3]',
        b"\xff",
        b"\x00",
        b" ",
        b"\n",
    ),
]
NUMPY = {
    "BOOL": "?",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
}
BINARY_TOKENS = [*JSON_TOKENS, b'"binary_data_size":24', b"24", b"\x00\x00\x80\x7f", b"\x00\x00\xc0\x7f", b"\n"]


@pytest.fixture(scope="module")
def oracle(bundles: dict[str, Path]) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(bundles["classes"] / layout.MODEL_DIR / layout.MODEL_FILE)


@pytest.mark.parametrize("name", JSON)
def test_a_known_trap_in_json(client: rig.Client, oracle: onnxruntime.InferenceSession, name: str) -> None:
    check(client, oracle, JSON[name], None)


@pytest.mark.parametrize("name", BINARY)
def test_a_known_trap_in_binary(client: rig.Client, oracle: onnxruntime.InferenceSession, name: str) -> None:
    length, _, body = BINARY[name].partition(b"\n")
    check(client, oracle, body, int(length))


@settings(deadline=None, max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=mutated(list(JSON.values()), JSON_TOKENS))
def test_mutated_json_is_refused_or_answered_rightly(
    client: rig.Client, oracle: onnxruntime.InferenceSession, body: bytes
) -> None:
    check(client, oracle, body, None)


@settings(deadline=None, max_examples=examples(80), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=mutated(list(BINARY.values()), BINARY_TOKENS))
def test_mutated_binary_is_refused_or_answered_rightly(
    client: rig.Client, oracle: onnxruntime.InferenceSession, raw: bytes
) -> None:
    first, _, body = raw.partition(b"\n")
    check(client, oracle, body, int(first) if first.isdigit() else len(body))


def test_rows_counted_are_rows_answered(server: rig.Server, oracle: onnxruntime.InferenceSession) -> None:
    before = rows_counted(server)
    with server.client() as client:
        answered = sum(check(client, oracle, body, None) for body in JSON.values())

    assert answered > 0
    assert rows_counted(server) - before == answered


def check(client: rig.Client, oracle: onnxruntime.InferenceSession, body: bytes, length: int | None) -> int:
    """Ask on a connection that stays. Returns rows answered."""
    head = () if length is None else (f"Inference-Header-Content-Length: {length}",)
    client.send(rig.infer_request(body, *head))
    answer = client.answer()
    if answer.status == 400:
        assert answer.json["error"]
        return 0
    assert answer.status == 200, answer
    told = answer.headers.get("inference-header-content-length")
    outputs = wire.parsed(answer.body, None if told is None else int(told))
    rows = read_plainly(body, length)
    label, probabilities = oracle.run(["label", "probabilities"], {"input": rows})
    expected = {"label": label, "probabilities": probabilities}
    for name, values in outputs.items():
        assert np.allclose(values.ravel(), expected[name].ravel(), rtol=1e-4, atol=1e-5)
    return len(rows)


def read_plainly(body: bytes, length: int | None) -> Any:
    """The one input of a body as rows, by the standard library: the last of two equal keys counts, numbers are doubles."""
    told = json.loads(body[:length].decode("utf-8"), parse_constant=refuse)
    [tensor] = told["inputs"]
    assert tensor["name"] == "input"
    size = (tensor.get("parameters") or {}).get("binary_data_size")
    if size is None:
        values = np.array(list(flat(tensor["data"])), dtype=np.float64)
    else:
        assert length is not None
        assert length + size == len(body)
        values = np.frombuffer(body[length:], dtype=NUMPY[tensor["datatype"]]).astype(np.float64)
    return values.reshape(tensor["shape"]).astype(np.float32)


def flat(data: Any) -> Any:
    """Numbers of nested lists in order."""
    for each in data:
        if isinstance(each, list):
            yield from flat(each)
        else:
            assert isinstance(each, int | float)
            yield each if math.isfinite(each) else refuse(str(each))


def refuse(constant: str) -> float:
    raise AssertionError(f"{constant} was answered")


def rows_counted(server: rig.Server) -> float:
    return sum(server.samples()[metric_names.ROWS].values())
