"""A decision that takes for ever holds nothing but its own object: the loop, the workers and every other object go on."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import aiohttp
import pytest

from fakes.deployment_lab import model
from fakes.experiment_lab import MINIMAL
from fakes.memory_kube import MemoryKube
from modelcycle import process
from modelcycle.engine.beside import Beside, StillDeciding
from modelcycle.engine.executor import Result
from modelcycle.engine.plan import Key
from modelcycle.experiment import observe
from modelcycle.experiment.decide import decide as experiment_decide
from modelcycle.kube.kinds import DRIFT_MONITOR, EXPERIMENT, MODEL_DEPLOYMENT, Kind
from modelcycle.process import Parts
from modelcycle.settings import Settings
from modelcycle.telemetry import Telemetry

NAMESPACE: Final = "plant-7"
POISONED: Final = "poisoned"
SPECS: Final[dict[Kind, dict[str, Any]]] = {
    EXPERIMENT: dict(MINIMAL),
    MODEL_DEPLOYMENT: {"model": model("a"), "strategy": {"canary": {"steps": []}}},
    DRIFT_MONITOR: {"targetRef": {"name": "scrap"}},
}
PATIENCE: Final = 60.0
"""Seconds after which a test that would hang fails instead."""


class Gate:
    """A decision about the poisoned object goes no further until the gate is opened."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self.entered = 0
        self.given_up = 0

    def through(self, decide: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def decided(world: Any) -> Any:
            if name_of(world) == POISONED:
                self.entered += 1
                # Decided on the loop itself, nothing else would ever run: end that, and be seen to have.
                self.given_up += not self._opened.wait(PATIENCE / 4)
            return decide(world)

        return decided

    def open(self) -> None:
        self._opened.set()


def name_of(world: Any) -> str:
    return str(world.monitor.name if hasattr(world, "monitor") else world.name)


class Bench:
    """The operator's own object graph over an in-memory API: one good object of each kind and a poisoned one of `kind`."""

    def __init__(self, kind: Kind, parts: Parts, kube: MemoryKube) -> None:
        self.kube = kube
        self.parts = parts
        self.poisoned = Key(kind.kind, NAMESPACE, POISONED)
        self.good = [Key(one.kind, NAMESPACE, "good") for one in SPECS]
        for one, spec in SPECS.items():
            names = ["good", POISONED] if one is kind else ["good"]
            for name in names:
                kube.seed(one, NAMESPACE, {"metadata": {"name": name}, "spec": spec})

    def is_answered(self, key: Key) -> bool:
        kind = next(kind for kind in SPECS if kind.kind == key.kind)
        return bool((self.kube.read(kind, key.namespace, key.name) or {}).get("status"))


@pytest.fixture
async def parts() -> AsyncIterator[tuple[Parts, MemoryKube]]:
    kube = MemoryKube()
    async with aiohttp.ClientSession() as session:
        settings = Settings("t@sha256:0", "s@sha256:0")
        yield process.build(kube, settings, Telemetry(), session, "test"), kube


@pytest.mark.parametrize("kind", SPECS, ids=lambda kind: kind.kind)
async def test_an_endless_decision_delays_no_other_object(
    kind: Kind, parts: tuple[Parts, MemoryKube], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, gate = Bench(kind, *parts), Gate()
    for reconciler in bench.parts.reconcilers:
        monkeypatch.setattr(reconciler, "decide", gate.through(reconciler.decide))
    monkeypatch.setattr(observe, "decide", gate.through(experiment_decide))
    workers = [asyncio.create_task(bench.parts.controller.work()) for _ in range(2)]
    answered = asyncio.Event()
    bench.kube.after_write = lambda write: answered.set() if all(map(bench.is_answered, bench.good)) else None
    try:
        for key in (bench.poisoned, *bench.good):
            bench.parts.queue.add(key)
        await asyncio.wait_for(answered.wait(), PATIENCE)
        assert (gate.entered, gate.given_up) == (1, 0)
        assert not bench.is_answered(bench.poisoned)
    finally:
        gate.open()
        bench.parts.queue.shut_down()
        await asyncio.wait_for(asyncio.gather(*workers), PATIENCE)
    assert bench.is_answered(bench.poisoned)


async def test_a_worker_gives_up_on_an_endless_decision_and_nobody_starts_it_a_second_time(
    parts: tuple[Parts, MemoryKube], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, gate = Bench(MODEL_DEPLOYMENT, *parts), Gate()
    reconciler = bench.parts.reconcilers[1]
    monkeypatch.setattr(reconciler, "decide", gate.through(reconciler.decide))
    controller = bench.parts.controller
    monkeypatch.setattr(controller, "_key_timeout", 0.05)
    try:
        given_up = await controller.process(bench.poisoned)
        again = await controller.process(bench.poisoned)
        assert [one.result for one in (given_up, again)] == [Result.BACKOFF] * 2
        assert "goes on" in again.message
        assert gate.entered == 1
    finally:
        gate.open()


async def test_the_next_decision_of_a_key_starts_when_the_one_before_has_ended() -> None:
    beside, gate, key = Beside(), threading.Event(), Key("Experiment", NAMESPACE, "e")
    first = asyncio.create_task(beside.run(key, gate.wait, PATIENCE))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(StillDeciding):
        await beside.run(key, len, "four")
    assert await beside.run(Key("Experiment", NAMESPACE, "other"), len, "four") == 4
    gate.set()
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                assert await beside.run(key, len, "four") == 4
                return
            except StillDeciding:
                await asyncio.sleep(0)
