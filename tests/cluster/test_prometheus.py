"""The real Prometheus beside real pods: the same counts as from the pods, alerts that fire, a dashboard that it understands."""

import asyncio
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from canary_ground import Ground
from demo import dashboard
from demo.kubectl import Kubectl, KubectlError, describe, is_current, is_stalled
from demo.records import as_csv
from devcluster.binaries import PROMETHEUS, Binaries
from devcluster.paths import cache_root
from devcluster.progress import Progress
from modelcycle.kube.client import RestKube
from modelcycle.kube.transport import Transport, login
from modelcycle.metrics.pods import PageError, PodSource
from modelcycle.metrics.port import DRIFT_SERIES, ROLLOUT_SERIES, Round, Series, SeriesSet, Target
from modelcycle.metrics.prometheus import HttpPrometheus, PrometheusSource
from modelcycle_bundle import metric_names
from plant import KUBECONFIG, Plant

SECONDS: Final = 240.0
SCRAPE_SECONDS: Final = 2.0
NAME: Final = "counted"
RULES_TEST: Final = Path(__file__).with_name("modelcycle.rules.test.yaml")


@pytest.fixture(scope="module")
def url(system: Kubectl) -> Iterator[str]:
    """The Prometheus of the cluster, through a forwarded port."""
    inside = replace(system, namespace=dashboard.NAMESPACE)
    try:
        inside.run("rollout", "status", "deployment/prometheus", "--timeout=60s")
    except KubectlError as error:
        pytest.fail(f"run `make prometheus` first (`make test` does): {error}")
    with inside.forward(dashboard.SERVICE, dashboard.PORT) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def site(shared_ground: Ground) -> Plant:
    """The namespace."""
    return shared_ground.plant


@pytest.fixture(scope="module")
def served(shared_ground: Ground, url: str) -> str:
    """A deployment of two pods that Prometheus saw from zero on, with requests of their own behind them; the traffic has stopped."""
    kubectl = shared_ground.kubectl
    kubectl.apply(shared_ground.plant.deployment(NAME, model=shared_ground.usual.spec, server={"replicas": 2}))
    done = kubectl.wait("modeldeployment", NAME, lambda o: is_current(o) or is_stalled(o), SECONDS)
    assert is_current(done), describe(done)
    settled(url, kubectl)
    for pod, good in zip(pod_names(kubectl), (5, 11), strict=True):
        send(kubectl, pod, good, bad=2)
    return NAME


def active(url: str) -> list[dict[str, Any]]:
    """What Prometheus scrapes now. A query would find what it scraped some minutes ago too."""
    with urllib.request.urlopen(f"{url}/api/v1/targets?state=active") as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["activeTargets"]
    return found


def targets(url: str, namespace: str) -> list[dict[str, Any]]:
    """What Prometheus has scraped in a namespace, by pod."""
    ours = [t for t in active(url) if t["labels"].get("namespace") == namespace and t["health"] == "up"]
    return sorted(ours, key=lambda target: str(target["labels"]["pod"]))


def settled(url: str, kubectl: Kubectl) -> list[dict[str, Any]]:
    """The targets, as soon as they are the pods that there are: a pod that ends is scraped for a while."""
    deadline = time.monotonic() + 60
    while True:
        found = targets(url, kubectl.namespace)
        if [target["labels"]["pod"] for target in found] == pod_names(kubectl):
            return found
        assert time.monotonic() < deadline, f"Prometheus scrapes {found}"
        time.sleep(0.5)


def pod_names(kubectl: Kubectl) -> list[str]:
    text = kubectl.run("get", "pods", "-l", f"modelcycle.dev/deployment={NAME}", "-o", "json")
    return sorted(pod["metadata"]["name"] for pod in json.loads(text)["items"])


def send(kubectl: Kubectl, pod: str, good: int, bad: int) -> None:
    """One row a good request, straight to one pod."""
    row = [float(cell) for cell in as_csv().decode().splitlines()[1].split(",")[:-1]]
    body = {"inputs": [{"name": "input", "shape": [1, len(row)], "datatype": "FP32", "data": row}]}
    with kubectl.forward(f"pod/{pod}", metric_names.SERVING_PORT) as port:
        for content in [json.dumps(body)] * good + ["{}"] * bad:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v2/models/model/infer", content.encode(), {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    code = answer.status
            except urllib.error.HTTPError as error:
                code = error.code
            assert code == (400 if content == "{}" else 200)


