"""The bytes of requests of the Open Inference Protocol, as JSON and with binary tensors, and a check of the answers to them.

Owns the two wire forms as this benchmark speaks them; every server of a cell gets the same bytes.
"""

import http.client
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from benchmarks.serving.models import Float64, Labels, Model

PATH: Final = "/v2/models/model/infer"
READY_PATH: Final = "/v2/models/model/ready"
TOLERANCE: Final = 1e-5
"""Largest difference of a probability; float32 answers of the three models are within 1e-6 of scikit-learn's."""
_VARIANTS: Final = 8
"""Different requests a connection takes in turn, so that no server answers one body from a cache."""
_LENGTH: Final = "Inference-Header-Content-Length"
_NUMPY: Final[dict[str, np.dtype[Any]]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}


class WrongAnswer(Exception):
    """A server does not answer what scikit-learn answers: its speed says nothing."""


class Wire(StrEnum):
    """How tensors travel."""

    JSON = "json"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class Body:
    """One body, and what its head says of it."""

    content: bytes
    headers: dict[str, str]


def body(rows: Float64, wire: Wire) -> Body:
    """A request for rows [N, F]."""
    tensor: dict[str, Any] = {"name": "input", "shape": list(rows.shape), "datatype": "FP32"}
    if wire is Wire.JSON:
        content = json.dumps({"inputs": [{**tensor, "data": rows.ravel().tolist()}]}).encode()
        return Body(content, {"Content-Type": "application/json"})
    raw = rows.astype("<f4").tobytes()
    told = {
        "inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(told).encode()
    return Body(head + raw, {"Content-Type": "application/octet-stream", _LENGTH: str(len(head))})


def whole_requests(model: Model, rows: int, wire: Wire) -> list[bytes]:
    """Whole HTTP requests, head and body, of `rows` rows each."""
    found = []
    for at in range(_VARIANTS):
        made = body(_some(model, at, rows), wire)
        lines = [f"POST {PATH} HTTP/1.1", "Host: bench", f"Content-Length: {len(made.content)}"]
        lines += [f"{name}: {value}" for name, value in made.headers.items()]
        found.append("\r\n".join([*lines, "", ""]).encode() + made.content)
    return found


def check(port: int, model: Model, rows: int, wire: Wire) -> None:
    """Ask for the rows of every variant and compare. Raises WrongAnswer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for at in range(_VARIANTS):
        made = body(_some(model, at, rows), wire)
        connection.request("POST", PATH, made.content, made.headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise WrongAnswer(f"{model.name}, {rows} rows, {wire}: status {answer.status}: {content[:300]!r}")
        length = answer.headers.get(_LENGTH)
        outputs = parsed(content, None if length is None else int(length))
        chosen = _positions(model, at, rows)
        compare(outputs, model.labels[chosen], model.probabilities[chosen])
    connection.close()


def compare(outputs: dict[str, Any], labels: Labels, probabilities: Float64) -> None:
    """An answer with scikit-learn's. Raises WrongAnswer."""
    if not np.array_equal(outputs["label"].ravel(), labels):
        raise WrongAnswer(f"{len(labels)} rows: labels differ from scikit-learn's")
    if not np.allclose(outputs["probabilities"].reshape(len(labels), -1), probabilities, rtol=0, atol=TOLERANCE):
        raise WrongAnswer(f"{len(labels)} rows: probabilities differ from scikit-learn's")


def parsed(content: bytes, json_length: int | None) -> dict[str, Any]:
    """Output name -> values. `json_length` is what the answer's head says when binary tensors follow the JSON."""
    told = json.loads(content[:json_length])
    rest = memoryview(content)[json_length or len(content) :]
    outputs = {}
    for each in told["outputs"]:
        size = (each.get("parameters") or {}).get("binary_data_size")
        if size is None:
            outputs[each["name"]] = np.array(each["data"])
        else:
            outputs[each["name"]] = np.frombuffer(rest[:size], dtype=_NUMPY[each["datatype"]])
            rest = rest[size:]
    return outputs


def _positions(model: Model, at: int, rows: int) -> Any:
    return np.arange(at * rows, (at + 1) * rows) % len(model.rows)


def _some(model: Model, at: int, rows: int) -> Float64:
    chosen: Float64 = model.rows[_positions(model, at, rows)]
    return chosen
