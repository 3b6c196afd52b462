"""Closed-loop load by wrk from one core, and what it cost the server on the other.

Owns one timed cell: requests, latency, the CPU time of the server's processes, and the CPU time that neither of the two took.
"""

import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.serving import machine

SCRIPT: Final = Path(__file__).parent / "wrk.lua"
WARM_UP_SECONDS: Final = 0.3
_TIMEOUT_SECONDS: Final = 20
_IDLE_SECONDS: Final = 0.08
_IDLE_PATIENCE: Final = 5.0


class NoWrk(Exception):
    """wrk is not installed."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One cell, once."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """User and system time of the server's process tree, a request."""
    foreign: float
    """Cores that were busy with something else meanwhile, on average."""
    errors: int
    """Answers that are not 2xx or 3xx, broken connections, answers later than 20 s."""


def require_wrk() -> None:
    """Raises NoWrk."""
    if shutil.which("wrk") is None:
        raise NoWrk("wrk is not installed: apt-get install -y wrk")


def on_core(core: int) -> Callable[[], None]:
    """For a child process: stay on this core."""
    return lambda: os.sched_setaffinity(0, {core})


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask: a port, the process whose tree answers there, and processes that work for it."""

    port: int
    pid: int
    beside: tuple[int, ...]


def run(target: Target, requests: Sequence[bytes], connections: int, seconds: float, core: int) -> Measured:
    """Load `target` from `core` for `seconds`, after a short warm-up."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{at:02d}") for at in range(len(requests))]
        for path, raw in zip(paths, requests, strict=True):
            path.write_bytes(raw)
        _wrk(target.port, paths, connections, WARM_UP_SECONDS, core)
        _until_idle(target)
        return _timed(target, paths, connections, seconds, core)


def _timed(target: Target, paths: list[Path], connections: int, seconds: float, core: int) -> Measured:
    server, beside = machine.tree(target.pid), list(target.beside)
    before = machine.cpu_seconds(server), machine.cpu_seconds(beside) + _own_seconds(), machine.busy_seconds()
    told = _wrk(target.port, paths, connections, seconds, core)
    after = machine.cpu_seconds(server), machine.cpu_seconds(beside) + _own_seconds(), machine.busy_seconds()
    took, helped, busy = (late - early for late, early in zip(after, before, strict=True))
    elapsed = told["microseconds"] / 1e6
    answered = told["requests"]
    return Measured(
        requests_per_second=answered / elapsed,
        p50_ms=told["p50"] / 1000,
        p99_ms=told["p99"] / 1000,
        cpu_us=took * 1e6 / max(answered, 1),
        foreign=max(0.0, busy - took - helped) / elapsed,
        errors=told["refused"] + told["broken"] + told["late"],
    )


def _until_idle(target: Target) -> None:
    """wrk leaves without its last answers: a slow server is still at work on them, and that is no part of what is timed."""
    pids = machine.tree(target.pid)
    until = time.monotonic() + _IDLE_PATIENCE
    used = machine.cpu_seconds(pids)
    while time.monotonic() < until:
        time.sleep(_IDLE_SECONDS)
        before, used = used, machine.cpu_seconds(pids)
        if used - before < _IDLE_SECONDS / 4:
            return


def _wrk(port: int, paths: list[Path], connections: int, seconds: float, core: int) -> dict[str, int]:
    # wrk takes whole seconds only, and stops on SIGINT as if its time were over.
    command = ["wrk", "-t1", f"-c{connections}", f"-d{_TIMEOUT_SECONDS}s", f"--timeout={_TIMEOUT_SECONDS}s"]
    command += ["-s", str(SCRIPT), f"http://127.0.0.1:{port}", "--", *map(str, paths)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=on_core(core))
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(2)
    output, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"wrk said: {output[-500:]}")
    told: dict[str, int] = json.loads(lines[-1])
    return told


def _own_seconds() -> float:
    """This process and the children it has waited for: wrk."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)
