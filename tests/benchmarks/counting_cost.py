"""What counting, the metrics page and feedback cost, in time of one core. Prints figures; asserts nothing.

    python tests/benchmarks/counting_cost.py

The budget of a page with 200 features is 5 ms, that of one body of labels too.
"""

import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Final, cast

import numpy as np
import orjson

from modelcycle_bundle.outputs import ClassOutputs
from modelcycle_bundle.profile import Profile, build
from modelcycle_serving.counters import Counters
from modelcycle_serving.exposition import negotiated
from modelcycle_serving.feedback.endpoint import Policy
from modelcycle_serving.feedback.keys import KeyFile
from modelcycle_serving.feedback.replays import Replays
from modelcycle_serving.feedback.service import PARAMETER, Feedback
from modelcycle_serving.messages import Request
from modelcycle_serving.model import Model
from modelcycle_serving.oip import Outputs, Rows, Signature

ROWS: Final = 5000
ROLLOUT: Final = "aabbcc-00000001"
RANDOM: Final = np.random.default_rng(1)


def microseconds(work: Callable[[], object], times: int = 100) -> float:
    """Of the fastest run, by the thread's own clock: what else the machine does must not count."""
    spent = []
    for _ in range(times):
        begun = time.thread_time()
        work()
        spent.append(time.thread_time() - begun)
    return min(spent) * 1e6


def served(features: int, classes: int, *, codes: bool) -> tuple[Profile, Rows, Outputs]:
    """A profile, rows and answers to them."""
    size = (ROWS, features)
    table = (RANDOM.integers(0, 17, size=size) if codes else RANDOM.normal(size=size)).astype(np.float32)
    probabilities = RANDOM.dirichlet([1] * classes, size=ROWS).astype(np.float32)
    labels = probabilities.argmax(axis=1)
    names = [f"feature number {at}" for at in range(features)]
    profile = build(names, table, ClassOutputs(labels, probabilities), [str(at) for at in range(classes)])
    return profile, table, {"label": labels, "probabilities": probabilities}


def first(outputs: Outputs, rows: int) -> Outputs:
    return {name: values[:rows] for name, values in outputs.items()}


def counting(features: int, classes: int, *, codes: bool) -> None:
    profile, table, outputs = served(features, classes, codes=codes)
    signature = Signature(tuple(each.name for each in profile.features), ())
    model = cast(Model, SimpleNamespace(profile=profile, digest="sha256:0", signature=signature))
    counters = Counters(model, "r1", "pod", 1.0)
    kind = "codes" if codes else "numbers"
    print(f"{features} features of {kind}, {classes} classes")
    for rows in (1, 16, 255):
        block, answers = table[:rows], first(outputs, rows)
        spent = microseconds(partial(counters.count_rows, block, answers))
        print(f"  {spent / rows:8.2f} us a row, counted {rows} at once")
    page = counters.exposition()
    print(f"  {microseconds(counters.exposition):8.0f} us the page of {len(page)} bytes")
    print(f"  {microseconds(lambda: negotiated(page, b'application/openmetrics-text')):8.0f} us more for OpenMetrics")


def feedback(folder: Path) -> None:
    profile, _, outputs = served(1, 2, codes=False)
    (folder / "key").write_text("a key of at least thirty-two bytes")
    keys = KeyFile(folder / "key")
    keys.look()
    desk = Feedback(profile, "9c1fd8a2b3", keys, Policy(1e9, 100_000), time.time, Random(1))
    print("tokens")
    for requests, rows in ((1, 1), (16, 1), (64, 1), (1, 32), (1, 1024)):
        run, answers = first(outputs, requests * rows), [(rows, ROLLOUT)] * requests
        spent = microseconds(partial(desk.parameters, run, answers)) / requests
        size = len(desk.parameters(run, answers)[0][PARAMETER])
        print(f"  {spent:8.2f} us a request, {requests} of {rows} rows together; {size} characters")
    print("labels")
    for entries, rows in ((1, 1), (128, 1), (128, 32), (1, 4096)):

        def post(entries: int = entries, rows: int = rows) -> float:
            tokens: list[Any] = [desk.parameters(first(outputs, rows), [(rows, "")])[0] for _ in range(entries)]
            labelled = [{"token": token[PARAMETER], "labels": ["1"] * rows} for token in tokens]
            body = orjson.dumps({"feedback": labelled})
            begun = time.thread_time()
            assert desk.endpoint(Request(body=body)).status == 200
            return (time.thread_time() - begun) * 1e3

        print(f"  {min(post() for _ in range(8)):8.2f} ms a body of {entries} entries of {rows} labels")
    tracemalloc.start()
    replays, random = Replays(100_000), Random(1)
    for at in range(100_000):
        replays.add(30_000_000 + at // 100, random.getrandbits(64), 1)
    print(f"  {tracemalloc.get_traced_memory()[0] / 2**20:8.1f} MiB to remember 100,000 answers")


if __name__ == "__main__":
    counting(30, 2, codes=False)
    counting(64, 10, codes=True)
    counting(200, 2, codes=False)
    with tempfile.TemporaryDirectory() as made:
        feedback(Path(made))
