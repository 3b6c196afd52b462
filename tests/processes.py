"""Processes of the cluster's pods as this machine sees them: containers of a node on this machine are seen from it. Owns no signal."""

from pathlib import Path
from typing import Final

OPERATOR: Final = (b"/app/venv/bin/python", b"-m", b"modelcycle")
SERVER: Final = (b"/app/venv/bin/python", b"-m", b"modelcycle_serving")


def operators() -> list[int]:
    """Ids of the operator's processes."""
    return [pid for pid, command in _running() if command == OPERATOR]


def servers_of(pod_uid: str) -> list[int]:
    """Ids of the model server's processes of a pod."""
    spellings = (pod_uid, pod_uid.replace("-", "_"))  # of the kubelet's two cgroup drivers
    found = [pid for pid, command in _running() if command[: len(SERVER)] == SERVER]
    return [pid for pid in found if any(uid in _read(pid, "cgroup").decode() for uid in spellings)]


def _running() -> list[tuple[int, tuple[bytes, ...]]]:
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [(pid, tuple(_read(pid, "cmdline").split(b"\0")[:-1])) for pid in pids]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # ended meanwhile
        return b""
