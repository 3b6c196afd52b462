"""Which addresses and ports a cluster uses. Pure, except that it asks the kernel for free ports."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network

from devcluster.commands import ClusterError

CANDIDATES = range(88, 253, 4)


@dataclass(frozen=True, slots=True)
class NodeAddresses:
    """Three neighbouring networks 10.<net>, 10.<net+1> and 10.<net+2>: link, pods, Services."""

    net: int

    @property
    def host_ip(self) -> str:
        return f"10.{self.net}.0.1"

    @property
    def node_ip(self) -> str:
        return f"10.{self.net}.0.2"

    @property
    def link_cidr(self) -> str:
        return f"10.{self.net}.0.0/30"

    @property
    def pod_cidr(self) -> str:
        return f"10.{self.net + 1}.0.0/16"

    @property
    def node_pod_cidr(self) -> str:
        return f"10.{self.net + 1}.0.0/24"

    @property
    def service_cidr(self) -> str:
        return f"10.{self.net + 2}.0.0/16"

    @property
    def api_service_ip(self) -> str:
        return f"10.{self.net + 2}.0.1"

    @property
    def dns_service_ip(self) -> str:
        return f"10.{self.net + 2}.0.10"

    def networks(self) -> tuple[IPv4Network, ...]:
        return IPv4Network(self.link_cidr), IPv4Network(self.pod_cidr), IPv4Network(self.service_cidr)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the control plane listens."""

    api: int = 6443
    etcd: int = 2379
    etcd_peer: int = 2380


def choose_net(taken: Iterable[IPv4Network], reserved: Iterable[int] = ()) -> NodeAddresses:
    """The first free candidate. `taken` are the machine's routes, `reserved` the nets of clusters that are down.

    Raises ClusterError when all are taken.
    """
    routes = [network for network in taken if network.prefixlen > 0]
    kept = set(reserved)
    for net in CANDIDATES:
        plan = NodeAddresses(net)
        if net not in kept and not any(mine.overlaps(other) for mine in plan.networks() for other in routes):
            return plan
    raise ClusterError("every network of 10.88.0.0 to 10.254.255.255 is taken on this machine: choose one with --net")


def checked_net(net: int) -> NodeAddresses:
    """A net that the user chose. Raises ClusterError."""
    if not 1 <= net <= 253:
        raise ClusterError(f"--net {net}: give a number of 1 to 253; the cluster uses 10.<net> to 10.<net+2>")
    return NodeAddresses(net)


def free_ports() -> Ports:
    """Three loopback ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(3)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        numbers = [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
    return Ports(*numbers)
