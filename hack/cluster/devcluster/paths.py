"""Where everything lies: the cache, the state of one cluster, its kubeconfig. Names only, creates nothing."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster.commands import ClusterError

REPOSITORY = Path(__file__).resolve().parents[3]
DEFAULT_NAME = "mc"

# An interface name holds 15 characters and ours is `<name>-host`.
_NAME = re.compile(r"[a-z][a-z0-9-]{0,8}[a-z0-9]|[a-z]")


def checked_name(text: str) -> str:
    """The name of a cluster. Raises ClusterError."""
    if not _NAME.fullmatch(text):
        raise ClusterError(f"--name {text!r}: use 1 to 10 characters of a-z, 0-9 and '-', beginning with a letter")
    return text


def cache_root(env: Mapping[str, str]) -> Path:
    """MODELCYCLE_CACHE, else ~/.cache/modelcycle."""
    given = env.get("MODELCYCLE_CACHE", "").strip()
    return Path(given).absolute() if given else Path(env.get("HOME") or os.path.expanduser("~")) / ".cache/modelcycle"


@dataclass(frozen=True, slots=True)
class Paths:
    """All paths of one cluster."""

    cache: Path
    name: str = DEFAULT_NAME
    repository: Path = REPOSITORY

    @property
    def state(self) -> Path:
        return self.cache / self.name

    @property
    def facts(self) -> Path:
        """What kind of cluster this is and which addresses it has: written before anything is started."""
        return self.state / "cluster.json"

    @property
    def lock(self) -> Path:
        """Outside of the state, so that a purge does not remove the lock it holds."""
        return self.cache / f".{self.name}.lock"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def records(self) -> Path:
        return self.state / "run"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def conf(self) -> Path:
        return self.state / "conf"

    @property
    def audit_log(self) -> Path:
        return self.state / "audit.log"

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"

    @property
    def kubeconfig(self) -> Path:
        file = "kubeconfig" if self.name == DEFAULT_NAME else f"{self.name}.kubeconfig"
        return self.repository / ".cluster" / file

    @property
    def images_env(self) -> Path:
        """The digests that the dev overlay deploys; those of a second cluster never overwrite it."""
        if self.name == DEFAULT_NAME:
            return self.repository / "manifests/overlays/dev/images.env"
        return self.repository / ".cluster" / f"{self.name}.images.env"
