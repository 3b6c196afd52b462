"""The parts around the workers: resync, the polled object, the schema gate, the HTTP endpoints."""

import asyncio
import contextlib
from typing import Any

import aiohttp
import pytest

from fakes.engine import CountingObserver, LiveReconciler
from fakes.faults import lost_response
from fakes.memory_kube import MemoryKube
from modelcycle.engine.health import HealthServer, watch_lag
from modelcycle.engine.plan import Key, Plan
from modelcycle.engine.references import References
from modelcycle.engine.resync import Resync, poll
from modelcycle.engine.schema import SCHEMA_ANNOTATION, SchemaGate, problem_of
from modelcycle.kube import kinds


def nothing(world: object) -> Plan:
    return Plan()


def experiment(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {}}


async def test_resync_enqueues_all_objects_of_its_namespace_engineering_12() -> None:
    kube, found = MemoryKube(), list[Key]()
    for namespace, name in (("ns", "a"), ("ns", "b"), ("elsewhere", "c")):
        kube.seed(kinds.EXPERIMENT, namespace, experiment(name))
    target = Key("DriftMonitor", "ns", "m")
    references = References()
    reconciler = LiveReconciler(kube, nothing, [target])
    observer = CountingObserver()
    await Resync(kube, [reconciler], references, found.append, observer, namespace="ns", period=600).once()
    assert observer.counts["listed Experiment"] == 2
    assert [key.name for key in found] == ["a", "b"]
    assert [key.name for key in references.dependents(target)] == ["a", "b"]


async def test_resync_outlives_a_failing_list_and_is_then_not_done() -> None:
    kube = MemoryKube()

    def away(call: object) -> None:
        raise lost_response()

    kube.before_read = away
    reconcilers = [LiveReconciler(kube, nothing)]
    resync = Resync(kube, reconcilers, References(), lambda key: None, CountingObserver(), namespace=None, period=600)
    task = asyncio.create_task(resync.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    assert not resync.listed.is_set()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_polled_object_is_reported_when_it_comes_changes_or_goes() -> None:
    kube, changes = MemoryKube(), list[int]()
    body = {"metadata": {"name": "t"}, "data": {"a": "1"}}

    async def turn() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    task = asyncio.create_task(poll(kube, kinds.CONFIG_MAP, "ns", "t", 0, lambda: changes.append(1)))
    await turn()
    assert len(changes) == 0
    kube.seed(kinds.CONFIG_MAP, "ns", body)
    await turn()
    assert len(changes) == 1
    kube.edit(kinds.CONFIG_MAP, "ns", "t", lambda o: o["data"].update(a="2"))
    await turn()
    assert len(changes) == 2
    kube.remove(kinds.CONFIG_MAP, "ns", "t")
    await turn()
    assert len(changes) == 3
    task.cancel()


def definition(schema: str | None, *, established: str = "True") -> dict[str, Any]:
    annotations = {} if schema is None else {SCHEMA_ANNOTATION: schema}
    return {
        "metadata": {"name": "experiments.modelcycle.dev", "annotations": annotations},
        "status": {"conditions": [{"type": "Established", "status": established}]},
    }


@pytest.mark.parametrize("schema", [None, "0", "1", "2", "old", ""])
def test_an_old_or_unmarked_crd_is_outdated(schema: str | None) -> None:
    problem = problem_of("experiments.modelcycle.dev", definition(schema))
    assert problem is not None
    assert problem.startswith("CRDOutdated: CustomResourceDefinition experiments.modelcycle.dev")


@pytest.mark.parametrize("schema", ["3", "4", "17"])
def test_a_newer_crd_is_good(schema: str) -> None:
    assert problem_of("x", definition(schema)) is None


def test_a_crd_that_is_not_served_yet_is_not_good() -> None:
    assert problem_of("x", definition("3", established="False")) is not None


async def test_the_gate_opens_when_the_last_crd_comes() -> None:
    kube = MemoryKube()
    gate = SchemaGate(kube, [kinds.EXPERIMENT])
    problem = await gate.check()
    assert problem is not None
    assert "missing: kubectl apply -k crds" in problem
    kube.seed(kinds.CUSTOM_RESOURCE_DEFINITION, "", definition("3"))
    assert await gate.check() is None


async def fetch(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}{path}") as answer:
        return answer.status, await answer.text()


async def test_endpoints_say_what_is_wrong() -> None:
    server = HealthServer(ready=[lambda: None, lambda: "CRDOutdated: x"], exposition=lambda: b"metric 1\n")
    port = await server.start(0)
    try:
        assert await fetch(port, "/healthz") == (200, "ok\n")
        assert await fetch(port, "/healthz", "[::1]") == (200, "ok\n")
        assert await fetch(port, "/readyz") == (503, "CRDOutdated: x\n")
        assert await fetch(port, "/metrics") == (200, "metric 1\n")
    finally:
        await server.stop()


async def test_an_operator_that_gets_too_little_cpu_says_so_and_asks_for_no_restart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times = iter([0.0, 1.5, 10.0, 35.0])
    seen: list[float] = []
    with contextlib.suppress(StopIteration, RuntimeError):
        await watch_lag(seen.append, lambda: next(times))
    assert seen == [0.5, 24.0]
    assert [record.getMessage() for record in caplog.records] == [
        "the event loop was 24.0 s late: the node gives the operator too little CPU"
    ]
