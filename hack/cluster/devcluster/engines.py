"""Chooses where the cluster runs and describes what runs. The engines share one interface, so that later steps are the same."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from devcluster import addons
from devcluster import facts as facts_file
from devcluster.addresses import Ports, checked_net, choose_net, free_ports
from devcluster.binaries import Binaries
from devcluster.borrowed import ExistingEngine, KindEngine
from devcluster.commands import ClusterError, attempt
from devcluster.facts import Engine, Facts
from devcluster.lifecycle import OwnCluster
from devcluster.network import routes_of_machine
from devcluster.own import OwnEngine
from devcluster.paths import Paths
from devcluster.progress import Progress

Report = dict[str, Any]


class ClusterEngine(Protocol):
    """One cluster, wherever it runs. Every method can be repeated."""

    def check(self) -> None:
        """It can run here, or ClusterError with the ways that would. Seconds; changes nothing."""

    def build(self) -> None:
        """Make what `up` needs, start nothing."""

    def up(self) -> None:
        """Running and usable afterwards, or ClusterError."""

    def down(self) -> None:
        """Nothing of it runs afterwards."""

    def purge(self) -> None:
        """Remove its state; it is down."""

    def images(self) -> None:
        """The program images are in the cluster and their digests in images.env."""

    def install(self, component: addons.Component) -> None:
        """The component serves in the cluster."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user asked for."""

    control_plane_only: bool
    net: int | None
    env: Mapping[str, str]


def engine_for(choice: Choice, begun: Engine | None, has_kind: Callable[[], bool]) -> Engine:
    """The engine: what a cluster was begun with, else what is asked for, else kind where it works, else a node.

    Raises ClusterError for an unknown CLUSTER and for one that differs from how the cluster was begun.
    """
    asked = choice.env.get("CLUSTER", "").strip()
    allowed = [Engine.NODE.value, Engine.KIND.value, Engine.EXISTING.value]
    if asked and asked not in allowed:
        raise ClusterError(f"CLUSTER={asked}: use one of {', '.join(allowed)}")
    wanted = Engine.CONTROL_PLANE if choice.control_plane_only else Engine(asked) if asked else None
    if begun is not None:
        if wanted is not None and wanted is not begun:
            raise ClusterError(
                f"this cluster was begun as {begun.value}, not {wanted.value}: take it away first with\n"
                "    python3 hack/cluster down --purge (with its --name), or give another --name"
            )
        return begun
    return wanted or (Engine.KIND if has_kind() else Engine.NODE)


def kind_answers() -> bool:
    """Docker's engine answers and kind is installed."""
    return bool(shutil.which("kind") and shutil.which("docker")) and attempt(["docker", "info"])


def pick(paths: Paths, choice: Choice, progress: Progress) -> ClusterEngine:
    begun = facts_file.read(paths.facts)
    engine = engine_for(choice, begun.engine if begun else None, kind_answers)
    if engine is Engine.KIND:
        return KindEngine(paths, progress)
    if engine is Engine.EXISTING:
        return ExistingEngine(paths, progress, choice.env)
    facts = begun or _new_facts(engine, paths, choice)
    if choice.net is not None and facts.net != choice.net:
        raise ClusterError(f"cluster {paths.name} uses --net {facts.net}; `down --purge` it before choosing another")
    return OwnEngine(OwnCluster(paths, facts, Binaries(paths.cache, progress), progress))


def _new_facts(engine: Engine, paths: Paths, choice: Choice) -> Facts:
    if engine is Engine.CONTROL_PLANE:
        return Facts(engine, ports=free_ports())
    if choice.net is not None:
        return Facts(engine, checked_net(choice.net).net)
    reserved = facts_file.reserved_nets(paths.cache, paths.name)
    taken = routes_of_machine() if shutil.which("ip") else []
    return Facts(engine, choose_net(taken, reserved).net, Ports())


def describe(paths: Paths, progress: Progress) -> Report:
    """What runs and where its files are. Changes nothing."""
    facts = facts_file.read(paths.facts)
    report: Report = {"name": paths.name, "engine": facts.engine.value if facts else None, "running": False}
    if facts is None:
        return report
    report["kubeconfig"] = str(paths.kubeconfig)
    if facts.engine not in (Engine.NODE, Engine.CONTROL_PLANE):
        report["running"] = attempt(["kubectl", f"--kubeconfig={paths.kubeconfig}", "get", "--raw", "/readyz"])
        return report
    cluster = OwnCluster(paths, facts, Binaries(paths.cache, progress), progress)
    report |= {
        "running": cluster.healthy(),
        "server": cluster.control_plane.server,
        "state": str(paths.state),
        "audit_log": str(paths.audit_log),
        "logs": str(paths.logs),
        "pids": cluster.supervisor.running(),
    }
    if cluster.addresses:
        report["addresses"] = {
            "node": cluster.addresses.node_ip,
            "pods": cluster.addresses.pod_cidr,
            "services": cluster.addresses.service_cidr,
        }
        report["ctr"] = " ".join(cluster.node.ctr())
    return report


def kubeconfig(paths: Paths) -> Path:
    """The kubeconfig of a cluster that was brought up. Raises ClusterError."""
    if not paths.kubeconfig.exists():
        raise ClusterError(f"there is no cluster {paths.name}; bring it up with `python3 hack/cluster up`")
    return paths.kubeconfig
