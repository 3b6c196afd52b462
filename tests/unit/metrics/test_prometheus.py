"""Counts from Prometheus: a local server answers in the form of its HTTP API, well and badly. The real one: tests/cluster."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fakes.counting_pods import at
from fakes.memory_kube import MemoryKube
from modelcycle.kube import errors, kinds, names
from modelcycle.metrics.port import DRIFT_SERIES, ROLLOUT_SERIES, Round, Series, SeriesSet, SourceUnavailable, Target
from modelcycle.metrics.prometheus import HttpPrometheus, PrometheusSource
from modelcycle_bundle import metric_names

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Metric = dict[str, str]
TARGET = Target("plant-7", "scrap", 2.0)
ROWS = Series(metric_names.ROWS)
EPOCH = 1795416200.25
NOW = 1795420000.123


def of_pod(uid: str, **more: str) -> Metric:
    """What discovery adds to every series of a pod."""
    place = {"namespace": "plant-7", "deployment": "scrap", "revision": "r1"}
    return {"job": "modelcycle-pods", "instance": "10.1.2.3:8081", **place, "pod": f"pod-{uid}", "pod_uid": uid, **more}


def series(name: str, target: Metric, value: object, when: float = NOW, **own: Any) -> dict[str, Any]:
    """One series of a matrix with an older sample before the one that counts."""
    samples = [[when - 2, "0"], [when, str(value)]]
    return {"metric": {"__name__": name, **own, **target}, "values": samples}


def scrape(uid: str, rows: object = 7, when: float = NOW, page_uid: str | None = None, **target: str) -> list[Any]:
    """The series that one scrape of one pod leaves."""
    labels = of_pod(uid, **target)
    return [
        series(metric_names.EPOCH, labels, EPOCH, when, exported_pod_uid=page_uid or uid),
        series(metric_names.MODEL_INFO, labels, 1, when, exported_revision="r1", inputs="abc", missing="accepted"),
        series(metric_names.ROWS, labels, rows, when),
        series(metric_names.REQUESTS, labels, rows, when, code="200"),
        series(metric_names.FEATURE, labels, rows, when, profile="p", feature="t", bin="b00"),
    ]


def success(result: list[Any], **more: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "matrix", "result": result}, **more}


class Prometheus:
    """Answers the query API with what the test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.handler: Handler | None = None
        self.answer: Any = success([])
        self.url = ""

    async def query(self, request: web.Request) -> web.StreamResponse:
        self.asked.append({name: str(value) for name, value in (await request.post()).items()})
        return await self.handler(request) if self.handler else web.json_response(self.answer)


@pytest.fixture
async def prometheus() -> AsyncIterator[Prometheus]:
    made = Prometheus()
    app = web.Application()
    app.router.add_post("/api/v1/query", made.query)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()


def add_pod(kube: MemoryKube, name: str, phase: str = "Running", address: str | None = "10.1.2.3") -> str:
    labels = names.child_labels("server", names.LABEL_DEPLOYMENT, "scrap")
    made = kube.seed(kinds.POD, "plant-7", {"metadata": {"name": name, "labels": labels}, "spec": {}})
    kube.set_status(kinds.POD, "plant-7", name, {"phase": phase, **({"podIP": address} if address else {})})
    return str(made["metadata"]["uid"])


async def read(kube: MemoryKube, url: str, wanted: SeriesSet = DRIFT_SERIES, limit: int = 20_000) -> Round:
    async with aiohttp.ClientSession() as session:
        api = HttpPrometheus(session, url, timeout=0.5, limit=limit)
        return await PrometheusSource(kube, api, wanted, scrape_interval=2.0).read(TARGET, at(0))


async def refused(kube: MemoryKube, url: str, limit: int = 20_000) -> str:
    with pytest.raises(SourceUnavailable) as caught:
        await read(kube, url, limit=limit)
    return str(caught.value)


