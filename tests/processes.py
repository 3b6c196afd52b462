"""Processes of the cluster's pods as this machine sees them: containers of a node on this machine are seen from it. Owns no signal."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from modelcycle_bundle.metric_names import METRICS_PORT

CGROUPS: Final = Path("/sys/fs/cgroup")
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


@contextmanager
def unreadable(pod_uid: str) -> Iterator[None]:
    """Refuse what arrives at a pod's metrics port, in the pod's own network namespace; nothing else of it changes. Needs root and nft."""
    inside = ["nsenter", f"--target={servers_of(pod_uid)[0]}", "--net", "nft"]
    rules = "add table inet unseen; add chain inet unseen arrives { type filter hook input priority 0; }"
    rule = f"add rule inet unseen arrives tcp dport {METRICS_PORT} reject with tcp reset"
    subprocess.run([*inside, f"{rules}; {rule}"], check=True, capture_output=True, text=True)
    try:
        yield
    finally:
        subprocess.run([*inside, "delete table inet unseen"], check=True, capture_output=True, text=True)


@contextmanager
def throttled(pid: int) -> Iterator[None]:
    """Leave a process's container a hundredth of a core, by the quota of its cgroup. Needs root."""
    lines = _read(pid, "cgroup").decode().splitlines()
    paths = {name: path for _, names, path in (line.split(":", 2) for line in lines) for name in names.split(",")}
    if "cpu" in paths:
        files = {CGROUPS / "cpu" / paths["cpu"].lstrip("/") / "cpu.cfs_quota_us": "1000"}
    else:
        files = {CGROUPS / paths[""].lstrip("/") / "cpu.max": "1000 100000"}
    before = {file: file.read_text() for file in files}
    for file, quota in files.items():
        file.write_text(quota)
    try:
        yield
    finally:
        for file, text in before.items():
            file.write_text(text)
