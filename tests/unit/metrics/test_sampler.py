"""The sampler reads in the background: nothing waits for it, a failed round leaves the last samples, a defect does not silence it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime

import pytest

from fakes.counting_pods import BASE, ROWS, CountingPod, at, take
from modelcycle.metrics import sampler as samplers
from modelcycle.metrics.port import Round, SourceUnavailable, Target
from modelcycle.metrics.sampler import Sampler

TARGET = Target("plant-7", "scrap", 0.01)


class Pods:
    """A source that fails when told to. Each round is one second later."""

    def __init__(self) -> None:
        self.pods = [CountingPod("a", BASE)]
        self.failure: Exception | None = None
        self.rounds = 0

    def clock(self) -> datetime:
        return at(self.rounds)

    async def read(self, target: Target, now: datetime) -> Round:
        self.rounds += 1
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return take(self.pods, (now - at(0)).total_seconds(), target.deployment)


class Running:
    """A sampler with its task and the keys it has enqueued."""

    def __init__(self) -> None:
        self.source = Pods()
        self.sampler: Sampler[str] = Sampler(self.source, self.source.clock)
        self.enqueued: list[str] = []
        self._news = asyncio.Event()

    def enqueue(self, key: str) -> None:
        self.enqueued.append(key)
        self._news.set()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not true():
                self._news.clear()
                await self._news.wait()


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    made = Running()
    task = asyncio.create_task(made.sampler.run(made.enqueue))
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_enqueues_after_each_round_and_keeps_the_latest(running: Running) -> None:
    assert running.sampler.latest("m") is None
    running.sampler.track("m", TARGET)
    await running.until(lambda: len(running.enqueued) >= 2)
    samples = running.sampler.latest("m")
    assert samples is not None
    assert samples.runs[running.source.pods[0].run].counts[ROWS] == 0


async def test_tracked_before_it_runs_is_read_once_it_runs() -> None:
    made = Running()
    made.sampler.track("m", TARGET)
    task = asyncio.create_task(made.sampler.run(made.enqueue))
    await made.until(lambda: "m" in made.enqueued)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("failure", [SourceUnavailable("pods could not be listed"), RuntimeError("a defect")])
async def test_failed_round_leaves_the_last_samples_and_says_why_engineering_60(
    running: Running, failure: Exception
) -> None:
    running.sampler.track("m", TARGET)
    await running.until(lambda: running.sampler.latest("m") is not None)
    running.source.failure = failure
    await running.until(lambda: running.sampler.problem("m") is not None)
    before = running.sampler.latest("m")
    seen = len(running.enqueued)
    await running.until(lambda: len(running.enqueued) > seen)
    assert running.sampler.latest("m") == before
    running.source.failure = None
    await running.until(lambda: running.sampler.problem("m") is None)
    assert running.sampler.latest("m") != before


async def test_other_deployment_begins_anew(running: Running) -> None:
    running.sampler.track("m", TARGET)
    await running.until(lambda: running.sampler.latest("m") is not None)
    running.sampler.track("m", Target("plant-7", "paint", 0.01))
    assert running.sampler.latest("m") is None
    await running.until(lambda: running.sampler.latest("m") is not None)
    samples = running.sampler.latest("m")
    assert samples is not None
    assert samples.deployment == "paint"


async def test_forgotten_key_is_not_read_any_more(running: Running) -> None:
    running.sampler.track("m", TARGET)
    running.sampler.track("other", TARGET)
    await running.until(lambda: running.sampler.latest("m") is not None)
    running.sampler.forget("m")
    seen = running.enqueued.count("m")
    others = running.enqueued.count("other")
    await running.until(lambda: running.enqueued.count("other") >= others + 5)
    assert running.enqueued.count("m") == seen
    assert running.sampler.latest("m") is None


HOUR = Target("plant-7", "scrap", 3600.0)


async def test_a_monitor_applied_together_with_its_target_is_looked_at_when_the_pods_run_and_not_after_its_interval(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samplers, "FIRST_WAIT", 0.01)
    pods, running.source.pods = running.source.pods, []
    running.sampler.track("m", HOUR)
    await running.until(lambda: len(running.enqueued) >= 2)
    running.source.pods = pods
    await running.until(lambda: bool((samples := running.sampler.latest("m")) and samples.runs))
    seen = running.source.rounds
    await asyncio.sleep(0.1)
    assert running.source.rounds == seen, "with counts the interval holds"


async def test_an_outage_is_asked_after_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        if seconds:
            waits.append(round(seconds))
        if len(waits) == 8:
            raise asyncio.CancelledError

    made = Running()
    made.source.failure = SourceUnavailable("pods could not be listed")
    made.sampler._targets["m"] = Target("plant-7", "scrap", 60.0)
    monkeypatch.setattr("asyncio.sleep", sleep)
    with contextlib.suppress(asyncio.CancelledError):
        await made.sampler._read_forever("m", made.enqueue)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_canary_whose_pod_becomes_ready_is_read_at_once_and_not_after_one_interval(running: Running) -> None:
    running.sampler.track("m", replace(HOUR, ready=frozenset({"a"})))
    await running.until(lambda: len(running.enqueued) == 1)
    running.source.pods.append(CountingPod("b", BASE))
    for _ in range(3):  # reconciliations that see the same pods ask for nothing more
        running.sampler.track("m", replace(HOUR, ready=frozenset({"a", "b"})))
        await running.until(lambda: len(running.enqueued) == 2)
    samples = running.sampler.latest("m")
    assert samples is not None
    assert {run.pod_uid for run in samples.runs} == {"a", "b"}
    running.sampler.track("m", replace(HOUR, ready=frozenset({"b"})))
    await asyncio.sleep(0.05)
    assert len(running.enqueued) == 2
