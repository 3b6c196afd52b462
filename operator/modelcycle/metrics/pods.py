"""Counts from the pods' own /metrics, read directly: no scrape delay, no Prometheus needed.

Owns the reading of one round: which pods, which address, which limits. Never trusts an address: the page must name the uid of the pod that
was asked, since addresses are used again. Keeps nothing between rounds.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Protocol

import aiohttp

from modelcycle.kube import kinds, names
from modelcycle.kube.errors import ApiError
from modelcycle.kube.pods import has_ended
from modelcycle.kube.port import Kube, Object
from modelcycle.metrics import exposition
from modelcycle.metrics.port import DRIFT_SERIES, PodCounters, PodFailure, Round, SeriesSet, SourceUnavailable, Target
from modelcycle_bundle import metric_names

READ_TIMEOUT: Final = 2.0
"""Seconds for one pod's page, connection included."""
PAGE_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of one page: about 3,000 features with 13 bins."""
WITHOUT_BINS: Final[Mapping[str, str]] = {metric_names.BINS_HEADER: metric_names.BINS_NONE}
"""Headers for whoever reads no bins: so a table of any width can be rolled out."""
AT_ONCE: Final = 16
"""Pods read at the same time for one target."""


class PageError(Exception):
    """A page could not be read; the text says why in a few words that stay the same while the cause does."""


class Pages(Protocol):
    """Someone who can get a page."""

    async def get(self, url: str) -> str:
        """The text behind `url`. Raises PageError."""


class HttpPages:
    """Pages over HTTP with limits on time and size; redirects are refused."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        timeout: float = READ_TIMEOUT,
        limit: int = PAGE_LIMIT,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._session = session
        self._headers = headers
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._limit = limit

    async def get(self, url: str) -> str:
        try:
            async with self._session.get(
                url, headers=self._headers, timeout=self._timeout, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    raise PageError(f"answered HTTP {answer.status}")
                body = bytearray()
                async for chunk in answer.content.iter_chunked(64 * 1024):
                    body += chunk
                    if len(body) > self._limit:
                        raise PageError(
                            f"page is larger than {self._limit} bytes: a table of fewer columns makes a smaller one"
                        )
        except TimeoutError as error:
            raise PageError(f"no answer within {self._timeout.total:g} s") from error
        except aiohttp.ClientConnectionError as error:
            raise PageError("connection failed") from error
        except aiohttp.ClientError as error:
            raise PageError("broken HTTP answer") from error
        return body.decode("utf-8", errors="replace")


async def living_pods(kube: Kube, target: Target) -> list[Object]:
    """The pods of a target that have not ended. Raises SourceUnavailable."""
    labels = {names.LABEL_DEPLOYMENT: target.deployment, names.MANAGED_BY: names.MANAGER}
    try:
        pods = await kube.list(kinds.POD, target.namespace, labels)
    except ApiError as error:
        raise SourceUnavailable(f"pods of {target.deployment} could not be listed: {type(error).__name__}") from error
    return [pod for pod in pods if not has_ended(pod)]


def has_address(pod: Object) -> bool:
    """Whether the pod got far enough to be asked."""
    return bool(_status(pod).get("podIP"))


class PodSource:
    """A CountSource that lists the pods of a ModelDeployment and reads each one's metrics port."""

    def __init__(
        self, kube: Kube, pages: Pages, series: SeriesSet = DRIFT_SERIES, *, port: int = metric_names.METRICS_PORT
    ) -> None:
        self._kube = kube
        self._pages = pages
        self._series = series
        self._port = port

    async def read(self, target: Target, now: datetime) -> Round:
        living = await living_pods(self._kube, target)
        gate = asyncio.Semaphore(AT_ONCE)
        reads = [self._read_pod(pod, gate) for pod in living if has_address(pod)]
        answers = await asyncio.gather(*reads)
        return Round(
            deployment=target.deployment,
            taken_at=now,
            listed=frozenset(pod["metadata"]["uid"] for pod in living),
            pods=tuple(a for a in answers if isinstance(a, PodCounters)),
            failures=tuple(a for a in answers if isinstance(a, PodFailure)),
        )

    async def _read_pod(self, pod: Object, gate: asyncio.Semaphore) -> PodCounters | PodFailure:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        try:
            async with gate:
                text = await self._pages.get(f"http://{host_of(_status(pod)['podIP'])}:{self._port}/metrics")
            if len(text) <= exposition.REMEMBERED_SIZE:
                counters = exposition.parse(text, self._series)
            else:
                # The page of a wide table takes long enough for everybody else to notice.
                counters = await asyncio.to_thread(exposition.parse, text, self._series)
        except PageError as error:
            return PodFailure(name, uid, str(error))
        except exposition.UnusablePage as error:
            return PodFailure(name, uid, f"unusable page: {error}")
        if counters.run.pod_uid != uid:
            return PodFailure(name, uid, "another pod answered at its address")
        return counters


def _status(pod: Object) -> Mapping[str, Any]:
    status: Mapping[str, Any] = pod.get("status") or {}
    return status


def host_of(address: str) -> str:
    """An IP address as a URL wants it."""
    return f"[{address}]" if ":" in address else address