class ProxiedPages:
    """Pages of pods through the API server, since pod addresses cannot be reached from every machine that runs tests."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    async def get(self, url: str) -> str:
        return await asyncio.to_thread(self._read, url)

    def _read(self, url: str) -> str:
        address, _, port = url.removeprefix("http://").removesuffix("/metrics").rpartition(":")
        pods = json.loads(self._kubectl.run("get", "pods", "-o", "json"))["items"]
        (name,) = [pod["metadata"]["name"] for pod in pods if pod["status"].get("podIP") == address]
        place = f"/api/v1/namespaces/{self._kubectl.namespace}/pods/{name}:{port}/proxy/metrics"
        try:
            return self._kubectl.run("get", "--raw", place)
        except KubectlError as error:
            raise PageError(str(error)) from error


@pytest.fixture
async def kube(site: Plant) -> AsyncIterator[RestKube]:
    transport = Transport(await login({"KUBECONFIG": str(KUBECONFIG)}))
    yield RestKube(transport)
    await transport.close()


async def both(plant: Plant, kube: RestKube, url: str, series: SeriesSet) -> tuple[Round, Round]:
    """A round of each source."""
    target, now = Target(plant.name, NAME, SCRAPE_SECONDS), datetime.now(UTC)
    async with aiohttp.ClientSession() as session:
        prometheus = PrometheusSource(kube, HttpPrometheus(session, url), series, scrape_interval=SCRAPE_SECONDS)
        pods = PodSource(kube, ProxiedPages(plant.kubectl), series)
        return await pods.read(target, now), await prometheus.read(target, now)


async def agreed(plant: Plant, kube: RestKube, url: str, series: SeriesSet, pods: int) -> Round:
    """The round on which both sources agree in everything, with this many pods; fails with both when they never do."""
    deadline = time.monotonic() + 60
    while True:
        ours, theirs = await both(plant, kube, url, series)
        same = sorted(ours.pods, key=lambda p: p.run) == sorted(theirs.pods, key=lambda p: p.run)
        if same and ours.listed == theirs.listed and len(theirs.pods) == len(theirs.listed) == pods:
            return theirs
        assert time.monotonic() < deadline, f"pods: {ours}\nPrometheus: {theirs}"
        await asyncio.sleep(1)


async def test_both_sources_give_equal_counts_for_the_same_pods(
    site: Plant, kube: RestKube, url: str, served: str
) -> None:
    taken = await agreed(site, kube, url, DRIFT_SERIES, pods=2)
    by_row = sorted(pod.counts[Series(metric_names.ROWS)] for pod in taken.pods)
    assert by_row == [5, 11]
    assert [pod.counts[Series(metric_names.REQUESTS, ("400",))] for pod in taken.pods] == [2, 2]
    assert all(pod.model is not None and pod.model.revision for pod in taken.pods)
    for pod in taken.pods:
        features: dict[str, int] = {}
        for series, count in pod.counts.items():
            if series.metric == metric_names.FEATURE:
                features[series.labels[1]] = features.get(series.labels[1], 0) + count
        assert set(features.values()) == {pod.counts[Series(metric_names.ROWS)]}


async def test_both_sources_give_the_same_to_a_rollout(site: Plant, kube: RestKube, url: str, served: str) -> None:
    taken = await agreed(site, kube, url, ROLLOUT_SERIES, pods=2)
    assert {series.metric for pod in taken.pods for series in pod.counts} <= set(ROLLOUT_SERIES)


async def test_they_agree_again_after_a_pod_was_replaced(site: Plant, kube: RestKube, url: str, served: str) -> None:
    before = await agreed(site, kube, url, DRIFT_SERIES, pods=2)
    lost = pod_names(site.kubectl)[0]
    site.kubectl.run("delete", "pod", lost)
    site.kubectl.wait("modeldeployment", NAME, is_current, SECONDS)
    after = await agreed(site, kube, url, DRIFT_SERIES, pods=2)
    (kept,) = after.listed & before.listed
    counts = {pod.run.pod_uid: pod.counts[Series(metric_names.ROWS)] for pod in after.pods}
    assert counts[kept] in (5, 11)
    assert [rows for uid, rows in counts.items() if uid != kept] == [0]


def test_every_pod_and_the_operator_are_scraped_with_their_labels(site: Plant, url: str, served: str) -> None:
    for one in settled(url, site.kubectl):
        assert one["labels"]["deployment"] == NAME
        assert one["labels"]["pod_uid"]
        assert one["labels"]["revision"]
        assert one["scrapeUrl"].endswith(f":{metric_names.METRICS_PORT}/metrics")
    operators = [one["health"] for one in active(url) if one["labels"]["job"] == "modelcycle-operator"]
    assert operators == ["up"]


def test_prometheus_understands_every_query_of_the_dashboard(site: Plant, url: str, served: str) -> None:
    """Which of them find data depends on what happened: the demo, where all of it happens, asks for all."""
    until = datetime.now(UTC)
    problems = dashboard.problems(url, site.name, NAME, until - timedelta(minutes=5), until)
    assert [p for p in problems if ": no data: " not in p] == []
    silent = {p.split(",")[0].removeprefix("panel ").strip("'\"") for p in problems}
    assert not silent & {"Rows", "Answers by revision and status code", "Time in the process that ran the model"}
    assert not silent & {"Reconciliations by result", "Requests to the API server", "Memory of the operator"}


def test_each_alert_fires_and_resolves_monitoring_45(url: str) -> None:
    promtool = Binaries(cache_root(os.environ), Progress()).path(PROMETHEUS, "promtool")
    done = subprocess.run([promtool, "test", "rules", RULES_TEST], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with urllib.request.urlopen(f"{url}/api/v1/rules") as answer:
        (group,) = json.load(answer)["data"]["groups"]
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
