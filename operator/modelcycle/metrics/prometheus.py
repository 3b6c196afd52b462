"""Counts from Prometheus over its HTTP API: the counters of the pods' own pages, as they were scraped last.

Owns the one query of a round and what an answer has to look like. Takes counters as they are, never increase() or rate(), which guess at
the edges, and a scrape as a whole or not at all. The API server says which pods there are, so that one that Prometheus does not know
is a failure and not overlooked. Keeps nothing between rounds.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import aiohttp

from modelcycle.kube.port import Kube, Object
from modelcycle.metrics import exposition
from modelcycle.metrics.pods import has_address, living_pods
from modelcycle.metrics.port import PodCounters, PodFailure, Round, SeriesSet, SourceUnavailable, Target
from modelcycle_bundle import metric_names

STALE_SCRAPES: Final = 3
"""A pod whose last scrape is older than this many scrape intervals has failed."""
QUERY_TIMEOUT: Final = 5.0
"""Seconds for one query, connection included."""
ANSWER_LIMIT: Final = 32 * 1024 * 1024
"""Bytes of one answer: about 25,000 series with three samples each."""
_RENAMED: Final = "exported_"
"""What Prometheus puts before a label of the page that its discovery sets too."""


class Point(NamedTuple):
    """The newest sample of one series."""

    name: str
    labels: Mapping[str, str]
    """All labels: those of the page and those that discovery added."""
    at: float
    """When the pod was scraped, Unix seconds by Prometheus's clock: equal for all series of one scrape."""
    value: float


class HttpPrometheus:
    """Instant queries over HTTP with limits on time and size; redirects are refused. `url` is what stands before `/api/v1`."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, *, timeout: float = QUERY_TIMEOUT, limit: int = ANSWER_LIMIT
    ) -> None:
        self._session = session
        self._url = url.rstrip("/") + "/api/v1/query"
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._limit = limit

    async def newest(self, selector: str, seconds: float) -> list[Point]:
        """The newest sample of every series of `selector` from the last `seconds`. Raises SourceUnavailable.

        A range of raw samples, since an instant vector does not say when its samples were taken. Now is by Prometheus's own clock.
        """
        form = {"query": f"{selector}[{round(seconds * 1000)}ms]", "timeout": f"{self._timeout.total:g}s"}
        try:
            async with self._session.post(self._url, data=form, timeout=self._timeout, allow_redirects=False) as answer:
                body = bytearray()
                async for chunk in answer.content.iter_chunked(64 * 1024):
                    body += chunk
                    if len(body) > self._limit:
                        raise SourceUnavailable(f"Prometheus: the answer is larger than {self._limit} bytes")
                status = answer.status
        except TimeoutError as error:
            raise SourceUnavailable(f"Prometheus: no answer within {self._timeout.total:g} s") from error
        except aiohttp.ClientConnectionError as error:
            raise SourceUnavailable("Prometheus: connection failed") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise SourceUnavailable("Prometheus: broken HTTP answer, or its URL is none") from error
        return list(points(body, status))


def points(body: bytes | bytearray, status: int) -> Iterable[Point]:
    """What an answer of `/api/v1/query` holds. Raises SourceUnavailable for a named error and for all that is not of its form."""
    try:
        answer = json.loads(body)
    except ValueError as error:
        what = "an answer that is not JSON" if status == 200 else f"answered HTTP {status}"
        raise SourceUnavailable(f"Prometheus: {what}") from error
    try:
        if status != 200 or answer["status"] != "success":
            raise SourceUnavailable(
                f"Prometheus: answered HTTP {status} ({answer.get('errorType', 'no reason given')})"
            )
        if answer["data"]["resultType"] != "matrix":
            raise SourceUnavailable("Prometheus: the answer holds no series")
        return [_point(series) for series in answer["data"]["result"] if series.get("values")]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise SourceUnavailable("Prometheus: an answer of an unknown form") from error


def _point(series: Mapping[str, Any]) -> Point:
    at, value = series["values"][-1]
    labels = series["metric"]
    return Point(labels["__name__"], labels, float(at), float(value))


class PrometheusSource:
    """A CountSource over the series that Prometheus has of the pods of a ModelDeployment.

    Its discovery has to add the labels `namespace`, `deployment` and `pod_uid` (docs/prometheus.md). `scrape_interval` is in seconds.
    """

    def __init__(self, kube: Kube, prometheus: HttpPrometheus, series: SeriesSet, *, scrape_interval: float) -> None:
        self._kube = kube
        self._prometheus = prometheus
        self._series = series
        self._window = STALE_SCRAPES * scrape_interval

    async def read(self, target: Target, now: datetime) -> Round:
        """One round. `taken_at` is `now`; its counts are up to STALE_SCRAPES scrapes older. Raises SourceUnavailable."""
        living = await living_pods(self._kube, target)
        found: dict[str, list[Point]] = defaultdict(list)
        for point in await self._prometheus.newest(self._selector(target), self._window):
            found[point.labels.get("pod_uid", "")].append(point)
        if list(found) == [""]:
            raise SourceUnavailable("Prometheus: its series carry no label pod_uid")
        answers = [self._counters(pod, found[pod["metadata"]["uid"]]) for pod in living if has_address(pod)]
        return Round(
            deployment=target.deployment,
            taken_at=now,
            listed=frozenset(pod["metadata"]["uid"] for pod in living),
            pods=tuple(a for a in answers if isinstance(a, PodCounters)),
            failures=tuple(a for a in answers if isinstance(a, PodFailure)),
        )

    def _selector(self, target: Target) -> str:
        wanted = "|".join((metric_names.EPOCH, metric_names.MODEL_INFO, metric_names.MODEL_INPUTS, *self._series))
        # A JSON string is a PromQL string as long as it is ASCII, which json.dumps sees to.
        place = f"namespace={json.dumps(target.namespace)},deployment={json.dumps(target.deployment)}"
        return f'{{__name__=~"{wanted}",{place}}}'

    def _counters(self, pod: Object, known: Sequence[Point]) -> PodCounters | PodFailure:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        scrape = _latest_scrape(known)
        if not scrape:
            return PodFailure(name, uid, f"Prometheus has no scrape of it from the last {self._window:g} s")
        try:
            page = ((p.name, _as_on_page(p.labels, self._series.get(p.name, ())), p.value) for p in scrape)
            counters = exposition.counters(page, self._series)
        except exposition.UnusablePage as error:
            return PodFailure(name, uid, f"unusable scrape: {error}")
        if counters.run.pod_uid != uid:
            return PodFailure(name, uid, "another pod answered at its address")
        return counters


def _latest_scrape(known: Sequence[Point]) -> list[Point]:
    """The series of one pod that one scrape wrote; of several jobs or replicas that scrape the pod, the one that did last.

    The series of the epoch carries nothing of the page but its uid, so its labels are those of the target; one time makes one scrape.
    """
    epochs = [point for point in known if point.name == metric_names.EPOCH]
    if not epochs:
        return []
    last = max(epochs, key=lambda point: (point.at, sorted(point.labels.items())))
    own = ("__name__", f"{_RENAMED}pod_uid")
    of_target = {name: text for name, text in last.labels.items() if name not in own}.items()
    return [point for point in known if point.at == last.at and of_target <= point.labels.items()]


def _as_on_page(labels: Mapping[str, str], wanted: Sequence[str]) -> Mapping[str, str]:
    """With the page's own names, and with the labels that Prometheus leaves out because they are empty."""
    renamed = {name.removeprefix(_RENAMED): text for name, text in labels.items() if name.startswith(_RENAMED)}
    return {**dict.fromkeys(wanted, ""), **labels, **renamed}