async def test_one_query_gives_the_exact_counters_of_every_pod_monitoring_42(prometheus: Prometheus) -> None:
    kube = MemoryKube()
    uids = [add_pod(kube, f"p{n}") for n in (1, 2)]
    starting = add_pod(kube, "starting", "Pending", address=None)
    add_pod(kube, "ended", "Succeeded")
    prometheus.answer = success([*scrape(uids[0], 12), *scrape(uids[1], 30)])
    taken = await read(kube, prometheus.url)
    assert {pod.run.pod_uid: pod.counts[ROWS] for pod in taken.pods} == {uids[0]: 12, uids[1]: 30}
    assert {pod.run.epoch for pod in taken.pods} == {EPOCH}
    assert taken.pods[0].counts[Series(metric_names.FEATURE, ("p", "t", "b00"))] == 12
    assert taken.pods[0].model is not None
    assert (taken.pods[0].model.revision, taken.pods[0].model.accepts_missing) == ("r1", True)
    assert taken.listed == frozenset([*uids, starting])
    assert (taken.failures, taken.taken_at) == ((), at(0))
    (asked,) = prometheus.asked
    assert asked["query"].endswith(',namespace="plant-7",deployment="scrap"}[6000ms]')
    assert not {"increase", "rate", "sum"} & set(asked["query"].replace("(", " ").split())


async def test_only_the_wanted_series_are_asked_for(prometheus: Prometheus) -> None:
    kube = MemoryKube()
    uid = add_pod(kube, "p1")
    arm: dict[str, Any] = {"rollout": "r", "arm": "canary", "outcome": "ok"}
    prometheus.answer = success([*scrape(uid), series(metric_names.ARM_REQUESTS, of_pod(uid), 5, **arm)])
    taken = await read(kube, prometheus.url, ROLLOUT_SERIES)
    assert taken.pods[0].counts == {Series(metric_names.ARM_REQUESTS, ("r", "canary", "ok")): 5}
    names_asked = prometheus.asked[0]["query"].split('"')[1].split("|")
    assert set(names_asked) == {metric_names.EPOCH, metric_names.MODEL_INFO, metric_names.MODEL_INPUTS, *ROLLOUT_SERIES}


async def test_a_pod_that_was_not_scraped_lately_is_a_failure_not_a_pod_without_traffic_monitoring_19(
    prometheus: Prometheus,
) -> None:
    kube = MemoryKube()
    good, bad = add_pod(kube, "good"), add_pod(kube, "bad")
    prometheus.answer = success(scrape(good))
    taken = await read(kube, prometheus.url)
    assert [pod.run.pod_uid for pod in taken.pods] == [good]
    assert [(f.pod_uid, f.cause) for f in taken.failures] == [(bad, "Prometheus has no scrape of it from the last 6 s")]


async def test_series_of_pods_that_are_gone_are_left_alone(prometheus: Prometheus) -> None:
    kube = MemoryKube()
    uid = add_pod(kube, "p1")
    prometheus.answer = success([*scrape(uid), *scrape("gone")])
    taken = await read(kube, prometheus.url)
    assert [pod.run.pod_uid for pod in taken.pods] == [uid]
    assert taken.listed == {uid}


@pytest.mark.parametrize("second", [NOW - 0.5, NOW])
async def test_replicas_and_jobs_that_scrape_the_same_pod_count_once(prometheus: Prometheus, second: float) -> None:
    kube = MemoryKube()
    uid = add_pod(kube, "p1")
    prometheus.answer = success(
        [*scrape(uid, 7, replica="a"), *scrape(uid, 6, second, replica="b"), *scrape(uid, 5, NOW - 1, job="x")]
    )
    (pod,) = (await read(kube, prometheus.url)).pods
    assert pod.counts[ROWS] in ((7,) if second < NOW else (6, 7))
    assert pod.counts[Series(metric_names.FEATURE, ("p", "t", "b00"))] == pod.counts[ROWS], "one scrape, not a mixture"


