"""Starts and stops long-running processes, and knows its own again after a crash.

A process is known by its id and its start time, so that an id the kernel gave to somebody else is never signalled.
Must never signal by name or pattern.
"""

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.commands import ClusterError

PROC = Path("/proc")

# The child writes its own record before it becomes the program: a starter that dies in between leaves no unknown process.
_RECORD_THEN_EXEC = (
    'echo "$$ $(cut -d" " -f22 /proc/$$/stat) $2" > "$1.new" && mv "$1.new" "$1" && shift 2 && exec "$@"'
)


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for all time: `started` is in clock ticks since boot (field 22 of /proc/<pid>/stat)."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Record:
    """What was written down when a process was started."""

    identity: Identity
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Command:
    """A long-running program: its short name, the words of its command line, and files whose change asks for a restart."""

    name: str
    argv: tuple[str, ...]
    watched: tuple[Path, ...] = ()

    def fingerprint(self) -> str:
        digest = hashlib.sha256("\0".join(self.argv).encode())
        for path in self.watched:
            digest.update(path.read_bytes() if path.exists() else b"")
        return digest.hexdigest()[:16]


def parse_stat(text: str) -> tuple[str, int]:
    """State letter and start time from /proc/<pid>/stat. The program's name may hold spaces and parentheses."""
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def parse_record(text: str) -> Record | None:
    """A record file; None when it is not one (a crash, an older format)."""
    words = text.split()
    if len(words) != 3 or not (words[0].isdigit() and words[1].isdigit()):
        return None
    return Record(Identity(int(words[0]), int(words[1])), words[2])


def identity_of(pid: int, proc: Path = PROC) -> Identity | None:
    """The process that has this id now; None when there is none or it has ended and waits to be collected."""
    try:
        state, started = parse_stat((proc / str(pid) / "stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else Identity(pid, started)


def is_running(identity: Identity, proc: Path = PROC) -> bool:
    return identity_of(identity.pid, proc) == identity


def send(identity: Identity, number: signal.Signals) -> None:
    """Signal a process if it is still the recorded one. A pidfd closes the gap between the look and the signal."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except (ProcessLookupError, OSError):
        return
    try:
        if is_running(identity):
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def stop_all(identities: Sequence[Identity], *, grace_seconds: float) -> None:
    """Ask all to end, wait, then force. Returns when all are gone; raises ClusterError when one cannot be ended."""
    for identity in identities:
        send(identity, signal.SIGTERM)
    if _gone(identities, grace_seconds):
        return
    for identity in identities:
        send(identity, signal.SIGKILL)
    if not _gone(identities, 10):
        left = [str(i.pid) for i in identities if is_running(i)]
        raise ClusterError(f"processes {', '.join(left)} do not end even when forced; see `ps -o pid,stat,args`")


def _gone(identities: Sequence[Identity], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(is_running(i) for i in identities):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Supervisor:
    """The processes of one cluster: a record and a log per name."""

    def __init__(self, records: Path, logs: Path, prefix: Sequence[str] = ()) -> None:
        self._records = records
        self._logs = logs
        self._prefix = tuple(prefix)

    def record(self, name: str) -> Record | None:
        """The record of a process that runs; None otherwise."""
        try:
            record = parse_record((self._records / name).read_text())
        except FileNotFoundError:
            return None
        return record if record is not None and is_running(record.identity) else None

    def names(self) -> list[str]:
        """Every name with a record, running or not."""
        if not self._records.is_dir():
            return []
        return sorted(p.name for p in self._records.iterdir() if not p.name.endswith(".new"))

    def running(self) -> dict[str, int]:
        """Process ids by name."""
        found = {name: self.record(name) for name in self.names()}
        return {name: record.identity.pid for name, record in found.items() if record is not None}

    def ensure(self, command: Command, env: Mapping[str, str]) -> bool:
        """Start what does not run, restart what runs with other words. True when it was started."""
        record = self.record(command.name)
        fingerprint = command.fingerprint()
        if record is not None and record.fingerprint == fingerprint:
            return False
        if record is not None:
            stop_all([record.identity], grace_seconds=20)
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        words = ["/bin/sh", "-c", _RECORD_THEN_EXEC, "start", str(self._records / command.name), fingerprint]
        with (self._logs / f"{command.name}.log").open("ab") as log:
            child = subprocess.Popen(
                [*words, *self._prefix, *command.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(env),
                cwd="/",
                start_new_session=True,
            )
        # From here on the record tells of it: a second call must find it.
        while child.poll() is None and self._recorded_pid(command.name) != child.pid:
            time.sleep(0.01)
        return True

    def _recorded_pid(self, name: str) -> int | None:
        record = self.record(name)
        return record.identity.pid if record is not None else None

    def stop(self, name: str, *, grace_seconds: float = 15) -> None:
        """Stop one by its record, and forget it."""
        record = self.record(name)
        if record is not None:
            stop_all([record.identity], grace_seconds=grace_seconds)
        (self._records / name).unlink(missing_ok=True)

    def log_tail(self, name: str, lines: int = 15) -> str:
        path = self._logs / f"{name}.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n    ".join(text.splitlines()[-lines:])
