"""One pass over a key: what the outcome does to the queue, to the metrics and to people."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from fakes.engine import CountingObserver, KeepingRecorder, LiveReconciler
from fakes.memory_kube import MemoryKube
from modelcycle.engine.controller import Controller
from modelcycle.engine.executor import Result
from modelcycle.engine.plan import Create, Key, Plan
from modelcycle.engine.workqueue import WorkQueue
from modelcycle.kube import errors
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT
from modelcycle.kube.port import Object

KEY = Key("Experiment", "ns", "e")
CHILD = Plan((Create(CONFIG_MAP, {"metadata": {"name": "c", "namespace": "ns"}}),), requeue_after=60)


class Bench:
    """A controller over an in-memory API with one Experiment."""

    def __init__(self, decision: Any, key_timeout: float = 60.0) -> None:
        self.kube = MemoryKube()
        self.kube.seed(EXPERIMENT, "ns", {"metadata": {"name": "e"}, "spec": {}})
        self.observer = CountingObserver()
        self.recorder = KeepingRecorder()
        self.queue = WorkQueue(self.observer, lambda: 0.0)
        self.controller = Controller(
            self.kube,
            {"Experiment": LiveReconciler(self.kube, decision)},
            self.queue,
            self.recorder,
            self.observer,
            clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            key_timeout=key_timeout,
        )

    def fail_writes(self, error: errors.ApiError) -> None:
        def hook(call: object) -> None:
            raise error

        self.kube.before_write = hook


def child(world: Object) -> Plan:
    return CHILD


async def test_success_is_looked_at_again_when_the_plan_says() -> None:
    bench = Bench(child)
    outcome = await bench.controller.process(KEY)
    assert (outcome.result, outcome.retry_after) == (Result.SUCCESS, 60)
    assert bench.observer.results == {("Experiment", "success"): 1}


async def test_a_gone_object_is_no_error_engineering_11() -> None:
    bench = Bench(child)
    bench.kube.remove(EXPERIMENT, "ns", "e")
    outcome = await bench.controller.process(KEY)
    assert outcome.result is Result.GONE


@pytest.mark.parametrize("error", [errors.Forbidden("quota", status=403), errors.Invalid("schema", status=422)])
async def test_a_refusal_reaches_people_and_is_retried_slowly_engineering_35(error: errors.ApiError) -> None:
    bench = Bench(child)
    bench.fail_writes(error)
    outcome = await bench.controller.process(KEY)
    assert (outcome.result, outcome.retry_after) == (Result.REFUSED, 300.0)
    (event,) = bench.recorder.events
    assert (event.reason, event.type, str(error) in event.note) == ("WriteRefused", "Warning", True)
    assert bench.observer.counts["refused"] == 1
    assert bench.observer.counts["retried"] == 0


async def test_an_outage_backs_off_and_says_nothing_to_people_engineering_26() -> None:
    bench = Bench(child)
    bench.fail_writes(errors.Unavailable("503", status=503))
    outcome = await bench.controller.process(KEY)
    assert outcome.result is Result.BACKOFF
    assert bench.observer.counts["retried"] == 1
    assert bench.recorder.events == []


async def test_a_failing_read_backs_off_like_a_failing_write() -> None:
    bench = Bench(child)

    def hook(call: object) -> None:
        raise errors.Unavailable("no route")

    bench.kube.before_read = hook
    assert (await bench.controller.process(KEY)).result is Result.BACKOFF


async def test_a_defect_is_retried_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(world: Object) -> Plan:
        raise ZeroDivisionError("in decide")

    bench = Bench(broken)
    outcome = await bench.controller.process(KEY)
    assert outcome.result is Result.ERROR
    assert bench.observer.counts["retried"] == 1
    assert any(record.exc_info for record in caplog.records)


async def test_a_key_that_takes_too_long_is_given_up_and_retried_engineering_38() -> None:
    bench = Bench(child, key_timeout=0.01)

    async def slow(kind: Any, namespace: str, name: str) -> Object | None:
        await asyncio.Event().wait()
        return None

    bench.kube.get = slow  # type: ignore[method-assign]
    assert (await bench.controller.process(KEY)).result is Result.BACKOFF


async def test_workers_end_after_the_plan_that_is_running() -> None:
    bench = Bench(child)
    worker = asyncio.create_task(bench.controller.work())
    bench.queue.add(KEY)
    landed = asyncio.Event()
    bench.kube.after_write = lambda call: landed.set()
    await asyncio.wait_for(landed.wait(), 5)
    bench.queue.shut_down()
    await asyncio.wait_for(worker, 5)
    assert len(bench.kube.find(CONFIG_MAP)) == 1
