"""Brings a cluster of our own up and down. Each step can be repeated, so a call after a crash completes or clears it."""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from devcluster import control_plane, node, pki, prerequisites, remains
from devcluster.addresses import NodeAddresses
from devcluster.api import Api
from devcluster.binaries import CONTROL_PLANE, NODE, RUNC, Binaries
from devcluster.commands import ClusterError, attempt, wait_for, write_whole
from devcluster.control_plane import ControlPlane
from devcluster.facts import Engine, Facts
from devcluster.network import Network
from devcluster.node import Node
from devcluster.paths import Paths
from devcluster.processes import Command, Supervisor, stop_all
from devcluster.progress import Progress

# Clients before servers: an API server that loses its etcd first drains for minutes.
STOP_ORDER = ("kube-proxy", "kubelet", "kube-scheduler", "controller-manager", "apiserver", "etcd", "containerd")
_CONTROL_PLANE_NAMES = {"etcd", "apiserver", "controller-manager"}


@dataclass(frozen=True, slots=True)
class OwnCluster:
    """A cluster whose processes are ours: a node, or a control plane alone."""

    paths: Paths
    facts: Facts
    binaries: Binaries
    progress: Progress

    @property
    def addresses(self) -> NodeAddresses | None:
        return NodeAddresses(self.facts.net) if self.facts.engine is Engine.NODE else None

    @property
    def control_plane(self) -> ControlPlane:
        return ControlPlane(self.paths, self.binaries, self.facts.ports, self.addresses)

    @property
    def node(self) -> Node:
        if self.addresses is None:
            raise ClusterError(f"cluster {self.paths.name} is a control plane alone: it has no node")
        return Node(self.paths, self.binaries, self.addresses)

    @property
    def network(self) -> Network | None:
        return Network(self.paths.name, self.addresses) if self.addresses else None

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.paths.records, self.paths.logs, self.network.enter if self.network else ())

    @property
    def api(self) -> Api:
        return Api(self.control_plane.server, self.paths.pki)

    def expected(self) -> set[str]:
        return set(STOP_ORDER) if self.addresses else _CONTROL_PLANE_NAMES

    def healthy(self) -> bool:
        """All processes run, the API server is ready and so is the node."""
        running = self.supervisor.running()
        alive = self.expected() <= running.keys() and self.api.ready()
        return alive and (self.addresses is None or self.api.node_ready(self.paths.name))

    def blueprint(self) -> str:
        """What a start would run: programs by their build, and the modules that write command lines and settings."""
        homes = [self.binaries.home(program).name for program in (NODE if self.addresses else CONTROL_PLANE)]
        sources = [Path(module.__file__ or "").read_bytes() for module in (control_plane, node, pki)]
        return hashlib.sha256("\n".join(homes).encode() + b"".join(sources)).hexdigest()[:16]

    def current(self) -> bool:
        """What runs was started by this version of the code."""
        made = self.paths.conf / "blueprint"
        return made.exists() and made.read_text() == self.blueprint()

    def check(self) -> None:
        """It can run here, or ClusterError with what to do. Takes no time and changes nothing."""
        if self.addresses is None:
            prerequisites.check(prerequisites.PKI)
            return
        prerequisites.require_root(os.geteuid())
        prerequisites.check((*prerequisites.NODE, *prerequisites.IMAGES))
        unbuilt = [program.folder for program in self.binaries.missing(NODE)]
        first = f"; first {', '.join(unbuilt)} are built, about 8 minutes on two cores" if unbuilt else ""
        self.progress.say(f"here: a one-node Kubernetes of our own{first}")

    def prepare(self) -> None:
        """Prerequisites and programs; what `build` does ahead of time."""
        if self.addresses is None:
            prerequisites.ensure(prerequisites.PKI, self.progress)
            self.binaries.ensure(CONTROL_PLANE)
            return
        prerequisites.require_root(os.geteuid())
        compiling = prerequisites.BUILD_RUNC if self.binaries.missing([RUNC]) else ()
        prerequisites.ensure((*prerequisites.NODE, *compiling), self.progress)
        self.binaries.ensure(NODE)

    def start(self) -> None:
        """Start what does not run, in order, until the API server answers and the node has registered."""
        self.facts.write(self.paths.facts)
        with self.progress.step("certificates and configuration"):
            pki.ensure(self.paths.pki, self.control_plane.authority())
            self.control_plane.write_configuration()
            if self.addresses:
                self.node.write_configuration()
        if self.network:
            self.network.up()
        with self.progress.step(f"control plane at {self.control_plane.server}"):
            self._start_control_plane()
        if self.addresses:
            with self.progress.step("node"):
                self._start_node()
        write_whole(self.paths.conf / "blueprint", self.blueprint())
        self.write_kubeconfig()

    def write_kubeconfig(self) -> None:
        write_whole(self.paths.kubeconfig, (self.paths.pki / "admin.kubeconfig").read_text(), mode=0o600)

    def _start_control_plane(self) -> None:
        self._ensure(self.control_plane.etcd())
        self._ensure(self.control_plane.api_server())
        self._wait("apiserver", "API server ready", self.api.ready, seconds=90)
        self._ensure(self.control_plane.controller_manager())

    def _start_node(self) -> None:
        # No pod process is left from before: what the API server says of running containers is old.
        old_before = None if remains.cgroup_processes(self.paths.name) else _now()
        remains.make_cgroups(self.paths.name)
        for command in (self.node.scheduler(), self.node.containerd()):
            self._ensure(command)
        self._wait("containerd", "containerd ready", lambda: attempt([*self.node.ctr(), "version"]), seconds=30)
        for command in (self.node.kubelet(), self.node.kube_proxy()):
            self._ensure(command)
        if old_before is not None:
            moment = old_before
            self._wait(
                "kubelet", "pods of the last run told apart", lambda: not self.api.claims_older_than(moment), seconds=60
            )

    def wait_for_node(self) -> None:
        self._wait("kubelet", "node ready", lambda: self.api.node_ready(self.paths.name), seconds=90)

    def _ensure(self, command: Command) -> None:
        home = os.environ.get("HOME", "/")
        path = self.node.search_path if self.addresses else os.environ.get("PATH", "/usr/bin:/bin")
        if self.supervisor.ensure(command, {"PATH": path, "HOME": home}):
            self.progress.say(f"    started {command.name}")

    def _wait(self, name: str, what: str, check: Callable[[], bool], *, seconds: float) -> None:
        try:
            wait_for(what, check, seconds=seconds)
        except ClusterError as error:
            raise ClusterError(f"{error} Last lines of its log:\n    {self.supervisor.log_tail(name)}") from error

    def stop(self) -> None:
        """End every process and take away all that is left in the kernel; the state on disk stays."""
        supervisor, name = self.supervisor, self.paths.name
        known = [*STOP_ORDER, *(set(supervisor.names()) - set(STOP_ORDER))]
        if not self.addresses:
            for each in known:
                supervisor.stop(each)
            return
        for each in ("kube-proxy", "kubelet"):
            supervisor.stop(each)
        remains.kill_pods(name)
        # containerd ends its shims when it sees their pods end; one that is gone already cannot.
        if supervisor.record("containerd"):
            self._await_shims()
        for each in known:
            supervisor.stop(each)
        sockets = remains.shim_sockets(self.paths.state)
        stop_all(remains.shims(self.paths.containerd_socket), grace_seconds=1)
        remains.kill_pods(name)
        remains.unmount_below(self.paths.state)
        remains.remove_cgroups(name)
        if self.network:
            self.network.down()
        remains.remove_outside_files(self.paths.state, self.node.cni_network, sockets)

    def _await_shims(self) -> None:
        try:
            wait_for("pods ended", lambda: not remains.shims(self.paths.containerd_socket), seconds=5)
        except ClusterError:
            self.progress.say("    some pod helpers did not end by themselves; ending them")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def purge(paths: Paths) -> None:
    """Remove the state of a cluster that is down. Programs and images of the cache stay."""
    shutil.rmtree(paths.state, ignore_errors=True)
    for file in (paths.kubeconfig, paths.images_env):
        file.unlink(missing_ok=True)
