"""Certificates, the service account key and kubeconfigs of one cluster, made with openssl."""

import base64
import shutil
from dataclasses import dataclass
from pathlib import Path

from devcluster.commands import run, write_whole

_DAYS = "3650"
_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True, slots=True)
class Party:
    """One certificate: file name, subject and the names it is valid for."""

    file: str
    subject: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Authority:
    """What a cluster's certificates are made for. Another value: everything is made anew."""

    cluster: str
    server: str
    """URL of the API server."""
    api_names: tuple[str, ...]
    node_ip: str | None

    def parties(self) -> tuple[Party, ...]:
        control_plane = (
            Party("apiserver", "/CN=kube-apiserver", self.api_names),
            Party("admin", "/O=system:masters/CN=admin"),
            Party("kube-controller-manager", "/CN=system:kube-controller-manager"),
        )
        if self.node_ip is None:
            return control_plane
        return (
            *control_plane,
            Party("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
            Party("kube-scheduler", "/CN=system:kube-scheduler"),
            Party("kubelet", f"/O=system:nodes/CN=system:node:{self.cluster}"),
            Party("kube-proxy", "/CN=system:kube-proxy"),
            Party("kubelet-server", f"/CN={self.cluster}", (f"IP:{self.node_ip}", f"DNS:{self.cluster}")),
        )


_WITHOUT_KUBECONFIG = {"apiserver", "apiserver-kubelet-client", "kubelet-server"}


def ensure(pki: Path, authority: Authority) -> None:
    """Make everything, or nothing when it was made for the same authority."""
    made_for = pki / "made-for"
    if made_for.exists() and made_for.read_text() == repr(authority):
        return
    shutil.rmtree(pki, ignore_errors=True)
    pki.mkdir(parents=True, mode=0o700)
    certificate, key = pki / "ca.crt", pki / "ca.key"
    subject = f"/CN=modelcycle-{authority.cluster}"
    run(["openssl", "req", "-x509", *_EC, "-days", _DAYS, "-keyout", key, "-out", certificate, "-subj", subject])
    for party in authority.parties():
        _sign(pki, party)
        if party.file not in _WITHOUT_KUBECONFIG:
            write_whole(pki / f"{party.file}.kubeconfig", _kubeconfig(pki, authority, party), mode=0o600)
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", pki / "sa.key"])
    run(["openssl", "ec", "-in", pki / "sa.key", "-pubout", "-out", pki / "sa.pub"])
    write_whole(made_for, repr(authority))


def _sign(pki: Path, party: Party) -> None:
    base = pki / party.file
    run(["openssl", "req", *_EC, "-keyout", f"{base}.key", "-out", f"{base}.csr", "-subj", party.subject])
    names = party.names or (f"DNS:{party.file}",)
    (pki / f"{party.file}.ext").write_text(f"subjectAltName={','.join(names)}\n")
    signer: list[str | Path] = ["-CA", pki / "ca.crt", "-CAkey", pki / "ca.key", "-CAcreateserial", "-days", _DAYS]
    run(["openssl", "x509", "-req", "-in", f"{base}.csr", *signer, "-extfile", f"{base}.ext", "-out", f"{base}.crt"])


def _kubeconfig(pki: Path, authority: Authority, party: Party) -> str:
    def inline(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    name = f"modelcycle-{authority.cluster}"
    return f"""apiVersion: v1
kind: Config
clusters:
- name: {name}
  cluster: {{server: "{authority.server}", certificate-authority-data: {inline(pki / "ca.crt")}}}
users:
- name: {name}-{party.file}
  user:
    client-certificate-data: {inline(pki / f"{party.file}.crt")}
    client-key-data: {inline(pki / f"{party.file}.key")}
contexts:
- name: {name}
  context: {{cluster: {name}, user: {name}-{party.file}}}
current-context: {name}
"""
