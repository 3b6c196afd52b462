"""Configuration and command lines of what makes a node: containerd, kubelet, kube-proxy, scheduler."""

import json
from dataclasses import dataclass
from pathlib import Path

from devcluster.addresses import NodeAddresses
from devcluster.binaries import CONTAINERD, KUBERNETES, RUNC, Binaries
from devcluster.commands import write_whole
from devcluster.paths import Paths
from devcluster.processes import Command

PAUSE_IMAGE = "localhost/modelcycle-pause:dev"
CNI_PLUGINS = "/usr/lib/cni"


@dataclass(frozen=True, slots=True)
class Node:
    """The one node of a cluster; it has the cluster's name."""

    paths: Paths
    binaries: Binaries
    addresses: NodeAddresses

    @property
    def cni_network(self) -> str:
        """Names the plugins' result files outside of the state, so that `down` finds its own."""
        return f"modelcycle-{self.paths.name}"

    @property
    def search_path(self) -> str:
        """containerd finds its shim and runc on the PATH."""
        own = f"{self.binaries.home(CONTAINERD)}:{self.binaries.home(RUNC)}"
        return f"{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    def ctr(self) -> tuple[str, ...]:
        """Words that begin a call of containerd's own client."""
        return (str(self.binaries.path(CONTAINERD, "ctr")), "-a", str(self.paths.containerd_socket), "-n", "k8s.io")

    def write_configuration(self) -> None:
        conf = self.paths.conf
        write_whole(conf / "cni/10-modelcycle.conflist", json.dumps(self._cni(), indent=1))
        write_whole(conf / "containerd.toml", self._containerd())
        write_whole(conf / "resolv.conf", f"nameserver {self.addresses.dns_service_ip}\n")
        write_whole(conf / "kubelet.yaml", self._kubelet())
        write_whole(conf / "kube-proxy.yaml", self._kube_proxy())

    def containerd(self) -> Command:
        file = self.paths.conf / "containerd.toml"
        binary = self.binaries.path(CONTAINERD, "containerd")
        return Command("containerd", (str(binary), "-c", str(file)), (file,))

    def scheduler(self) -> Command:
        kubeconfig = f"--kubeconfig={self.paths.pki / 'kube-scheduler.kubeconfig'}"
        return self._kubernetes("kube-scheduler", kubeconfig, "--leader-elect=false", "--profiling=false")

    def kubelet(self) -> Command:
        config = self.paths.conf / "kubelet.yaml"
        return self._kubernetes(
            "kubelet",
            f"--config={config}",
            f"--kubeconfig={self.paths.pki / 'kubelet.kubeconfig'}",
            f"--hostname-override={self.paths.name}",
            f"--node-ip={self.addresses.node_ip}",
            f"--root-dir={self.paths.state / 'kubelet'}",
            f"--cert-dir={self.paths.pki}",
            watched=(config,),
        )

    def kube_proxy(self) -> Command:
        config = self.paths.conf / "kube-proxy.yaml"
        return self._kubernetes("kube-proxy", f"--config={config}", watched=(config,))

    def _kubernetes(self, name: str, *words: str, watched: tuple[Path, ...] = ()) -> Command:
        made_for = self.paths.pki / "made-for"
        return Command(name, (str(self.binaries.path(KUBERNETES, name)), *words), (*watched, made_for))

    def _cni(self) -> dict[str, object]:
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.paths.state / "ipam"),
                "ranges": [[{"subnet": self.addresses.node_pod_cidr}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "0.4.0", "name": self.cni_network, "plugins": [bridge, portmap]}

    def _containerd(self) -> str:
        state = self.paths.state
        return f"""version = 3
root = "{state}/containerd"
state = "{state}/containerd-state"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
  address = "{self.paths.containerd_socket}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  # Where CAP_SYS_RESOURCE is missing, runc fails without it.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{CNI_PLUGINS}"]
  conf_dir = "{self.paths.conf}/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
  # By default all containerds of a machine share one folder for this.
  Root = "{state}/runc"
"""

    def _kubelet(self) -> str:
        paths = self.paths
        return f"""apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {paths.pki}/ca.crt}}}}
authorization: {{mode: Webhook}}
tlsCertFile: {paths.pki}/kubelet-server.crt
tlsPrivateKeyFile: {paths.pki}/kubelet-server.key
containerRuntimeEndpoint: unix://{paths.containerd_socket}
cgroupDriver: cgroupfs
# Kubelets that share a cgroup root or a log folder delete each other's pods.
cgroupRoot: /{paths.name}
podLogsDir: {paths.state}/pod-logs
failCgroupV1: false
failSwapOn: false
clusterDNS: [{self.addresses.dns_service_ip}]
clusterDomain: cluster.local
resolvConf: {paths.conf}/resolv.conf
evictionHard: {{memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}}
# Images come from an import, not from a registry: one that is collected would be gone.
imageGCHighThresholdPercent: 100
"""

    def _kube_proxy(self) -> str:
        return f"""apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {{kubeconfig: {self.paths.pki}/kube-proxy.kubeconfig}}
mode: nftables
clusterCIDR: {self.addresses.pod_cidr}
hostnameOverride: {self.paths.name}
conntrack: {{maxPerCore: 0}}
"""
