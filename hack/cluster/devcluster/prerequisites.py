"""What the machine must have, which Debian package brings it, and the one command that installs what is missing."""

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from devcluster.commands import ClusterError, run
from devcluster.progress import Progress


@dataclass(frozen=True, slots=True)
class Need:
    """A program on the PATH, or a file, and the package that has it."""

    what: str
    package: str


PKI = (Need("openssl", "openssl"),)
NODE = (
    *PKI,
    Need("ip", "iproute2"),
    Need("nft", "nftables"),
    Need("iptables", "iptables"),
    Need("conntrack", "conntrack"),
    Need("nsenter", "util-linux"),
    Need("/usr/lib/cni/bridge", "containernetworking-plugins"),
)
BUILD_RUNC = (
    Need("gcc", "gcc"),
    Need("pkg-config", "pkg-config"),
    Need("/usr/include/seccomp.h", "libseccomp-dev"),
    Need("/usr/include/stdlib.h", "libc6-dev"),
)
IMAGES = (
    Need("buildah", "buildah"),
    Need("mmdebstrap", "mmdebstrap"),
    Need("gcc", "gcc"),
    Need("/usr/include/stdlib.h", "libc6-dev"),
    Need("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
)


def present(need: Need) -> bool:
    """Looked for in the administrator's folders too: a user's PATH often lacks them."""
    if need.what.startswith("/"):
        return Path(need.what).exists()
    return shutil.which(need.what, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def missing(needs: Iterable[Need], has: Callable[[Need], bool] = present) -> list[Need]:
    """What is not there, each once, in the given order."""
    return [need for need in dict.fromkeys(needs) if not has(need)]


def install_command(lacking: Iterable[Need]) -> str:
    """The command that brings all of it on Debian and its relatives."""
    packages = " ".join(sorted({need.package for need in lacking}))
    return f"apt-get update && apt-get install -y --no-install-recommends {packages}"


def message(lacking: Iterable[Need]) -> str:
    needs = list(lacking)
    names = ", ".join(Path(need.what).name for need in needs)
    return f"this machine lacks {names}. Install with:\n    sudo sh -c '{install_command(needs)}'"


def check(needs: Iterable[Need]) -> None:
    """Everything is there or can be installed; else ClusterError with the command. Changes nothing."""
    lacking = missing(needs)
    if lacking and (os.geteuid() != 0 or shutil.which("apt-get") is None):
        raise ClusterError(message(lacking))


def ensure(needs: Iterable[Need], progress: Progress) -> None:
    """Install what is missing where that is possible (root, apt-get); else raise ClusterError with the command."""
    check(needs)
    lacking = missing(needs)
    if not lacking:
        return
    command = install_command(lacking)
    with progress.step(command):
        run(["sh", "-c", command], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    still = missing(needs)
    if still:
        raise ClusterError(message(still))


def require_root(euid: int) -> None:
    """A node needs namespaces, mounts and cgroups. Raises ClusterError with the ways that work."""
    if euid != 0:
        raise ClusterError(
            "a one-node cluster needs root: run the same command with sudo, or use a Kubernetes you have:\n"
            "    CLUSTER=kind (with Docker) or CLUSTER=existing (the current context)"
        )
