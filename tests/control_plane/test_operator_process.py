"""The operator as a real process against a real API server: becomes ready, reacts at once, rests without writing, stops in order."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from conformance.world import eventually
from modelcycle.kube import kinds
from modelcycle.kube.client import RestKube

IMAGES: Final[Mapping[str, str]] = {
    "MODELCYCLE_TRAINING_IMAGE": "localhost/modelcycle-training@sha256:" + "1" * 64,
    "MODELCYCLE_SERVING_IMAGE": "localhost/modelcycle-serving@sha256:" + "2" * 64,
}
EXPERIMENT: Final[Mapping[str, Any]] = {
    "apiVersion": kinds.EXPERIMENT.api_version,
    "kind": kinds.EXPERIMENT.kind,
    "metadata": {"name": "scrap"},
    "spec": {
        "data": {"uri": "s3://factory/scrap/train.csv", "target": "is_scrap"},
        "trainer": {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier"},
        "output": {"uri": "s3://models/scrap"},
    },
}


@dataclass(slots=True)
class Running:
    """An operator process that listens on `port`."""

    process: asyncio.subprocess.Process
    port: int

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page; (0, "") when nobody listens."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async def ready(self) -> bool:
        """Whether /readyz says ok."""
        return await self.get("/readyz") == (200, "ok\n")

    async def counter(self, name: str) -> float:
        """Sum of a metric's samples."""
        _, text = await self.get("/metrics")
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async def end(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 30)


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(control_plane: Path, namespace: str) -> AsyncIterator[Start]:
    """Starts operators that work in the test's namespace only; none outlives the test."""
    started: list[Running] = []

    async def run(**variables: str) -> Running:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        env = {**{k: v for k, v in os.environ.items() if not k.startswith("MODELCYCLE_")}, **IMAGES}
        env |= {"KUBECONFIG": str(control_plane), "MODELCYCLE_HTTP_PORT": str(port)}
        env |= {"MODELCYCLE_WATCH_NAMESPACE": namespace, "MODELCYCLE_NAMESPACE": namespace, **variables}
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "modelcycle", env=env)
        started.append(Running(process, port))
        return started[-1]

    yield run
    for operator in started:
        if operator.process.returncode is None:
            operator.process.kill()
            await operator.process.wait()


async def test_becomes_ready_reacts_and_stops_in_order(start: Start, rest_kube: RestKube, namespace: str) -> None:
    operator = await start()
    assert await eventually(operator.ready)
    assert (await operator.get("/healthz"))[0] == 200
    reconciled = 'modelcycle_operator_reconcile_total{kind="Experiment"'
    assert await operator.counter(reconciled) == 0
    await rest_kube.create(kinds.EXPERIMENT, namespace, EXPERIMENT)

    async def looked_at() -> bool:
        return await operator.counter(reconciled) > 0

    assert await eventually(looked_at, 5)
    assert await operator.end() == 0


async def test_rests_without_writing_engineering_79(start: Start, rest_kube: RestKube, namespace: str) -> None:
    operator = await start(MODELCYCLE_RESYNC_SECONDS="1")
    assert await eventually(operator.ready)
    await rest_kube.create(kinds.EXPERIMENT, namespace, EXPERIMENT)
    reconciled = 'modelcycle_operator_reconcile_total{kind="Experiment"'

    async def passes(number: int) -> None:
        reached = await operator.counter(reconciled) + number

        async def done() -> bool:
            return await operator.counter(reconciled) >= reached

        assert await eventually(done)

    await passes(5)
    before = await rest_kube.get(kinds.EXPERIMENT, namespace, "scrap")
    await passes(3)
    after = await rest_kube.get(kinds.EXPERIMENT, namespace, "scrap")
    assert before is not None
    assert after is not None
    assert before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]


async def test_one_of_two_replicas_leads_and_hands_over(start: Start, rest_kube: RestKube, namespace: str) -> None:
    first, second = await start(MODELCYCLE_LEASE="op"), await start(MODELCYCLE_LEASE="op")
    assert await eventually(first.ready)
    assert await eventually(second.ready)

    async def leaders() -> list[Running]:
        return [o for o in (first, second) if await o.counter("modelcycle_operator_leader") == 1]

    async def exactly_one() -> bool:
        return len(await leaders()) == 1

    assert await eventually(exactly_one)
    (leader,) = await leaders()
    follower = second if leader is first else first
    assert await leader.end() == 0

    async def taken_over() -> bool:
        return await follower.counter("modelcycle_operator_leader") == 1

    assert await eventually(taken_over, 10)
