"""The operator as one process: builds the object graph, starts the tasks in order, and ends them in order.

Owns the order: health first, then CRDs, then the lead, then watches and workers; at the end no new keys, running plans finished, then the
rest. Holds no decision about our kinds. Any task that ends by itself ends the process: a restart is always safe.
"""

import asyncio
import logging
import signal
import time
import uuid
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from modelcycle import wiring
from modelcycle.api.rollout import Source
from modelcycle.deployment.observe import TRUST_CONFIG_MAP
from modelcycle.deployment.reconciler import DeploymentReconciler
from modelcycle.deployment.trust_keeper import TrustKeeper
from modelcycle.drift.reconciler import MonitorReconciler
from modelcycle.engine.beside import Beside
from modelcycle.engine.controller import Controller
from modelcycle.engine.elector import Elector
from modelcycle.engine.health import HealthServer, watch_lag
from modelcycle.engine.plan import Key
from modelcycle.engine.reconciler import Reconciler
from modelcycle.engine.recorder import EventRecorder
from modelcycle.engine.references import References
from modelcycle.engine.resync import Resync, poll
from modelcycle.engine.schema import SchemaGate
from modelcycle.engine.workqueue import WorkQueue
from modelcycle.experiment.reconciler import ExperimentReconciler
from modelcycle.kube import kinds
from modelcycle.kube.client import RestKube
from modelcycle.kube.port import Kube
from modelcycle.metrics.pods import WITHOUT_BINS, HttpPages, PodSource
from modelcycle.metrics.port import ROLLOUT_SERIES
from modelcycle.metrics.profiles import ProfiledSource, ProfileMemory
from modelcycle.metrics.prometheus import HttpPrometheus, PrometheusSource
from modelcycle.metrics.sampler import Sampler
from modelcycle.settings import Settings
from modelcycle.telemetry import Telemetry

