"""Long and failing model runs, in process: what the loop, the bound on pending work and the counters do."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from modelcycle_serving import model as models
from modelcycle_serving.app import App, Phase
from modelcycle_serving.counters import Counters
from modelcycle_serving.inference import MAX_PENDING
from modelcycle_serving.messages import Reply, Request, Response
from modelcycle_serving.oip import Outputs, Rows
from unit.serving import rig

INFER = b"/v2/models/m/infer"


class Bench:
    """An App around the real model with its `run` replaced."""

    def __init__(self, bundle: Path, run: Callable[[Rows], Outputs] | None, seconds: float) -> None:
        model = models.load(bundle, None)
        self.model = replace(model, run=run or model.run, seconds_base=seconds)
        self.app = App("m", "1", lambda: 0.0, Random(1))
        self.app.start_serving(self.model, Counters(model, "", "p", 0.0))

    def ask(self, body: Any) -> Reply:
        return self.app.serving(Request(method=b"POST", path=INFER, body=json.dumps(body).encode()))

    async def answer(self, body: Any) -> Response:
        asked = self.ask(body)
        return asked if isinstance(asked, Response) else await asked

    def get(self, path: bytes) -> int:
        response = self.app.serving(Request(method=b"GET", path=path))
        assert isinstance(response, Response)
        return response.status

    def metrics(self) -> str:
        response = self.app.metrics(Request(method=b"GET", path=b"/metrics"))
        assert isinstance(response, Response)
        return response.body.decode()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_long_runs_leave_the_loop_and_are_bounded(bundles: dict[str, Path], gate: threading.Event) -> None:
    answers = models.load(bundles["classes"], None).run(rig.TABLE[:1])

    def slow(rows: Rows) -> Outputs:
        gate.wait(10)
        return answers

    bench = Bench(bundles["classes"], slow, seconds=1.0)
    waiting = [bench.ask(rig.matrix([[1, 2, 3]], id=str(at))) for at in range(MAX_PENDING)]
    refused = bench.ask(rig.matrix([[1, 2, 3]]))
    assert isinstance(refused, Response)
    assert (refused.status, refused.headers) == (503, ((b"Retry-After", b"1"),))
    assert bench.get(b"/v2/health/live") == 200
    assert "modelcycle_rows_total 0\n" in bench.metrics()
    gate.set()
    bodies = [json.loads((await each).body) for each in waiting if not isinstance(each, Response)]
    assert [body["id"] for body in bodies] == [str(at) for at in range(MAX_PENDING)]
    assert f"modelcycle_rows_total {MAX_PENDING}\n" in bench.metrics()
    assert not isinstance(bench.ask(rig.matrix([[1, 2, 3]])), Response), "there is room again"
    bench.app.close()


@pytest.mark.parametrize("seconds", [0.0, 1.0])
async def test_run_that_raises_is_500_and_counts_no_row(bundles: dict[str, Path], seconds: float) -> None:
    def broken(rows: Rows) -> Outputs:
        raise RuntimeError(f"cannot take {rows.tolist()}")

    bench = Bench(bundles["classes"], broken, seconds)
    response = await bench.answer(rig.matrix([[73519.25, 2, 3]]))
    assert response.status == 500
    assert b"73519" not in response.body
    assert "modelcycle_rows_total 0\n" in bench.metrics()
    assert 'modelcycle_requests_total{code="500",arm="stable",revision=""} 1\n' in bench.metrics()
    bench.app.close()


async def test_answer_that_is_not_finite_is_500(bundles: dict[str, Path]) -> None:
    def nan(rows: Rows) -> Outputs:
        return {"label": np.array([0]), "probabilities": np.array([[np.nan, 1]], dtype=np.float32)}

    response = await Bench(bundles["classes"], nan, 0.0).answer(rig.matrix([[1, 2, 3]]))
    assert response.status == 500


HALVES = np.array([[0.5, 0.5]], dtype=np.float32)
MALFORMED: dict[str, dict[str, Any]] = {
    "no label": {"probabilities": HALVES},
    "nothing": {"label": None, "probabilities": None},
    "no axis": {"label": np.array(0), "probabilities": np.array(0.5, np.float32)},
    "an axis more": {"label": np.array([[0]]), "probabilities": HALVES},
    "a row more": {"label": np.array([0, 1]), "probabilities": HALVES},
    "lists": {"label": [0], "probabilities": [[0.5, 0.5]]},
    "a text": {"label": np.array(["0"], dtype=object), "probabilities": HALVES},
}


@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["on the loop", "aside"])
@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_answer_of_a_model_is_500_and_leaves_nobody_waiting(
    bundles: dict[str, Path], name: str, seconds: float
) -> None:
    bench = Bench(bundles["classes"], lambda rows: MALFORMED[name], seconds)
    waiting = [bench.ask(rig.matrix([[1, 2, 3]])) for _ in range(2)]
    async with asyncio.timeout(20):
        responses = [each if isinstance(each, Response) else await each for each in waiting]
    assert [response.status for response in responses] == [500, 500]
    assert "modelcycle_rows_total 0\n" in bench.metrics()
    bench.app.close()


async def test_answers_that_cannot_be_counted_are_given_and_the_page_stays(bundles: dict[str, Path]) -> None:
    shares = np.array([0.5], dtype=np.float32)
    bench = Bench(bundles["classes"], lambda rows: {"label": np.array([0]), "probabilities": shares}, 0.0)
    assert (await bench.answer(rig.matrix([[1, 2, 3]]))).status == 200
    assert 'modelcycle_requests_total{code="200",arm="stable",revision=""} 1\n' in bench.metrics()
    bench.app.close()


async def test_class_that_the_profile_does_not_know_is_500_and_counts_nothing(bundles: dict[str, Path]) -> None:
    def other(rows: Rows) -> Outputs:
        return {"label": np.array([7]), "probabilities": np.array([[0.5, 0.5]], dtype=np.float32)}

    bench = Bench(bundles["classes"], other, 0.0)
    response = await bench.answer(rig.matrix([[1, 2, 3]]))
    assert response.status == 500
    counted = [line for line in bench.metrics().splitlines() if line.startswith("modelcycle_feature_total")]
    assert all(line.endswith(" 0") for line in counted)


def test_series_all_exist_at_zero_before_the_first_request(bundles: dict[str, Path]) -> None:
    lines = [
        line
        for line in Bench(bundles["classes"], None, 0.0).metrics().splitlines()
        if line.startswith(("modelcycle_requests", "modelcycle_rows", "modelcycle_feature", "modelcycle_prediction"))
    ]
    profile = models.load(bundles["classes"], None).profile
    bins = sum(len(feature.bins) for feature in profile.features)
    assert len([line for line in lines if line.startswith("modelcycle_feature_total")]) == bins
    assert all(line.endswith(" 0") for line in lines)


def test_starting_server_is_live_but_neither_ready_nor_counting(bundles: dict[str, Path]) -> None:
    app = App("m", "1", lambda: 0.0, Random(1))
    asked = {path: app.serving(Request(method=b"GET", path=path)) for path in (b"/v2/health/live", b"/v2/health/ready")}
    assert [answer.status for answer in asked.values() if isinstance(answer, Response)] == [200, 503]
    infer = app.serving(Request(method=b"POST", path=INFER, body=b"{}"))
    metrics = app.metrics(Request(method=b"GET", path=b"/metrics"))
    profile = app.metrics(Request(method=b"GET", path=b"/profile"))
    assert [each.status for each in (infer, metrics, profile) if isinstance(each, Response)] == [503, 503, 503]


async def test_draining_server_answers_but_is_not_ready(bundles: dict[str, Path]) -> None:
    bench = Bench(bundles["classes"], None, 0.0)
    bench.app.start_drain()
    assert bench.app.phase is Phase.DRAINING
    assert bench.get(b"/v2/health/ready") == bench.get(b"/v2/models/m/ready") == 503
    assert bench.get(b"/v2/health/live") == 200
    answer = await bench.answer(rig.matrix([[1, 2, 3]]))
    assert answer.status == 200
    assert "modelcycle_draining 1\n" in bench.metrics()
