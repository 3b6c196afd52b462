"""CPU time of reading one request body and of encoding one answer, in process: the table of docs/serving.md.

    PYTHONPATH=tests python tests/benchmarks/reading_cost.py

Bodies as clients print them: breast cancer (short decimals), digits (whole numbers), 200 normal features (17 digits).
"""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits

from modelcycle_serving.oip import Outputs, OutputSpec, Signature, encode_answer, parse_infer
from modelcycle_serving.oip.request import careful

ROUNDS: Final = 9
SECONDS: Final = 0.03
"""Of each round; the fastest round counts, for the machine is never quiet."""


def microseconds(call: Callable[[], Any]) -> float:
    """CPU time of one call."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun, calls = time.process_time(), 0
        while time.process_time() - begun < SECONDS:
            for _ in range(20):
                call()
            calls += 20
        best = min(best, (time.process_time() - begun) / calls)
    return best * 1e6


def tables() -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Names and rows."""
    yield "bc", load_breast_cancer().data
    yield "digits", load_digits().data
    yield "wide", np.random.default_rng(1).normal(size=(32, 200)).astype(np.float32).astype(np.float64)


def binary(rows: np.ndarray[Any, Any], multiple: int) -> tuple[bytes, int]:
    """A binary request, whose JSON is this much longer than a multiple of 4."""
    size = {"binary_data_size": rows.nbytes}
    tensor = {"name": "input", "shape": rows.shape, "datatype": "FP32", "parameters": size}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    text += b" " * (-len(text) % 4 + multiple)
    return text + rows.tobytes(), len(text)


def main() -> None:
    for name, table in tables():
        width = table.shape[1]
        outputs = (OutputSpec("label", "INT64", (-1,)), OutputSpec("probabilities", "FP32", (-1, 2)))
        signature = Signature(tuple(f"f{at}" for at in range(width)), outputs)
        for count in (1, 32):
            rows = table[:count]
            tensor = {"name": "input", "shape": rows.shape, "datatype": "FP32", "data": rows.reshape(-1).tolist()}
            flat = json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()
            nested = json.dumps({"inputs": [{**tensor, "data": rows.tolist()}]}).encode()
            aligned, odd = binary(rows.astype(np.float32), 0), binary(rows.astype(np.float32), 1)
            answer: Outputs = {
                "label": np.zeros(count, np.int64),
                "probabilities": np.full((count, 2), 0.25, np.float32),
            }
            in_json, in_bytes = parse_infer(flat, None, signature), parse_infer(*aligned, signature)
            calls: dict[str, Callable[[], Any]] = {
                "careful": partial(careful, flat, flat, None, signature),
                "quick": partial(parse_infer, flat, None, signature),
                "nested": partial(parse_infer, nested, None, signature),
                "binary": partial(parse_infer, *aligned, signature),
                "odd": partial(parse_infer, *odd, signature),
                "answer": partial(encode_answer, "m", "v", in_json, answer, signature),
                "binary answer": partial(encode_answer, "m", "v", in_bytes, answer, signature),
            }
            costs = " ".join(f"{each} {microseconds(call):.1f}" for each, call in calls.items())
            print(f"{name} {width} x {count} ({len(flat)} bytes): {costs}", flush=True)


if __name__ == "__main__":
    main()
