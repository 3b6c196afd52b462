"""Whatever requests come, together or one by one, each scrape adds up: every answered row is once in the bins of every feature."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from budget import examples
from modelcycle_bundle import metric_names as names
from modelcycle_bundle.bins import MISSING
from modelcycle_serving import model as models
from modelcycle_serving.app import App
from modelcycle_serving.counters import Counters
from modelcycle_serving.messages import Reply, Request, Response
from modelcycle_serving.model import Model
from modelcycle_serving.oip import Outputs, Rows
from unit.serving import rig

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-3, 3) | st.none()
rows = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=40)
bad = st.sampled_from([b"", b"{}", b"null", json.dumps(rig.matrix([[1, 2]])).encode(), b'{"inputs":[{"name":"x"}]}'])
turns = st.lists(st.lists(rows | bad, min_size=1, max_size=6), min_size=1, max_size=6)


@cache
def served() -> Model:
    """A classifier that answers rows with gaps."""
    folder = Path(mkdtemp())
    rig.write_bundle(folder, rig.classifier(["no", "yes"]))
    model = models.load(folder, None)

    def run(table: Rows) -> Outputs:
        return model.run(np.nan_to_num(table, nan=0.0))

    return replace(model, run=run, signature=replace(model.signature, accepts_missing=True))


def page(app: App) -> dict[str, dict[tuple[str, ...], int]]:
    response = app.metrics(Request(method=b"GET", path=b"/metrics"))
    assert isinstance(response, Response)
    found: dict[str, dict[tuple[str, ...], int]] = {}
    for family in text_string_to_metric_families(response.body.decode()):
        for sample in family.samples:
            if sample.name.endswith("_total"):
                found.setdefault(sample.name, {})[tuple(sample.labels.values())] = int(sample.value)
    return found


def answered(answers: list[tuple[list[Any], Reply]]) -> list[list[Any]]:
    """The rows of each request that has its 200 by now."""
    given_back = []
    for asked, answer in answers:
        try:
            response = answer if isinstance(answer, Response) else answer.result()
        except asyncio.InvalidStateError:
            continue
        if response.status == 200:
            given_back.append(asked)
    return given_back


def check(app: App, answers: list[tuple[list[Any], Reply]]) -> None:
    samples = page(app)
    done = answered(answers)
    count = sum(map(len, done))
    sums: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for (feature, bin_name, _), value in samples[names.FEATURE].items():
        sums[feature] += value
        missing[feature] += value * (bin_name == MISSING)
    assert samples[names.ROWS] == {(): count}
    assert sums == Counter(dict.fromkeys(rig.FEATURES, count))
    assert sum(samples[names.PREDICTION].values()) == count
    nulls = {feature: sum(row[at] is None for each in done for row in each) for at, feature in enumerate(rig.FEATURES)}
    assert missing == Counter(nulls)
    requests = {code: value for (code, arm, _), value in samples[names.REQUESTS].items() if arm == names.ARM_STABLE}
    assert requests["200"] == len(done)


async def serve(bodies: list[list[Any]], seconds: float) -> None:
    model = replace(served(), seconds_base=seconds)
    app = App("m", "1", lambda: 0.0, Random(1))
    app.start_serving(model, Counters(model, "r", "p", 1.0))
    answers: list[tuple[list[Any], Reply]] = []
    refused = 0
    for turn in bodies:
        for body in turn:
            raw = body if isinstance(body, bytes) else json.dumps(rig.matrix([list(row) for row in body])).encode()
            answer = app.serving(Request(method=b"POST", path=b"/v2/models/m/infer", body=raw))
            if isinstance(body, bytes):
                assert isinstance(answer, Response)
                refused += answer.status == 400
            else:
                answers.append((body, answer))
        check(app, answers)
        await asyncio.sleep(0)
        check(app, answers)
    for _, answer in answers:
        if not isinstance(answer, Response):
            await answer
    check(app, answers)
    assert sum(value for (code, *_), value in page(app)[names.REQUESTS].items() if code == "400") == refused
    assert len(answered(answers)) == len(answers)
    app.close()


@settings(deadline=None, max_examples=examples(40))
@given(turns, st.sampled_from([0.0, 1.0]))
def test_every_scrape_adds_up(bodies: list[list[Any]], seconds: float) -> None:
    """A run of 1 s leaves the loop to the thread; one of none is batched with what comes in the same turn."""
    asyncio.run(serve(bodies, seconds))
