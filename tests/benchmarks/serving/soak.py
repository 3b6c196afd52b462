"""`make soak`: half of the peak load for ten minutes with rolling restarts. Fails when a request is lost, miscounted or memory grows.

Owns the pods, their restarts and the verdict. Three server processes on one core: one stays, and its memory and counters are watched; the
other two are replaced in turn: a new one is started, and when it is ready an old one is told to end, as a Deployment does it.
"""

import argparse
import asyncio
import contextlib
import http.client
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.serving import environments, machine, models, servers
from benchmarks.serving.clients import Clients, Endpoints
from benchmarks.serving.environments import Environment
from benchmarks.serving.mixed import Mixed
from benchmarks.serving.models import Model
from modelcycle_bundle import metric_names

MODEL: Final = "digits"
CLIENTS: Final = 32
PEAK_SECONDS: Final = 10.0
RESTART_SECONDS: Final = 20.0
"""From the end of one restart to the next."""
DRAIN_PATIENCE: Final = 90.0
SAMPLE_SECONDS: Final = 2.0
WARM_UP: Final = 0.2
"""Part of the run that says nothing of growth: pools, arenas and counters fill."""
MAX_GROWTH_MIB: Final = 4.0
"""Between the first and the last third of what follows; an allocator's own movement is about 1."""
KEY: Final = "k" * 44


