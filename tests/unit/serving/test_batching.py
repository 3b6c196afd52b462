"""Requests of one turn of the loop: run together once, failed apart, bounded, and answered as if they were alone."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from modelcycle_serving import model as models
from modelcycle_serving.batching import Batcher, BatchLimits, Job, RunFailed
from modelcycle_serving.counters import Counters
from modelcycle_serving.messages import Response
from modelcycle_serving.oip import Outputs, Rows
from unit.serving import rig
from unit.serving.test_app import Bench

POISON = 7777.0


def poisoned(run: Callable[[Rows], Outputs], bad: Callable[[Outputs], Outputs]) -> Callable[[Rows], Outputs]:
    """A model that fails whenever a row of POISON is among those it is given, however many others are."""
    return lambda rows: bad(run(rows)) if (rows[:, 0] == POISON).any() else run(rows)


def broken(_: Outputs) -> Outputs:
    raise RuntimeError("cannot")


def all_nan(outputs: Outputs) -> Outputs:
    return {**outputs, "probabilities": np.full_like(outputs["probabilities"], np.nan)}


def unknown_class(outputs: Outputs) -> Outputs:
    return {**outputs, "label": np.full_like(outputs["label"], 9)}


def too_few(outputs: Outputs) -> Outputs:
    return {name: values[:-1] for name, values in outputs.items()}


@pytest.mark.parametrize("bad", [broken, all_nan, unknown_class, too_few])
async def test_request_that_fails_fails_alone(bundles: dict[str, Path], bad: Callable[[Outputs], Outputs]) -> None:
    run = models.load(bundles["classes"], None).run
    bench = Bench(bundles["classes"], poisoned(run, bad), 0.0)
    bodies = [rig.matrix(rig.TABLE[at : at + 1 + at % 3].tolist(), id=str(at)) for at in range(20)]
    bodies[7] = rig.matrix([[POISON, 0, 0]])
    answers = await asyncio.gather(*map(bench.answer, bodies))
    assert [answer.status for answer in answers] == [200] * 7 + [500] + [200] * 12
    for at, answer in enumerate(answers):
        if at != 7:
            assert json.loads(answer.body)["id"] == str(at)
            assert (
                values(answer, "probabilities")
                == run(rig.TABLE[at : at + 1 + at % 3])["probabilities"].ravel().tolist()
            )
    rows = sum(1 + at % 3 for at in range(20) if at != 7)
    assert f"modelcycle_rows_total {rows}\n" in bench.metrics()
    bench.app.close()


def values(answer: Response, name: str) -> list[float]:
    """Float32 values of an output, as doubles."""
    found = next(each for each in json.loads(answer.body)["outputs"] if each["name"] == name)
    return [float(np.float32(value)) for value in found["data"]]


async def test_requests_of_one_turn_are_one_run(bundles: dict[str, Path]) -> None:
    runs: list[int] = []
    run = models.load(bundles["classes"], None).run

    def told(rows: Rows) -> Outputs:
        runs.append(len(rows))
        return run(rows)

    bench = Bench(bundles["classes"], told, 0.0)
    asked = [bench.answer(rig.matrix(rig.TABLE[:2].tolist())) for _ in range(40)]
    await asyncio.gather(*asked)
    assert runs == [64, 16]
    await bench.answer(rig.matrix(rig.TABLE[:1].tolist()))
    await bench.answer(rig.matrix(rig.TABLE[:100].tolist()))
    assert runs == [64, 16, 1, 100]
    bench.app.close()


async def test_model_whose_rows_mix_is_asked_for_one_request_at_a_time(tmp_path: Path) -> None:
    rig.write_bundle(tmp_path, rig.centred())
    model = models.load(tmp_path, None)
    assert not model.rows_are_independent
    bench = Bench(tmp_path, None, 0.0)
    bodies = [rig.matrix(rig.TABLE[at : at + 2].tolist()) for at in range(10)]
    answers = await asyncio.gather(*map(bench.answer, bodies))
    for at, answer in enumerate(answers):
        assert values(answer, "prediction") == model.run(rig.TABLE[at : at + 2])["prediction"].ravel().tolist()
    bench.app.close()


@pytest.mark.parametrize("name", ["classes", "names", "values"])
def test_rows_of_the_usual_models_are_independent(bundles: dict[str, Path], name: str) -> None:
    assert models.load(bundles[name], None).rows_are_independent


async def test_counting_that_fails_costs_nobody_an_answer(
    bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(self: Counters, rows: Rows, outputs: Outputs) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Counters, "count_rows", defect)
    bench = Bench(bundles["classes"], None, 0.0)
    answers = await asyncio.gather(*(bench.answer(rig.matrix(rig.TABLE[:100].tolist())) for _ in range(5)))
    assert [answer.status for answer in answers] == [200] * 5
    assert "rows were not counted" in caplog.text
    bench.app.close()


class Desk:
    """A batcher whose model doubles its rows."""

    def __init__(self, limits: BatchLimits) -> None:
        self.runs: list[list[float]] = []
        self.batcher: Batcher[Job] = Batcher(self.run, self.answered, self.failed, limits)

    def run(self, rows: Rows) -> Outputs:
        self.runs.append(rows[:, 0].tolist())
        if (rows == POISON).any():
            raise RunFailed("poison")
        return {"y": rows * 2}

    def answered(self, jobs: Sequence[Job], rows: Rows, outputs: Outputs) -> None:
        ends = np.cumsum([len(job.rows) for job in jobs])
        for job, part in zip(jobs, np.split(outputs["y"], ends[:-1]), strict=True):
            job.set_result(Response(200, part.tobytes()))

    def failed(self, job: Job, failed: RunFailed) -> None:
        job.set_result(Response(500, b""))


def job(*numbers: float) -> Job:
    return Job(np.array(numbers, dtype=np.float32)[:, None])


async def test_full_queue_takes_nothing_until_it_has_run() -> None:
    desk = Desk(BatchLimits(rows=2, requests=3))
    jobs = [job(at) for at in range(5)]
    assert [desk.batcher.submit(each) for each in jobs] == [True, True, True, False, False]
    await jobs[2]
    assert desk.batcher.submit(jobs[3])
    await jobs[3]
    assert desk.runs == [[0, 1], [2], [3]]


async def test_queue_is_bounded_by_values_too() -> None:
    desk = Desk(BatchLimits(values=3))
    assert [desk.batcher.submit(job(1, 2)), desk.batcher.submit(job(3, 4)), desk.batcher.submit(job(5))] == [
        True,
        True,
        False,
    ]


async def test_loop_comes_round_between_two_batches() -> None:
    desk = Desk(BatchLimits(rows=2))
    jobs = [job(at, at) for at in range(3)]
    for each in jobs:
        desk.batcher.submit(each)
    seen: list[int] = []
    for _ in range(4):
        await asyncio.sleep(0)
        seen.append(len(desk.runs))
    assert seen[0] < seen[1] < seen[2] == 3


async def test_request_larger_than_a_batch_runs_alone_and_the_order_stays() -> None:
    desk = Desk(BatchLimits(rows=3))
    jobs = [job(1), job(2, 3, 4, 5), job(6), job(7, 8), job(9)]
    for each in jobs:
        desk.batcher.submit(each)
    for each in jobs:
        assert (await each).body == (each.rows * 2).tobytes()
    assert desk.runs == [[1], [2, 3, 4, 5], [6, 7, 8], [9]]


async def test_failed_batch_is_run_one_by_one() -> None:
    desk = Desk(BatchLimits())
    jobs = [job(1), job(POISON), job(3)]
    for each in jobs:
        desk.batcher.submit(each)
    assert [(await each).status for each in jobs] == [200, 500, 200]
    assert desk.runs == [[1, POISON, 3], [1], [POISON], [3]]
