"""What the serving tests stand on: real bundles of tiny models, a server process, and a client that counts raw bytes."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from prometheus_client.parser import text_string_to_metric_families
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.linear_model import LinearRegression, LogisticRegression

from modelcycle_bundle import golden, layout, oms, profile
from modelcycle_bundle.outputs import from_arrays

FEATURES = ("width", "height", 'odd "name"\\')
COLUMNS = tuple(range(len(FEATURES)))
TABLE = np.random.default_rng(7).normal(size=(400, len(FEATURES))).astype(np.float32)


def classifier(labels: Sequence[Any], columns: Sequence[int] = COLUMNS) -> bytes:
    """ONNX of a two-class logistic regression on these columns of TABLE."""
    target = np.array(labels)[(TABLE.sum(axis=1) > 0).astype(int)]
    label_type = StringTensorType([None]) if isinstance(labels[0], str) else Int64TensorType([None])
    return _convert(
        LogisticRegression().fit(TABLE[:, list(columns)], target),
        [("label", label_type), ("probabilities", FloatTensorType([None, 2]))],
        {"zipmap": False},
        len(columns),
    )


def regressor() -> bytes:
    """ONNX of a linear regression on TABLE."""
    return _convert(
        LinearRegression().fit(TABLE, TABLE.sum(axis=1)), [("prediction", FloatTensorType([None, 1]))], None
    )


def centred() -> bytes:
    """ONNX of a graph that no estimator makes: each answer depends on the mean of all rows of its run."""
    numbers = onnx.TensorProto.FLOAT
    width = len(FEATURES)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input", "rows"], ["mean"]),
            helper.make_node("Sub", ["input", "mean"], ["centred"]),
            helper.make_node("ReduceSum", ["centred", "columns"], ["prediction"]),
        ],
        "centred",
        [helper.make_tensor_value_info("input", numbers, [None, width])],
        [helper.make_tensor_value_info("prediction", numbers, [None, 1])],
        [
            helper.make_tensor("rows", onnx.TensorProto.INT64, [1], [0]),
            helper.make_tensor("columns", onnx.TensorProto.INT64, [1], [1]),
        ],
    )
    raw: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    ).SerializeToString()
    return raw


def _convert(
    model: Any, outputs: list[tuple[str, Any]], options: dict[str, Any] | None, width: int = len(FEATURES)
) -> bytes:
    inputs = [("input", FloatTensorType([None, width]))]
    converted = convert_sklearn(model, initial_types=inputs, final_types=outputs, options=options, target_opset=21)
    raw: bytes = converted.SerializeToString()
    return raw


def write_bundle(folder: Path, onnx: bytes, columns: Sequence[int] = COLUMNS) -> str:
    """Write `folder`/model around a graph of these columns; returns the digest."""
    table, features = TABLE[:, list(columns)], [FEATURES[at] for at in columns]
    model = folder / layout.MODEL_DIR
    model.mkdir(parents=True)
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = from_arrays(dict(zip(names, session.run(names, {"input": table}), strict=True)))
    few = from_arrays(dict(zip(names, session.run(names, {"input": table[:8]}), strict=True)))
    (model / layout.MODEL_FILE).write_bytes(onnx)
    (model / layout.PROFILE_FILE).write_text(profile.build(features, table, outputs).to_json())
    (model / layout.GOLDEN_FILE).write_text(golden.make(table[:8], few).to_json())
    for name in (layout.CARD_JSON_FILE, layout.CARD_MD_FILE, layout.BOM_FILE):
        (model / name).write_text("{}")
    return oms.digest_directory(model).root


@dataclass
class Answer:
    """One HTTP answer as it came over the socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection. Reads exactly one answer at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self.socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self.socket.close()

    def send(self, raw: bytes) -> None:
        self.socket.sendall(raw)

    def answer(self, *, head: bool = False) -> Answer:
        line = self._stream.readline()
        if not line:
            raise ConnectionError("closed without an answer")
        headers: dict[str, str] = {}
        while (field_line := self._stream.readline().decode().strip()) != "":
            name, _, value = field_line.partition(":")
            headers[name.lower()] = value.strip()
        size = 0 if head or line.split()[1].startswith(b"1") else int(headers["content-length"])
        return Answer(int(line.split()[1]), headers, self._stream.read(size))

    def is_closed(self) -> bool:
        """Whether the server closes without sending anything more (waits for it)."""
        try:
            return self._stream.read(1) == b""
        except ConnectionResetError:
            return True

    def get(self, path: str) -> Answer:
        self.send(f"GET {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
        return self.answer()

    def infer(self, body: Any) -> Answer:
        self.send(infer_request(body))
        return self.answer()


def infer_request(body: Any, *headers: str) -> bytes:
    """The bytes of an inference request; `body` is bytes or what JSON takes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = ["POST /v2/models/model/infer HTTP/1.1", "Host: t", f"Content-Length: {len(raw)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + raw


def matrix(rows: Any, **more: Any) -> dict[str, Any]:
    """A valid inference body."""
    shape = [len(rows), len(rows[0])]
    return {"inputs": [{"name": "input", "shape": shape, "datatype": "FP32", "data": rows}], **more}


@dataclass
class Server:
    """A server process, ready."""

    process: "subprocess.Popen[str]"
    http_port: int = 0
    metrics_port: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def wait_for(self, message: str) -> dict[str, Any]:
        """Read the log up to this message."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(json.loads(line))
            if self.log[-1]["message"] == message:
                return self.log[-1]
        raise AssertionError(f"the server ended without {message!r}: {self.log}")

    def client(self) -> Client:
        return Client(self.http_port)

    def samples(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        """A scrape, parsed by the reference parser: sample name -> labels -> value."""
        with Client(self.metrics_port) as client:
            text = client.get("/metrics").body.decode()
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        return found

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> int:
        """Wait for the exit; a server that is not draining is killed."""
        if self.process.stdout is not None:
            self.log.extend(json.loads(line) for line in self.process.stdout)
        return self.process.wait(timeout=20)


@contextlib.contextmanager
def serving(bundle: Path, *flags: str, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server process that is ready, for the length of the block."""
    with start(bundle, *flags, environment=environment) as server:
        server.wait_for("ready")
        yield server


def start(bundle: Path, *flags: str, environment: Mapping[str, str] | None = None) -> Server:
    """Start a server process on free ports and wait until its ports are bound."""
    command = [sys.executable, "-m", "modelcycle_serving", "--bundle", str(bundle), "--host", "127.0.0.1"]
    command += ["--http-port", "0", "--metrics-port", "0", *flags]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "POD_UID": "pod-1", **(environment or {})}
    )
    server = Server(process)
    listening = server.wait_for("listening")
    server.http_port, server.metrics_port = listening["http_port"], listening["metrics_port"]
    return server


def answered(samples: Mapping[str, Mapping[tuple[tuple[str, str], ...], float]], code: str) -> float:
    """Inference requests answered with a status, whatever their arm."""
    return sum(value for labels, value in samples["modelcycle_requests_total"].items() if dict(labels)["code"] == code)


def feature_sums(samples: Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]) -> dict[str, float]:
    """Rows counted by feature, over all bins."""
    sums: dict[str, float] = {}
    for labels, value in samples["modelcycle_feature_total"].items():
        name = dict(labels)["feature"]
        sums[name] = sums.get(name, 0) + value
    return sums


def no_numbers_of(text: str, values: Sequence[float]) -> bool:
    """Whether none of these values occurs in a text."""
    return not any(re.search(rf"(?<![\d.]){re.escape(str(value))}", text) for value in values)


class Loader(threading.Thread):
    """A keep-alive client as connection pools are: reuses a connection until told to close, never retries."""

    def __init__(self, server: Server, until: threading.Event, row: Any) -> None:
        super().__init__()
        self.server = server
        self.until = until
        self.row = row
        self.statuses: list[int] = []
        self.versions: list[str] = []
        self.failures: list[str] = []
        self.closes = 0

    def run(self) -> None:
        client: Client | None = None
        while not self.until.is_set():
            try:
                client = client or self.server.client()
                answer = client.infer(self.row)
            except OSError as error:
                self.failures.append(repr(error))
                client = None
                continue
            self.statuses.append(answer.status)
            self.versions.append(answer.json.get("model_version", ""))
            if answer.headers.get("connection") == "close":
                self.closes += 1
                client.__exit__()
                client = None
