"""Requests as many clients together send them: JSON and binary, one row and many, chunked, refused, and labels for earlier answers.

Owns what each kind must be answered with. Draws in a seeded order, so that two runs ask the same.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import numpy as np

from benchmarks.serving import wire
from benchmarks.serving.models import Float64, Model
from benchmarks.serving.wire import Wire

FEEDBACK_PATH: Final = "/v2/feedback"
_VARIANTS: Final = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it came."""

    status: int
    body: bytes
    json_length: int | None
    """What `Inference-Header-Content-Length` says."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request and what must come of it."""

    kind: str
    raw: bytes
    status: int
    rows: int
    """Rows that the model answers."""
    infers: bool
    """Whether it counts as an inference request."""
    check: Callable[[Answer], None]
    """Raises WrongAnswer."""


class Mixed:
    """An endless mixture for one model."""

    def __init__(self, model: Model, seed: int) -> None:
        self._random: Final = Random(seed)
        self._tokens: Final[deque[tuple[str, int]]] = deque(maxlen=64)
        """Of answers to one row, with the label that is right."""
        weighted = list(self._kinds(model))
        self._kinds_of: Final = [asks for _, asks in weighted]
        self._weights: Final = [weight for weight, _ in weighted]

    def next(self) -> Ask:
        """Draw one."""
        if self._tokens and self._random.random() < 0.01:
            return _feedback(*self._tokens.popleft())
        [asks] = self._random.choices(self._kinds_of, self._weights)
        return self._random.choice(asks)

    def _kinds(self, model: Model) -> Iterator[tuple[float, list[Ask]]]:
        for weight, rows, form in (
            (60, 1, Wire.JSON),
            (8, 4, Wire.JSON),
            (8, 32, Wire.JSON),
            (0.5, 512, Wire.JSON),
            (8, 1, Wire.BINARY),
            (6, 32, Wire.BINARY),
        ):
            yield weight, [self._infer(model, at, rows, form) for at in range(_VARIANTS)]
        yield 2, [_chunked(self._infer(model, at, 4, Wire.JSON)) for at in range(_VARIANTS)]
        yield 5, list(_bad(model.rows[:1]))
        yield 0.5, [Ask("metadata", _get("/v2/models/model"), 200, 0, False, _any)]
        yield 0.5, [Ask("no such path", _get("/v2/models/other"), 404, 0, False, _any)]

    def _infer(self, model: Model, at: int, rows: int, form: Wire) -> Ask:
        chosen = np.arange(at * rows, (at + 1) * rows) % len(model.rows)
        labels, probabilities = model.labels[chosen], model.probabilities[chosen]
        made = wire.body(model.rows[chosen], form)

        def check(answer: Answer) -> None:
            wire.compare(wire.parsed(answer.body, answer.json_length), labels, probabilities)
            told = json.loads(answer.body[: answer.json_length])
            if rows == 1 and (token := told.get("parameters", {}).get("feedback_token")):
                self._tokens.append((token, int(labels[0])))

        return Ask(f"{form}, {rows} rows", _post(wire.PATH, made), 200, rows, True, check)


def _feedback(token: str, label: int) -> Ask:
    content = json.dumps({"feedback": [{"token": token, "labels": [label]}]}).encode()
    return Ask("feedback", _post(FEEDBACK_PATH, wire.Body(content, {})), 200, 0, False, _any)


def _bad(row: Float64) -> Iterator[Ask]:
    tensor: dict[str, Any] = {"name": "input", "shape": list(row.shape), "datatype": "FP32", "data": row[0].tolist()}
    wrong: dict[str, bytes] = {
        "cut off": json.dumps({"inputs": [tensor]}).encode()[:-9],
        "not JSON": b"\x00\xff" * 40,
        "wrong shape": json.dumps({"inputs": [{**tensor, "shape": [2, row.shape[1]]}]}).encode(),
        "wrong name": json.dumps({"inputs": [{**tensor, "name": "other"}]}).encode(),
        "wrong type": json.dumps({"inputs": [{**tensor, "data": ["a"] * row.shape[1]}]}).encode(),
        "no inputs": b"{}",
        "deep": b"[" * 5000,
    }
    for kind, content in wrong.items():
        yield Ask(f"bad: {kind}", _post(wire.PATH, wire.Body(content, {})), 400, 0, True, _names_a_field)


def _chunked(ask: Ask) -> Ask:
    head, _, body = ask.raw.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:], b""))
    raw = b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""]) + chunks
    return Ask(f"chunked, {ask.rows} rows", raw, ask.status, ask.rows, True, ask.check)


def _post(path: str, body: wire.Body) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: mixed", f"Content-Length: {len(body.content)}"]
    lines += [f"{name}: {value}" for name, value in body.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body.content


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: mixed\r\n\r\n".encode()


def _any(_: Answer) -> None:
    """The status says it all."""


def _names_a_field(answer: Answer) -> None:
    if not json.loads(answer.body)["error"]:
        raise wire.WrongAnswer("a refusal without a reason")
