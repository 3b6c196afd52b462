"""Clusters that others run: kind in Docker, and whatever the user's kubectl points to. Images come from `docker build`."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devcluster import addons, toolchain
from devcluster.binaries import IN_IMAGES, Binaries
from devcluster.commands import ClusterError, run, write_whole
from devcluster.facts import Engine, Facts
from devcluster.image_specs import PROGRAM_IMAGES, Image, images_env
from devcluster.paths import REPOSITORY, Paths
from devcluster.progress import Progress

KIND_CONFIG = REPOSITORY / "kind-config.yaml"


def docker_build(image: Image, tag: str, paths: Paths, progress: Progress) -> None:
    """Build with Docker; its own cache tells what changed."""
    context = REPOSITORY
    if image.binary:
        binaries = Binaries(paths.cache, progress)
        binaries.ensure([IN_IMAGES[image.binary]])
        context = binaries.home(IN_IMAGES[image.binary])
    with progress.step(f"docker build {tag}"):
        run(["docker", "build", "--quiet", "-f", REPOSITORY / image.dockerfile, "-t", tag, context], timeout=3600)


def deployment_ready(kubectl: addons.Kubectl, namespace: str, name: str) -> bool:
    found: dict[str, Any] = json.loads(kubectl("-n", namespace, "get", "deployment", name, "-o", "json"))
    status, wanted = found.get("status", {}), found["spec"].get("replicas", 1)
    current = status.get("observedGeneration") == found["metadata"]["generation"]
    return bool(current and status.get("updatedReplicas", 0) == status.get("availableReplicas", 0) == wanted)


def apply(component: addons.Component, image: str, paths: Paths, progress: Progress) -> None:
    kubectl = addons.Kubectl(toolchain.kubectl(paths.cache, progress), paths.kubeconfig)
    addons.apply_component(
        kubectl, lambda space, name: deployment_ready(kubectl, space, name), component, image, progress
    )


@dataclass(frozen=True, slots=True)
class KindEngine:
    """Kubernetes in Docker: one control plane and one worker, from kind-config.yaml."""

    paths: Paths
    progress: Progress

    def check(self) -> None:
        for program in ("docker", "kind"):
            run([program, "version"], timeout=20)
        self.progress.say("here: kind, one control plane and one worker in Docker")

    def build(self) -> None:
        self.progress.say("kind brings its own programs: nothing to build")

    def up(self) -> None:
        if self.paths.name in run(["kind", "get", "clusters"]).split():
            run(["kind", "export", "kubeconfig", "--name", self.paths.name, "--kubeconfig", self.paths.kubeconfig])
            self.progress.cached(f"kind cluster {self.paths.name}")
            return
        Facts(Engine.KIND).write(self.paths.facts)
        with self.progress.step(f"kind create cluster {self.paths.name}"):
            where = ["--name", self.paths.name, "--kubeconfig", str(self.paths.kubeconfig)]
            run(["kind", "create", "cluster", "--config", KIND_CONFIG, "--wait", "180s", *where], timeout=1200)

    def down(self) -> None:
        with self.progress.step(f"kind delete cluster {self.paths.name}"):
            run(["kind", "delete", "cluster", "--name", self.paths.name], timeout=300)
        self.purge()

    def purge(self) -> None:
        for file in (self.paths.facts, self.paths.kubeconfig, self.paths.images_env):
            file.unlink(missing_ok=True)

    def images(self) -> None:
        digests = {image.tag: self._load(image) for image in PROGRAM_IMAGES}
        write_whole(self.paths.images_env, images_env(digests))

    def install(self, component: addons.Component) -> None:
        apply(component, self._load(component.image), self.paths, self.progress)

    def _load(self, image: Image) -> str:
        """Load into every kind node, and give it the name with digest that pods ask for."""
        docker_build(image, image.tag, self.paths, self.progress)
        with self.progress.step(f"load {image.tag} into kind"):
            run(["kind", "load", "docker-image", image.tag, "--name", self.paths.name], timeout=900)
            pinned = ""
            for node in run(["kind", "get", "nodes", "--name", self.paths.name]).split():
                ctr = ["docker", "exec", node, "ctr", "-n", "k8s.io", "images"]
                digest = run([*ctr, "ls", f"name=={image.tag}"]).splitlines()[1].split()[2]
                pinned = f"{image.tag.rpartition(':')[0]}@{digest}"
                run([*ctr, "tag", "--force", image.tag, pinned])
        return pinned


@dataclass(frozen=True, slots=True)
class ExistingEngine:
    """The current context of the user's kubectl: nothing is started or stopped, images go through a registry."""

    paths: Paths
    progress: Progress
    env: Mapping[str, str]

    def check(self) -> None:
        if not self.env.get("IMAGE_PREFIX"):
            raise ClusterError("set IMAGE_PREFIX to a registry that the cluster pulls from and you may push to")
        self.progress.say("here: the cluster of your current context")

    def build(self) -> None:
        self.progress.say("an existing cluster is used as it is: nothing to build")

    def up(self) -> None:
        kubectl = toolchain.kubectl(self.paths.cache, self.progress)
        context = run([kubectl, "config", "current-context"]).strip()
        if self.env.get("YES") != "1" and not self._agreed(context):
            raise ClusterError("nothing was done")
        write_whole(
            self.paths.kubeconfig, run([kubectl, "config", "view", "--minify", "--flatten", "--raw"]), mode=0o600
        )
        run([kubectl, f"--kubeconfig={self.paths.kubeconfig}", "get", "--raw", "/readyz"], timeout=30)
        Facts(Engine.EXISTING).write(self.paths.facts)
        self.progress.say(f"using context {context}")

    def _agreed(self, context: str) -> bool:
        if not sys.stdin.isatty():
            raise ClusterError(f"using context {context} needs a yes: set YES=1 where nobody can be asked")
        return input(f"Install modelcycle for development into context {context}? [y/N] ").strip().lower() in (
            "y",
            "yes",
        )

    def down(self) -> None:
        self.progress.say("an existing cluster is not ours to stop; `make uninstall` takes modelcycle out of it")
        self.purge()

    def purge(self) -> None:
        for file in (self.paths.facts, self.paths.kubeconfig, self.paths.images_env):
            file.unlink(missing_ok=True)

    def images(self) -> None:
        digests = {image.tag: self._push(image) for image in PROGRAM_IMAGES}
        write_whole(self.paths.images_env, images_env(digests))

    def install(self, component: addons.Component) -> None:
        apply(component, self._push(component.image), self.paths, self.progress)

    def _push(self, image: Image) -> str:
        prefix = self.env.get("IMAGE_PREFIX", "").rstrip("/")
        if not prefix:
            raise ClusterError("set IMAGE_PREFIX to a registry that the cluster pulls from and you may push to")
        tag = f"{prefix}/modelcycle-{image.name}:dev"
        docker_build(image, tag, self.paths, self.progress)
        with self.progress.step(f"docker push {tag}"):
            run(["docker", "push", "--quiet", tag], timeout=1800)
        found = run(["docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", tag]).strip()
        if "@sha256:" not in found:
            raise ClusterError(f"docker knows no digest of {tag} after the push")
        return found
