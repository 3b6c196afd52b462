"""What a bare cluster needs before pods can be useful: names, volumes; and the components that tests and the demo use."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devcluster.addresses import NodeAddresses
from devcluster.api import Api
from devcluster.commands import run, wait_for
from devcluster.image_specs import PROMETHEUS, STORE, Image
from devcluster.paths import REPOSITORY
from devcluster.progress import Progress

_COMPONENTS = REPOSITORY / "manifests/components"
_DNS_ADDRESS_IN_MANIFEST = "10.90.0.10"
_VOLUMES = 8


@dataclass(frozen=True, slots=True)
class Component:
    """A folder of manifests/components with one Deployment of the same name and one image of ours."""

    name: str
    image: Image
    port: int

    @property
    def namespace(self) -> str:
        return f"modelcycle-{self.name}"


COMPONENTS = {
    component.name: component
    for component in (Component("store", STORE, 7070), Component("prometheus", PROMETHEUS, 9090))
}


class Kubectl:
    """kubectl bound to one kubeconfig."""

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        self._words = (str(program), f"--kubeconfig={kubeconfig}")

    def __call__(self, *words: str | Path, stdin: str | None = None) -> str:
        # Discovery is cached per server address; clusters come and go at the same one.
        env = {**os.environ, "KUBECACHEDIR": str(REPOSITORY / ".cluster/discovery")}
        return run([*self._words, *words], stdin=stdin, env=env, timeout=120)

    def apply(self, manifests: str) -> None:
        self("apply", "--server-side", "--force-conflicts", "--field-manager=hack-cluster", "-f", "-", stdin=manifests)

    def render(self, component: str) -> str:
        return self("kustomize", _COMPONENTS / component)


def apply_dns(kubectl: Kubectl, addresses: NodeAddresses) -> None:
    """CoreDNS at the address that the kubelet writes into every pod."""
    kubectl.apply(kubectl.render("dns").replace(_DNS_ADDRESS_IN_MANIFEST, addresses.dns_service_ip))


def volumes(folder: Path) -> str:
    """A default StorageClass `standard` and ready-made volumes for it: no provisioner, the first claim takes one."""
    documents = [
        """apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
"""
    ]
    documents += [
        f"""apiVersion: v1
kind: PersistentVolume
metadata: {{name: local-{number}}}
spec:
  capacity: {{storage: 10Gi}}
  accessModes: [ReadWriteOnce, ReadWriteMany, ReadOnlyMany]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: standard
  hostPath: {{path: {folder}/local-{number}, type: Directory}}
"""
        for number in range(1, _VOLUMES + 1)
    ]
    return "---\n".join(documents)


def apply_volumes(kubectl: Kubectl, api: Api, folder: Path, empty: Callable[[Path], None]) -> None:
    """Volumes whose claim is gone are emptied and offered again."""
    for item in api.object("/api/v1/persistentvolumes").get("items", []):
        if item["status"].get("phase") == "Released" and item["metadata"]["name"].startswith("local-"):
            kubectl("delete", "persistentvolume", item["metadata"]["name"], "--timeout=30s")
            empty(folder / item["metadata"]["name"])
    for number in range(1, _VOLUMES + 1):
        path = folder / f"local-{number}"
        path.mkdir(parents=True, exist_ok=True)
        # A hostPath volume gets no group from the pod, so that the folder itself must let every user write.
        path.chmod(0o777)
    kubectl.apply(volumes(folder))


def apply_component(
    kubectl: Kubectl, ready: Callable[[str, str], bool], component: Component, image: str, progress: Progress
) -> None:
    """The component with the image just built."""
    name, namespace = component.name, component.namespace
    with progress.step(f"apply {name}"):
        kubectl.apply(kubectl.render(name).replace(component.image.tag, image))
        wait_for(
            f"{name} ready",
            lambda: ready(namespace, name),
            seconds=120,
            hint=f"See `kubectl -n {namespace} describe pods`.",
        )
    progress.say(f"    in the cluster: http://{name}.{namespace}.svc:{component.port}")
