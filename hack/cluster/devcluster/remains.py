"""What a node leaves in the kernel and outside its state: cgroups, mounts, shims, links. Finds and removes its own only."""

import os
import re
import shutil
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from devcluster.commands import ClusterError, attempt
from devcluster.processes import PROC, Identity, identity_of, send, stop_all

CGROUPS = Path("/sys/fs/cgroup")
_OCTAL = re.compile(r"\\([0-7]{3})")


def cgroup_roots(base: Path = CGROUPS) -> list[Path]:
    """One on cgroup v2; one per controller on v1."""
    if (base / "cgroup.controllers").exists():
        return [base]
    return sorted(p for p in base.iterdir() if p.is_dir() and not p.is_symlink()) if base.is_dir() else []


def make_cgroups(name: str) -> None:
    for root in cgroup_roots():
        (root / name).mkdir(exist_ok=True)


def cgroup_processes(name: str) -> list[Identity]:
    """Every process inside the cluster's cgroups: those of its pods."""
    pids: set[int] = set()
    for root in cgroup_roots():
        for folder, _, _ in os.walk(root / name):
            try:
                pids.update(int(word) for word in (Path(folder) / "cgroup.procs").read_text().split())
            except OSError:
                continue
    found = (identity_of(pid) for pid in pids if pid > 0)
    return [identity for identity in found if identity is not None]


def kill_pods(name: str) -> None:
    """End every pod process at once: a cluster that goes down owes its pods no farewell."""
    for _ in range(5):
        processes = cgroup_processes(name)
        if not processes:
            return
        for identity in processes:
            send(identity, signal.SIGKILL)
        stop_all(processes, grace_seconds=3)


def remove_cgroups(name: str) -> None:
    """Remove the trees bottom up. The kernel frees a dead member a moment late, so busy ones are tried again."""
    deadline = time.monotonic() + 10
    while True:
        left = [root / name for root in cgroup_roots() if (root / name).is_dir()]
        for tree in left:
            for folder, _, _ in os.walk(tree, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    continue
        left = [tree for tree in left if tree.is_dir()]
        if not left:
            return
        if time.monotonic() > deadline:
            raise ClusterError(f"cgroup {left[0]} is still in use; see cgroup.procs below it")
        time.sleep(0.1)


def shims(socket: Path) -> list[Identity]:
    """containerd's per-pod helpers: they name their containerd by `-address`, an exact word of their command line."""
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if Path(words[0].decode(errors="replace")).name == "containerd-shim-runc-v2" and str(socket).encode() in words:
            identity = identity_of(int(entry.name))
            if identity is not None:
                found.append(identity)
    return found


def shim_sockets(state: Path) -> list[Path]:
    """Sockets that shims keep in a folder all containerds of a machine share."""
    found = []
    for file in state.glob("containerd-state/io.containerd.runtime.v2.task/*/*/bootstrap.json"):
        match = re.search(r"unix://(/run/containerd/s/[0-9a-f]+)", file.read_text(errors="replace"))
        if match:
            found.append(Path(match[1]))
    return found


def parse_mounts(mountinfo: str, below: Path) -> list[Path]:
    """Mount points below a folder, deepest first."""
    points = []
    for line in mountinfo.splitlines():
        fields = line.split()
        if len(fields) > 4:
            point = Path(_OCTAL.sub(lambda m: chr(int(m[1], 8)), fields[4]))
            if point.is_relative_to(below):
                points.append(point)
    return points[::-1]


def unmount_below(folder: Path) -> None:
    for _ in range(3):
        points = parse_mounts((PROC / "self/mountinfo").read_text(), folder)
        if not points:
            return
        for point in points:
            if not attempt(["umount", point]):
                attempt(["umount", "--lazy", point])
    if parse_mounts((PROC / "self/mountinfo").read_text(), folder):
        raise ClusterError(f"mounts below {folder} cannot be removed; see `findmnt | grep {folder}`")


def cni_results(files: Iterable[str], network: str) -> list[str]:
    """Result files of one network; those of its pods' loopback carry the pod's id only."""
    names = list(files)
    mine = re.compile(rf"{re.escape(network)}-([0-9a-f]{{64}})-eth0")
    pods = {found[1] for found in map(mine.fullmatch, names) if found}
    return [name for name in names if mine.fullmatch(name) or name.removeprefix("cni-loopback-")[:64] in pods]


def remove_outside_files(state: Path, cni_network: str, sockets: Iterable[Path]) -> None:
    """Files that kubelet, CNI and shims put where their programs fix the place."""
    logs = Path("/var/log/containers")
    for link in logs.iterdir() if logs.is_dir() else ():
        if link.is_symlink() and Path(os.readlink(link)).is_relative_to(state):
            link.unlink(missing_ok=True)
    results = Path("/var/lib/cni/results")
    for file in cni_results(sorted(p.name for p in results.iterdir()) if results.is_dir() else [], cni_network):
        (results / file).unlink(missing_ok=True)
    for socket in sockets:
        socket.unlink(missing_ok=True)
    for folder in ("containerd-state", "runc", "ipam"):
        shutil.rmtree(state / folder, ignore_errors=True)
