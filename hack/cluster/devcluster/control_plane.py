"""Command lines of etcd, API server and controller manager. Pure, except for writing the audit policy."""

from dataclasses import dataclass
from pathlib import Path

from devcluster.addresses import NodeAddresses, Ports
from devcluster.binaries import ETCD, KUBERNETES, Binaries
from devcluster.commands import write_whole
from devcluster.paths import Paths
from devcluster.pki import Authority
from devcluster.processes import Command

# Every write with its user and object, once; reads are left out so that an idle operator leaves an empty log.
AUDIT_POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
"""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """One control plane; `node` is None when it runs alone on loopback."""

    paths: Paths
    binaries: Binaries
    ports: Ports
    node: NodeAddresses | None

    @property
    def host(self) -> str:
        return self.node.node_ip if self.node else "127.0.0.1"

    @property
    def server(self) -> str:
        return f"https://{self.host}:{self.ports.api}"

    @property
    def service_cidr(self) -> str:
        return self.node.service_cidr if self.node else "10.0.0.0/24"

    def authority(self) -> Authority:
        in_cluster = ["localhost", *(f"kubernetes{end}" for end in ("", ".default", ".default.svc"))]
        addresses = ["127.0.0.1", *([self.node.node_ip, self.node.api_service_ip] if self.node else [])]
        names = (*(f"IP:{a}" for a in addresses), *(f"DNS:{n}" for n in in_cluster))
        return Authority(self.paths.name, self.server, names, self.node.node_ip if self.node else None)

    def write_configuration(self) -> None:
        write_whole(self.paths.conf / "audit-policy.yaml", AUDIT_POLICY)

    def etcd(self) -> Command:
        client, peer = f"http://127.0.0.1:{self.ports.etcd}", f"http://127.0.0.1:{self.ports.etcd_peer}"
        return self._command(
            "etcd",
            self.binaries.path(ETCD, "etcd"),
            f"--data-dir={self.paths.state / 'etcd'}",
            # A disposable cluster: a power cut may cost its state, which `down --purge` clears.
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        )

    def api_server(self) -> Command:
        pki = self.paths.pki
        words = [
            f"--etcd-servers=http://127.0.0.1:{self.ports.etcd}",
            f"--advertise-address={self.host}",
            f"--secure-port={self.ports.api}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--service-cluster-ip-range={self.service_cidr}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--profiling=false",
            f"--audit-policy-file={self.paths.conf / 'audit-policy.yaml'}",
            f"--audit-log-path={self.paths.audit_log}",
            "--audit-log-maxsize=200",
            "--audit-log-maxbackup=1",
        ]
        if self.node:
            words += [
                "--allow-privileged=true",
                f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
                f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
                f"--kubelet-certificate-authority={pki / 'ca.crt'}",
                # The node's name resolves nowhere; logs and exec need its address.
                "--kubelet-preferred-address-types=InternalIP",
            ]
        else:
            # Endpoints may not hold a loopback address.
            words += ["--bind-address=127.0.0.1", "--endpoint-reconciler-type=none"]
        watched = (pki / "made-for", self.paths.conf / "audit-policy.yaml")
        return self._command("apiserver", self.binaries.path(KUBERNETES, "kube-apiserver"), *words, watched=watched)

    def controller_manager(self) -> Command:
        pki = self.paths.pki
        words = [
            f"--kubeconfig={pki / 'kube-controller-manager.kubeconfig'}",
            f"--service-account-private-key-file={pki / 'sa.key'}",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--cluster-signing-cert-file={pki / 'ca.crt'}",
            f"--cluster-signing-key-file={pki / 'ca.key'}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--profiling=false",
        ]
        if self.node:
            cidrs = (f"--cluster-cidr={self.node.pod_cidr}", f"--service-cluster-ip-range={self.service_cidr}")
            words += ["--allocate-node-cidrs", *cidrs]
        else:
            words += ["--secure-port=0"]
        binary = self.binaries.path(KUBERNETES, "kube-controller-manager")
        return self._command("controller-manager", binary, *words, watched=(pki / "made-for",))

    def _command(self, name: str, binary: Path, *words: str, watched: tuple[Path, ...] = ()) -> Command:
        return Command(name, (str(binary), *words), watched)
