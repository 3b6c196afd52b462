"""The engine for clusters whose processes are ours: glues lifecycle, images and add-ons together."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from devcluster import addons, dns, toolchain
from devcluster.binaries import ALL, CONTROL_PLANE
from devcluster.buildah import Buildah
from devcluster.commands import ClusterError, wait_for, write_whole
from devcluster.containerd_images import ContainerdImages
from devcluster.facts import Engine
from devcluster.image_specs import COREDNS, PAUSE, PROGRAM_IMAGES, images_env
from devcluster.lifecycle import OwnCluster, purge


@dataclass(frozen=True, slots=True)
class OwnEngine:
    """A node, or a control plane alone."""

    cluster: OwnCluster

    def check(self) -> None:
        self.cluster.check()

    def build(self) -> None:
        self.cluster.prepare()
        node = self.cluster.facts.engine is Engine.NODE
        self.cluster.binaries.ensure(ALL if node else CONTROL_PLANE)

    def up(self) -> None:
        cluster = self.cluster
        if cluster.current() and cluster.healthy() and self._settled():
            cluster.write_kubeconfig()
            cluster.progress.say(f"cluster {cluster.paths.name} is running: {cluster.paths.kubeconfig}")
            return
        cluster.prepare()
        cluster.start()
        if cluster.addresses:
            self._furnish()
        cluster.progress.say(f"cluster {cluster.paths.name} is up: export KUBECONFIG={cluster.paths.kubeconfig}")

    def down(self) -> None:
        cluster = self.cluster
        if not cluster.paths.state.exists():
            cluster.progress.say(f"cluster {cluster.paths.name} is not there")
            return
        with cluster.progress.step(f"stop cluster {cluster.paths.name}"):
            cluster.stop()

    def purge(self) -> None:
        purge(self.cluster.paths)

    def images(self) -> None:
        self._require_up()
        builder, target = self._builder(), self._target()
        digests = {image.tag: target.ensure(builder.ensure(image)) for image in PROGRAM_IMAGES}
        write_whole(self.cluster.paths.images_env, images_env(digests))
        self.cluster.progress.say(f"digests in {self.cluster.paths.images_env}")

    def install(self, component: addons.Component) -> None:
        self._require_up()
        pinned = self._target().ensure(self._builder().ensure(component.image))
        ready = self.cluster.api.deployment_ready
        addons.apply_component(self._kubectl(), ready, component, pinned, self.cluster.progress)

    def _furnish(self) -> None:
        """Pause image, names, volumes; then wait until pods can use them."""
        cluster = self.cluster
        target, builder = self._target(), self._builder()
        for image in (PAUSE, COREDNS):
            target.ensure(builder.ensure(image))
        with cluster.progress.step("node ready, DNS and volumes"):
            cluster.wait_for_node()
            kubectl = self._kubectl()
            addons.apply_dns(kubectl, cluster.node.addresses)
            addons.apply_volumes(kubectl, cluster.api, cluster.paths.state / "volumes", _remove_tree)
            wait_for("DNS ready", self._dns_ready, seconds=90, hint="See `kubectl -n kube-system describe pods`.")

    def _settled(self) -> bool:
        if self.cluster.addresses is None:
            return True
        return self._dns_ready() and not self._released_volumes()

    def _dns_ready(self) -> bool:
        server = self.cluster.node.addresses.dns_service_ip
        rolled_out = self.cluster.api.deployment_ready("kube-system", "coredns")
        return rolled_out and dns.resolves(server, "kubernetes.default.svc.cluster.local")

    def _released_volumes(self) -> bool:
        items = self.cluster.api.object("/api/v1/persistentvolumes").get("items", [])
        return len(items) == 0 or any(item["status"].get("phase") == "Released" for item in items)

    def _require_up(self) -> None:
        if not self.cluster.healthy():
            raise ClusterError(
                f"cluster {self.cluster.paths.name} does not run; start it with `python3 hack/cluster up`"
            )

    def _builder(self) -> Buildah:
        return Buildah(self.cluster.paths.cache, self.cluster.binaries, self.cluster.progress)

    def _target(self) -> ContainerdImages:
        return ContainerdImages(self.cluster.node.ctr(), self.cluster.progress)

    def _kubectl(self) -> addons.Kubectl:
        program = toolchain.kubectl(self.cluster.paths.cache, self.cluster.progress)
        return addons.Kubectl(program, self.cluster.paths.kubeconfig)


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
