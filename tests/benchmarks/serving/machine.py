"""What the kernel says of this machine and of a tree of processes: cores, CPU time, memory.

Owns every read of /proc. Starts nothing.
"""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_UTIME: Final = 11
"""Position of user time in /proc/<pid>/stat after the command's closing bracket; system time follows."""


class TooFewCores(Exception):
    """Server and load need a core each."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core serves and which one asks."""

    server: int
    load: int


def cores() -> Cores:
    """The first two that this process may use. Raises TooFewCores."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise TooFewCores("the benchmark needs two cores: one for the server, one for wrk")
    return Cores(allowed[0], allowed[1])


def described() -> dict[str, str]:
    """Machine and versions, for the head of a report."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "cpu": model.partition(": ")[2] or platform.machine(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("onnxruntime", "numpy", "uvloop", "httptools", "scikit-learn")},
    }


def tree(root: int) -> list[int]:
    """A process and everything below it that is alive."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of these processes so far, all threads; what a process that has ended took is not in it."""
    taken = (fields for pid in pids if (fields := _stat(pid)))
    return sum(int(fields[_UTIME]) + int(fields[_UTIME + 1]) for fields in taken) / _TICKS


def busy_seconds() -> float:
    """Time that all cores together did anything, or were taken by other guests of the host."""
    user, nice, system, _idle, _iowait, irq, soft, steal = (
        int(each) for each in Path("/proc/stat").read_text().split()[1:9]
    )
    return (user + nice + system + irq + soft + steal) / _TICKS


def pss_mib(pids: list[int]) -> float:
    """Proportional set size of these processes: shared pages count by their share."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def _stat(pid: int) -> list[str]:
    """Fields after the command name, which may hold spaces and brackets; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