async def test_a_series_that_left_the_page_is_not_taken_from_an_older_scrape(prometheus: Prometheus) -> None:
    kube = MemoryKube()
    uid = add_pod(kube, "p1")
    left = series(metric_names.FEATURE, of_pod(uid), 99, NOW - 2, profile="old", feature="t", bin="b00")
    prometheus.answer = success([*scrape(uid), left])
    (pod,) = (await read(kube, prometheus.url)).pods
    assert {s.labels[0] for s in pod.counts if s.metric == metric_names.FEATURE} == {"p"}


async def test_labels_of_a_newer_server_add_up(prometheus: Prometheus) -> None:
    kube = MemoryKube()
    uid = add_pod(kube, "p1")
    split = [
        series(metric_names.FEATURE, of_pod(uid), n, profile="p", feature="u", bin="b00", shade=str(n)) for n in (3, 4)
    ]
    prometheus.answer = success([*scrape(uid), *split])
    (pod,) = (await read(kube, prometheus.url)).pods
    assert pod.counts[Series(metric_names.FEATURE, ("p", "u", "b00"))] == 7


async def test_an_empty_label_is_left_out_by_prometheus_and_there_all_the_same(prometheus: Prometheus) -> None:
    kube = MemoryKube()
    uid = add_pod(kube, "p1")
    prometheus.answer = success([*scrape(uid), series(metric_names.TRAFFIC_SEQ, of_pod(uid), 0)])
    (pod,) = (await read(kube, prometheus.url, ROLLOUT_SERIES)).pods
    assert pod.counts == {Series(metric_names.TRAFFIC_SEQ, ("",)): 0}


async def test_honoured_labels_are_read_as_well(prometheus: Prometheus) -> None:
    kube = MemoryKube()
    uid = add_pod(kube, "p1")
    answer = scrape(uid)
    for one in answer:
        one["metric"] = {name: text for name, text in one["metric"].items() if not name.startswith("exported_")}
    prometheus.answer = success(answer)
    assert [pod.run.pod_uid for pod in (await read(kube, prometheus.url)).pods] == [uid]


async def test_address_used_again_by_another_pod_is_noticed(prometheus: Prometheus) -> None:
    kube = MemoryKube()
    uid = add_pod(kube, "p1")
    prometheus.answer = success(scrape(uid, page_uid="someone-else"))
    taken = await read(kube, prometheus.url)
    assert [f.cause for f in taken.failures] == ["another pod answered at its address"]


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "0.5"])
async def test_no_count_is_made_of_what_is_no_count_monitoring_41(prometheus: Prometheus, value: str) -> None:
    kube = MemoryKube()
    good, bad = add_pod(kube, "good"), add_pod(kube, "bad")
    prometheus.answer = success([*scrape(good), *scrape(bad, value)])
    taken = await read(kube, prometheus.url)
    assert [pod.run.pod_uid for pod in taken.pods] == [good]
    assert [f.cause for f in taken.failures] == [
        f"unusable scrape: {metric_names.ROWS}: a count must be a whole number of at least 0"
    ]


async def test_two_starts_in_one_scrape_are_refused(prometheus: Prometheus) -> None:
    kube = MemoryKube()
    uid = add_pod(kube, "p1")
    second = series(metric_names.EPOCH, of_pod(uid), EPOCH + 1, exported_pod_uid="other")
    prometheus.answer = success([*scrape(uid), second])
    assert [f.cause for f in (await read(kube, prometheus.url)).failures] == [
        f"unusable scrape: {metric_names.EPOCH}: expected one series, found 2"
    ]


def fixed(status: int, body: str | bytes) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    return handler


async def slow(_: web.Request) -> web.Response:
    await asyncio.sleep(30)
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(100):
        await answer.write(b" " * 1000)
    return answer


