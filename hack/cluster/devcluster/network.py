"""The network namespace of a node and the link to it. Touches only names that begin with the cluster's name."""

import json
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from devcluster.addresses import NodeAddresses
from devcluster.commands import attempt, run

NAMESPACES = Path("/run/netns")


@dataclass(frozen=True, slots=True)
class Network:
    """One node's namespace `<name>`, with the pair `<name>-host` and `<name>-node`."""

    name: str
    addresses: NodeAddresses

    @property
    def namespace(self) -> Path:
        return NAMESPACES / self.name

    @property
    def enter(self) -> tuple[str, ...]:
        """Words that run a program inside. `ip netns exec` would hide /sys/fs/cgroup from the kubelet."""
        return ("nsenter", f"--net={self.namespace}")

    def up(self) -> None:
        """Make or complete the namespace and its link; every step can be repeated."""
        host, node, plan = f"{self.name}-host", f"{self.name}-node", self.addresses
        if not attempt([*self.enter, "true"]):
            # A file without a namespace behind it is what a crash or a reboot leaves.
            attempt(["ip", "netns", "del", self.name])
            run(["ip", "netns", "add", self.name])
        if not attempt([*self.enter, "ip", "link", "show", node]):
            attempt(["ip", "link", "del", host])
            run(["ip", "link", "add", host, "type", "veth", "peer", "name", node, "netns", self.name])
        run(["ip", "addr", "replace", f"{plan.host_ip}/30", "dev", host])
        run(["ip", "link", "set", host, "up"])
        inside = (
            "ip link set lo up",
            f"ip addr replace {plan.node_ip}/30 dev {node}",
            f"ip link set {node} up",
            f"ip route replace default via {plan.host_ip}",
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
        )
        run([*self.enter, "sh", "-ec", "; ".join(inside)])
        # Pods and Services can be reached from the machine itself.
        for cidr in (plan.pod_cidr, plan.service_cidr):
            run(["ip", "route", "replace", cidr, "via", plan.node_ip])

    def down(self) -> None:
        """Remove link and namespace; the routes go with the link."""
        attempt(["ip", "link", "del", f"{self.name}-host"])
        if self.namespace.exists():
            run(["ip", "netns", "del", self.name])


def routes_of_machine() -> list[IPv4Network]:
    """Every IPv4 network that the machine routes now, so that a new cluster takes none of them."""
    found = []
    for route in json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]"):
        destination = str(route.get("dst", "default"))
        if destination != "default":
            found.append(IPv4Network(destination, strict=False))
    return found