@dataclass
class Pod:
    """One server process."""

    launched: servers.Launched

    @property
    def port(self) -> int:
        """Where it answers."""
        return self.launched.port

    def anonymous_mib(self) -> float:
        """Memory of its own: what a leak would be in."""
        lines = Path(f"/proc/{self.launched.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024

    def open_files(self) -> int:
        """Descriptors."""
        return len(list(Path(f"/proc/{self.launched.process.pid}/fd").iterdir()))


@dataclass
class Watched:
    """What was seen of the process that stays."""

    seconds: list[float] = field(default_factory=list)
    anonymous: list[float] = field(default_factory=list)
    """MiB."""
    files: list[int] = field(default_factory=list)

    def growth(self) -> float:
        """MiB between the medians of the first and the last third after the warm-up."""
        kept = self.anonymous[int(len(self.anonymous) * WARM_UP) :]
        third = max(1, len(kept) // 3)
        return statistics.median(kept[-third:]) - statistics.median(kept[:third])

    def slope(self) -> float:
        """MiB an hour, by least squares after the warm-up."""
        start = int(len(self.anonymous) * WARM_UP)
        return statistics.linear_regression(self.seconds[start:], self.anonymous[start:]).slope * 3600


class Pods:
    """All processes of the soak; ends those that are left."""

    def __init__(self, model: Model, environment: Environment, core: int, folder: Path, flags: Sequence[str]) -> None:
        self.endpoints: Final = Endpoints(servers.is_ready)
        self.restarts = 0
        self.failures: list[str] = []
        self._model: Final = model
        self._core: Final = core
        self._folder: Final = folder
        self._started = 0
        self._alive: list[Pod] = []
        key = folder / "key"
        key.write_text(KEY)
        self._program: Final = servers.ours(environment, extra=("--feedback-key-file", str(key), *flags))

    async def start(self) -> Pod:
        """One more, ready."""
        self._started += 1
        folder = self._folder / f"pod-{self._started}"
        folder.mkdir()
        pod = Pod(servers.launch(self._program, self._model, self._core, folder))
        self._alive.append(pod)
        self.endpoints.add(pod.port)
        await asyncio.get_running_loop().run_in_executor(None, pod.launched.until_ready)
        return pod

    async def retire(self, pod: Pod) -> None:
        """Tell it to end, and wait."""
        process = pod.launched.process
        process.send_signal(signal.SIGTERM)
        try:
            code = await asyncio.get_running_loop().run_in_executor(None, process.wait, DRAIN_PATIENCE)
        except Exception as error:
            self.failures.append(f"a process did not end: {error}")
            return
        if code != 0:
            self.failures.append(f"a process ended with {code}")
        self.endpoints.remove(pod.port)
        self._alive.remove(pod)

    async def keep_rolling(self, pods: list[Pod], pause: float) -> None:
        """Replace these in turn."""
        while True:
            await asyncio.sleep(pause)
            pods.append(await self.start())
            await self.retire(pods.pop(0))
            self.restarts += 1

    def end(self) -> None:
        """No process stays."""
        for pod in self._alive:
            pod.launched.end()


@contextlib.asynccontextmanager
async def pods(model: Model, environment: Environment, core: int, *flags: str) -> AsyncIterator[Pods]:
    """Processes of one model on one core; `flags` go to each."""
    with tempfile.TemporaryDirectory() as name:
        made = Pods(model, environment, core, Path(name), flags)
        probing = asyncio.create_task(made.endpoints.keep_probing())
        try:
            yield made
        finally:
            probing.cancel()
            made.end()


async def soak(minutes: float, pause: float) -> int:
    """Run it and print the report. Returns the exit code."""
    cores = machine.cores()
    [model] = (each for each in models.made() if each.name == MODEL)
    async with pods(model, environments.ours(), cores.server) as fleet:
        stays, *rolled = [await fleet.start() for _ in range(3)]
        await fleet.endpoints.until(3)
        clients = Clients(fleet.endpoints, Mixed(model, seed=1), CLIENTS, seed=2)
        peak = await _peak(clients)
        sys.stdout.write(f"peak {peak:.0f} requests/s; soaking at {peak / 2:.0f} for {minutes:g} minutes\n")
        clients.rate = peak / 2
        watched = Watched()
        begun, asked = time.monotonic(), clients.requests
        clients.milliseconds = clients.milliseconds[:0]
        tasks = [
            asyncio.create_task(_watch(stays, watched)),
            asyncio.create_task(fleet.keep_rolling(rolled, pause)),
        ]
        await clients.run(lambda: time.monotonic() > begun + minutes * 60 or any(map(_broken, tasks)))
        took = time.monotonic() - begun
        for task in tasks:
            task.cancel()
        fleet.failures += [str(task.exception()) for task in tasks if _broken(task)]
        faults = [*fleet.failures, *verdict(clients, watched), *miscounted(stays, clients)]
        sys.stdout.write(report(clients, watched, fleet.restarts, (clients.requests - asked) / took))
    sys.stdout.write("".join(f"FAILED: {fault}\n" for fault in faults) or "no request lost, none miscounted\n")
    return 1 if faults else 0


def verdict(clients: Clients, watched: Watched) -> list[str]:
    """What is wrong, if anything."""
    found = [f"lost {count}: {reason}" for reason, count in clients.lost.most_common(10)]
    if watched.growth() > MAX_GROWTH_MIB:
        found.append(f"memory grew by {watched.growth():.1f} MiB (allowed: {MAX_GROWTH_MIB:g})")
    if max(watched.files[-5:]) > watched.files[0] + CLIENTS:
        found.append(f"open files grew from {watched.files[0]} to {watched.files[-1]}")
    return found


def miscounted(pod: Pod, clients: Clients) -> list[str]:
    """The pod's own counters against what its clients know of their answers."""
    connection = http.client.HTTPConnection("127.0.0.1", pod.launched.metrics_port, timeout=10)
    connection.request("GET", "/metrics")
    families = text_string_to_metric_families(connection.getresponse().read().decode())
    samples = [sample for family in families for sample in family.samples]
    connection.close()
    found = []
    rows = sum(each.value for each in samples if each.name == metric_names.ROWS)
    if rows != clients.rows[pod.port]:
        found.append(f"{rows:.0f} rows counted, {clients.rows[pod.port]} answered")
    for status in (200, 400):
        told = (each for each in samples if each.name == metric_names.REQUESTS and each.labels["code"] == str(status))
        counted, known = sum(each.value for each in told), clients.answers[pod.port, status]
        if counted != known:
            found.append(f"{counted:.0f} requests counted as {status}, {known} answered so")
    return found


def report(clients: Clients, watched: Watched, restarts: int, rate: float) -> str:
    """Figures of the run."""
    taken = sorted(clients.milliseconds)
    p99 = taken[int(0.99 * (len(taken) - 1))]
    anonymous, files = watched.anonymous, watched.files
    lines = [
        f"requests {clients.requests} ({len(clients.sent)} kinds, {rate:.0f}/s), lost {clients.lost.total()}, "
        f"compared with scikit-learn {clients.checked}; restarts {restarts}",
        f"latency: p50 {statistics.median(taken):.2f} ms, p99 {p99:.1f} ms, max {taken[-1]:.0f} ms",
        f"memory of its own of the process that stays: {anonymous[0]:.1f} MiB at the start, {anonymous[-1]:.1f} at the end; "
        f"growth after the warm-up {watched.growth():+.2f} MiB, slope {watched.slope():+.1f} MiB an hour",
        f"open files: {files[0]} at the start, {files[-1]} at the end",
    ]
    return "\n".join(lines) + "\n"


async def _peak(clients: Clients) -> float:
    begun, before = time.monotonic(), clients.requests
    await clients.run(lambda: time.monotonic() > begun + PEAK_SECONDS)
    return (clients.requests - before) / (time.monotonic() - begun)


async def _watch(pod: Pod, watched: Watched) -> None:
    begun = time.monotonic()
    while True:
        watched.seconds.append(time.monotonic() - begun)
        watched.anonymous.append(pod.anonymous_mib())
        watched.files.append(pod.open_files())
        await asyncio.sleep(SAMPLE_SECONDS)


def _broken(task: "asyncio.Task[None]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="default %(default)s")
    parser.add_argument(
        "--pause", type=float, default=RESTART_SECONDS, help="seconds between restarts (default %(default)s)"
    )
    arguments = parser.parse_args()
    sys.exit(uvloop.run(soak(arguments.minutes, arguments.pause)))


if __name__ == "__main__":
    main()