async def elsewhere(_: web.Request) -> web.Response:
    raise web.HTTPFound("http://127.0.0.1:1/")


def error(kind: str) -> str:
    return json.dumps({"status": "error", "errorType": kind, "error": "found 17 samples at 12:00:01"})


@pytest.mark.parametrize(
    ("handler", "cause"),
    [
        (slow, "no answer within 0.5 s"),
        (endless, "the answer is larger than 20000 bytes"),
        (elsewhere, "answered HTTP 302"),
        (fixed(503, "<html>"), "answered HTTP 503"),
        (fixed(500, error("internal")), "answered HTTP 500 (internal)"),
        (fixed(422, error("execution")), "answered HTTP 422 (execution)"),
        (fixed(200, error("timeout")), "answered HTTP 200 (timeout)"),
        (fixed(200, "<html>"), "an answer that is not JSON"),
        (fixed(200, b"\xff\xfe\x00"), "an answer that is not JSON"),
        (fixed(200, ""), "an answer that is not JSON"),
        (fixed(200, "[]"), "an answer of an unknown form"),
        (fixed(200, "{}"), "an answer of an unknown form"),
        (fixed(200, '{"status": "success", "data": {"resultType": "vector", "result": []}}'), "holds no series"),
        (fixed(200, json.dumps(success(["x"]))), "an answer of an unknown form"),
        (fixed(200, json.dumps(success([{"metric": {}, "values": [[1, "1"]]}]))), "an answer of an unknown form"),
        (fixed(200, json.dumps(success([{"metric": {"__name__": "a"}, "values": [[1]]}]))), "of an unknown form"),
        (fixed(200, json.dumps(success([{"metric": {"__name__": "a"}, "values": [[1, "x"]]}]))), "of an unknown form"),
    ],
)
async def test_no_round_is_made_of_a_bad_answer_monitoring_19(
    prometheus: Prometheus, handler: Handler, cause: str
) -> None:
    kube = MemoryKube()
    add_pod(kube, "p1")
    prometheus.handler = handler
    told = await refused(kube, prometheus.url)
    assert told.startswith("Prometheus: ")
    assert cause in told
    assert "17 samples" not in told, "a cause stays the same while it lasts"


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://127.0.0.1:1", "connection failed"),
        ("nonsense", "its URL is none"),
        ("http://user:word@127.0.0.1:1", "connection failed"),
    ],
)
async def test_nobody_there_is_an_outage_and_tells_no_password(url: str, cause: str) -> None:
    kube = MemoryKube()
    add_pod(kube, "p1")
    told = await refused(kube, url)
    assert cause in told
    assert "word" not in told


async def test_discovery_without_pod_uid_is_said_as_such(prometheus: Prometheus) -> None:
    kube = MemoryKube()
    uid = add_pod(kube, "p1")
    answer = scrape(uid)
    for one in answer:
        del one["metric"]["pod_uid"]
    prometheus.answer = success(answer)
    assert await refused(kube, prometheus.url) == "Prometheus: its series carry no label pod_uid"


async def test_pods_that_cannot_be_listed_are_an_outage_of_the_source(prometheus: Prometheus) -> None:
    kube = MemoryKube()

    def away(call: object) -> None:
        raise errors.Unavailable("no route")

    kube.before_read = away
    assert await refused(kube, prometheus.url) == "pods of scrap could not be listed: Unavailable"


async def test_a_native_histogram_or_a_warning_disturbs_nothing(prometheus: Prometheus) -> None:
    kube = MemoryKube()
    uid = add_pod(kube, "p1")
    native = {"metric": {"__name__": metric_names.ROWS, **of_pod(uid)}, "histograms": [[NOW, {"count": "1"}]]}
    prometheus.answer = success([*scrape(uid), native], warnings=["a store did not answer"])
    assert [pod.counts[ROWS] for pod in (await read(kube, prometheus.url)).pods] == [7]