TRUST_POLL_SECONDS: Final = 15.0
DRAIN_SECONDS: Final = 25.0
"""Below the pod's terminationGracePeriodSeconds (30 by default)."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Parts:
    """The object graph of the working half: what runs once CRDs are good and the lead is ours."""

    queue: WorkQueue
    controller: Controller
    resync: Resync
    references: References
    reconcilers: Sequence[Reconciler[Any]]
    samplers: Sequence[Sampler[Key]]
    trust_keeper: TrustKeeper | None
    """None for an operator of one namespace: it may not list the others."""


def build(kube: Kube, settings: Settings, telemetry: Telemetry, session: aiohttp.ClientSession, identity: str) -> Parts:
    """Put the parts together; starts nothing."""
    queue = WorkQueue(telemetry)
    references = References()
    pages = HttpPages(session)
    profiles = ProfileMemory()
    drift: Sampler[Key] = Sampler(ProfiledSource(PodSource(kube, pages), kube, pages, profiles))
    rollouts: dict[Source, Sampler[Key]] = {
        Source.PODS: Sampler(PodSource(kube, HttpPages(session, headers=WITHOUT_BINS), ROLLOUT_SERIES))
    }
    if settings.prometheus_url:
        prometheus = HttpPrometheus(session, settings.prometheus_url)
        scraped = PrometheusSource(kube, prometheus, ROLLOUT_SERIES, scrape_interval=settings.scrape_interval)
        rollouts[Source.PROMETHEUS] = Sampler(scraped)
    beside = Beside()
    reconcilers: Sequence[Reconciler[Any]] = (
        ExperimentReconciler(kube, settings, beside),
        DeploymentReconciler(kube, settings, rollouts),
        MonitorReconciler(kube, settings, drift, profiles),
    )
    recorder = EventRecorder(kube, identity, telemetry)
    keeper = TrustKeeper(kube, settings.operator_namespace, time.monotonic, settings.resync_seconds)
    by_kind = {reconciler.kind.kind: reconciler for reconciler in reconcilers}
    return Parts(
        queue=queue,
        controller=Controller(kube, by_kind, queue, recorder, telemetry, beside=beside),
        resync=Resync(
            kube,
            reconcilers,
            references,
            queue.add,
            telemetry,
            namespace=settings.watch_namespace,
            period=settings.resync_seconds,
        ),
        references=references,
        reconcilers=reconcilers,
        samplers=(drift, *rollouts.values()),
        trust_keeper=None if settings.watch_namespace else keeper,
    )


class Operator:
    """One run of the operator, from `run` to its return. SIGTERM and SIGINT set `stop`; so may the caller."""

    def __init__(self, kube: RestKube, settings: Settings, telemetry: Telemetry) -> None:
        self._kube = kube
        self._settings = settings
        self._telemetry = telemetry
        self._identity = f"{settings.identity}-{uuid.uuid4().hex[:8]}"
        self._gate = SchemaGate(kube, kinds.OWN_KINDS)
        self._elector = self._make_elector()
        self._parts: Parts | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed = False
        self.stop = asyncio.Event()

    async def run(self) -> int:
        """Work until `stop` is set (exit code 0) or a task ends by itself (1)."""
        self._take_signals()
        self._telemetry.started(time.time())
        health = HealthServer(
            ready=[lambda: self._gate.problem, self._lead_unknown, self._not_listed],
            exposition=self._telemetry.exposition,
        )
        port = await health.start(self._settings.http_port)
        _log.info("listening", extra={"port": port, "identity": self._identity})
        self._start("loop lag", watch_lag(self._telemetry.late, asyncio.get_running_loop().time))
        self._start("schemas", self._gate.run())
        try:
            if await self._reached(self._gate.ready) and await self._lead():
                await self._work()
        finally:
            await self._end()
            await health.stop()
        return 1 if self._failed else 0

    async def _work(self) -> None:
        async with aiohttp.ClientSession() as session:
            parts = self._parts = build(self._kube, self._settings, self._telemetry, session, self._identity)
            workers = [
                asyncio.create_task(parts.controller.work(), name=f"worker {number}")
                for number in range(self._settings.workers)
            ]
            for worker in workers:
                worker.add_done_callback(self._ended)
            background = {
                self._start("resync", parts.resync.run()),
                *(self._start(f"sampler {at}", each.run(parts.queue.add)) for at, each in enumerate(parts.samplers)),
                self._start("trust", self._watch_trust(parts)),
            }
            if parts.trust_keeper is not None:
                background.add(self._start("trust entries", parts.trust_keeper.run()))
            watches_end = asyncio.Event()
            watches = asyncio.create_task(self._watch(parts, watches_end), name="watches")
            watches.add_done_callback(self._ended)
            self._telemetry.leading(1)
            await self.stop.wait()
            _log.info("stopping: finishing the plans that are running")
            parts.queue.shut_down()
            await asyncio.wait(workers, timeout=DRAIN_SECONDS)
            # Before the watches: kopf waits seconds for every task that was started after its own.
            await self._cancel(background)
            watches_end.set()
            await asyncio.wait([watches], timeout=DRAIN_SECONDS)

    async def _watch(self, parts: Parts, end: asyncio.Event) -> None:
        handlers = wiring.registry(parts.reconcilers, parts.references, parts.queue.add, self._telemetry)
        await wiring.run(handlers, self._settings.watch_namespace, self._identity, end, self._take_signals)

    async def _watch_trust(self, parts: Parts) -> None:
        # The one object that people write and no label selects.
        def changed() -> None:
            for key in parts.references.of_kind(kinds.MODEL_DEPLOYMENT.kind):
                parts.queue.add(key)

        namespace = self._settings.operator_namespace
        await poll(self._kube, kinds.CONFIG_MAP, namespace, TRUST_CONFIG_MAP, TRUST_POLL_SECONDS, changed)

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop.set)

    async def _lead(self) -> bool:
        if self._elector is None:
            return True
        self._start("elector", self._elector.run())
        return await self._reached(self._elector.leading)

    async def _reached(self, event: asyncio.Event) -> bool:
        """Wait for `event` or `stop`; whether it was the event."""
        waits = [asyncio.create_task(event.wait()), asyncio.create_task(self.stop.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return not self.stop.is_set()

    async def _end(self) -> None:
        self.stop.set()
        await self._cancel(self._tasks)
        if self._elector is not None:
            await self._elector.release()
        self._telemetry.leading(0)

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    @staticmethod
    async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that ends before `stop` takes the process with it."""
        if self.stop.is_set():
            return
        error = None if task.cancelled() else task.exception()
        _log.error("task %s ended, so the operator ends", task.get_name(), exc_info=error)
        self._failed = True
        self.stop.set()

    def _make_elector(self) -> Elector | None:
        if self._settings.lease_name is None:
            return None
        return Elector(self._kube, self._settings.operator_namespace, self._settings.lease_name, self._identity)

    def _lead_unknown(self) -> str | None:
        return "the Lease has not been read yet" if self._elector and not self._elector.looked else None

    def _not_listed(self) -> str | None:
        if self._elector and not self._elector.leading.is_set():
            return None
        return None if self._parts and self._parts.resync.listed.is_set() else "the first lists are not done yet"
