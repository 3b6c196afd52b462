"""What is remembered about a cluster between calls: its engine, network and ports. Written before anything starts."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from devcluster.addresses import Ports
from devcluster.commands import write_whole


class Engine(StrEnum):
    """Where a cluster runs."""

    NODE = "node"
    """One node from Go modules, in a network namespace of its own."""
    CONTROL_PLANE = "control-plane"
    """etcd, API server and controller manager on loopback; no node."""
    KIND = "kind"
    """Kubernetes in Docker, from kind-config.yaml."""
    EXISTING = "existing"
    """The current context of the user's kubectl."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One cluster. `net` is used by a node only, `ports` by both engines that run their own control plane."""

    engine: Engine
    net: int = 0
    ports: Ports = field(default_factory=Ports)

    def write(self, path: Path) -> None:
        write_whole(path, json.dumps(asdict(self)) + "\n")


def read(path: Path) -> Facts | None:
    """The facts of a cluster that was begun; None when there is none or the file is not readable as such."""
    try:
        found = json.loads(path.read_text())
        return Facts(Engine(found["engine"]), int(found["net"]), Ports(**found["ports"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def reserved_nets(cache: Path, except_for: str) -> list[int]:
    """Networks of other clusters on this machine, up or down."""
    others = [read(p) for p in cache.glob("*/cluster.json") if p.parent.name != except_for]
    return [facts.net for facts in others if facts is not None and facts.engine is Engine.NODE]
