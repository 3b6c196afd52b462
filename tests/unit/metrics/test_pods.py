"""Pods are read over real HTTP from a local server, with limits on time and size."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fakes.counting_pods import at
from fakes.memory_kube import MemoryKube
from modelcycle.kube import kinds, names
from modelcycle.metrics.pods import HttpPages, PodSource
from modelcycle.metrics.port import Round, Series, Target
from modelcycle_bundle import metric_names

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TARGET = Target("plant-7", "scrap", 2.0)
ROWS = Series(metric_names.ROWS)


def page(uid: str, rows: int = 7) -> str:
    return f'modelcycle_rows_total {rows}\nmodelcycle_epoch{{pod_uid="{uid}"}} 1795416200\n'


class Server:
    """A metrics port on a loopback address of its own, so that several pods can have the same port."""

    def __init__(self) -> None:
        self.runners: list[web.AppRunner] = []
        self.port = 0

    async def answer(self, address: str, handler: Handler) -> None:
        app = web.Application()
        app.router.add_get("/metrics", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, address, self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        self.runners.append(runner)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    yield made
    for runner in made.runners:
        await runner.cleanup()


def text(body: str) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=body)

    return handler


def add_pod(kube: MemoryKube, name: str, address: str | None, phase: str = "Running", deployment: str = "scrap") -> str:
    status: dict[str, Any] = {"phase": phase, **({"podIP": address} if address else {})}
    body = {
        "metadata": {
            "name": name,
            "labels": names.child_labels("server", names.LABEL_DEPLOYMENT, deployment),
        },
        "spec": {},
    }
    made = kube.seed(kinds.POD, "plant-7", body)
    kube.set_status(kinds.POD, "plant-7", name, status)
    return str(made["metadata"]["uid"])


async def read(kube: MemoryKube, server: Server) -> Round:
    async with aiohttp.ClientSession() as session:
        source = PodSource(kube, HttpPages(session, timeout=0.5, limit=10_000), port=server.port)
        return await source.read(TARGET, at(0))


async def test_reads_every_living_pod_of_the_deployment(server: Server) -> None:
    kube = MemoryKube()
    uids = [add_pod(kube, f"p{n}", f"127.0.0.{n}") for n in (1, 2)]
    waiting = add_pod(kube, "waiting", None, "Pending")
    add_pod(kube, "ended", "127.0.0.9", "Succeeded")
    add_pod(kube, "other", "127.0.0.9", deployment="paint")
    for n, uid in enumerate(uids, 1):
        await server.answer(f"127.0.0.{n}", text(page(uid, rows=n)))
    taken = await read(kube, server)
    assert {pod.run.pod_uid: pod.counts[ROWS] for pod in taken.pods} == {uids[0]: 1, uids[1]: 2}
    assert taken.listed == frozenset([*uids, waiting])
    assert taken.failures == ()


async def test_address_used_again_by_another_pod_is_noticed(server: Server) -> None:
    kube = MemoryKube()
    add_pod(kube, "p1", "127.0.0.1")
    await server.answer("127.0.0.1", text(page("someone-else")))
    taken = await read(kube, server)
    assert [f.cause for f in taken.failures] == ["another pod answered at its address"]
    assert taken.pods == ()


async def slow(_: web.Request) -> web.Response:
    await asyncio.sleep(30)
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(100):
        await answer.write(b"#" * 1000)
    return answer


async def broken(_: web.Request) -> web.Response:
    return web.Response(status=500)


async def elsewhere(_: web.Request) -> web.Response:
    raise web.HTTPFound("http://127.0.0.1:1/metrics")


@pytest.mark.parametrize(
    ("handler", "cause"),
    [
        (slow, "no answer within 0.5 s"),
        (endless, "page is larger than 10000 bytes"),
        (broken, "answered HTTP 500"),
        (elsewhere, "answered HTTP 302"),
        (text("<html>"), "unusable page"),
    ],
)
async def test_bad_answer_of_one_pod_leaves_the_others_alone_engineering_60(
    server: Server, handler: Handler, cause: str
) -> None:
    kube = MemoryKube()
    good = add_pod(kube, "good", "127.0.0.1")
    add_pod(kube, "bad", "127.0.0.2")
    await server.answer("127.0.0.1", text(page(good)))
    await server.answer("127.0.0.2", handler)
    taken = await read(kube, server)
    assert [pod.run.pod_uid for pod in taken.pods] == [good]
    assert [(f.pod, cause in f.cause) for f in taken.failures] == [("bad", True)]


async def test_refused_connection_is_a_failure_of_that_pod(server: Server) -> None:
    kube = MemoryKube()
    good = add_pod(kube, "good", "127.0.0.1")
    add_pod(kube, "dead", "127.0.0.3")
    await server.answer("127.0.0.1", text(page(good)))
    taken = await read(kube, server)
    assert [f.cause for f in taken.failures] == ["connection failed"]
