"""Builds the cluster's programs from Go modules, once per content of go.mod, go.sum and build flags."""

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import toolchain
from devcluster.commands import locked, run
from devcluster.paths import REPOSITORY
from devcluster.progress import Progress

GO_FOLDERS = REPOSITORY / "hack/cluster/go"


@dataclass(frozen=True, slots=True)
class GoProgram:
    """One folder below hack/cluster/go: its commands by file name, and how they are built."""

    folder: str
    commands: tuple[tuple[str, str], ...]
    tags: str = ""
    cgo: str = "0"
    version_of: str = ""
    """Module whose version is stamped as the Kubernetes version; empty: none."""


_K8S = "k8s.io/kubernetes/cmd"
ETCD = GoProgram("etcd", (("etcd", "go.etcd.io/etcd/server/v3"),))
KUBERNETES = GoProgram(
    "kubernetes",
    tuple(
        (name, f"{_K8S}/{name}")
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")
    ),
    version_of="k8s.io/kubernetes",
)
CONTAINERD = GoProgram(
    "containerd",
    tuple(
        (name, f"github.com/containerd/containerd/v2/cmd/{name}")
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    ),
    tags="no_btrfs no_zfs no_devmapper no_aufs",
)
RUNC = GoProgram("runc", (("runc", "github.com/opencontainers/runc"),), tags="seccomp", cgo="1")
COREDNS = GoProgram("coredns", (("coredns", "github.com/coredns/coredns"),))
VERSITYGW = GoProgram("versitygw", (("versitygw", "github.com/versity/versitygw/cmd/versitygw"),))
FAKE_GCS_SERVER = GoProgram("fake-gcs-server", (("fake-gcs-server", "github.com/fsouza/fake-gcs-server"),))
"""For tests alone, beside no cluster."""
# Discovery of other clouds would be nine tenths of the program. promtool stays out of the image: tests run the rules with it.
PROMETHEUS = GoProgram(
    "prometheus",
    tuple((name, f"github.com/prometheus/prometheus/cmd/{name}") for name in ("prometheus", "promtool")),
    tags="remove_all_sd,enable_kubernetes_sd,enable_file_sd",
)

CONTROL_PLANE = (ETCD, KUBERNETES)
NODE = (ETCD, KUBERNETES, CONTAINERD, RUNC, COREDNS)
ALL = (*NODE, VERSITYGW, PROMETHEUS)
IN_IMAGES = {"coredns": COREDNS, "versitygw": VERSITYGW, "prometheus": PROMETHEUS}
"""Programs that images are made around, by the name of their command."""


def link_flags(program: GoProgram, go_mod: str) -> str:
    """The -ldflags; Kubernetes reports the version that go.mod pins."""
    flags = "-s -w"
    if program.version_of:
        found = re.search(rf"^\s*{re.escape(program.version_of)} v(\d+)\.(\d+)(\S*)", go_mod, re.MULTILINE)
        if found:
            at = "-X k8s.io/component-base/version.git"
            version = f"v{found[1]}.{found[2]}{found[3]}"
            flags += f" {at}Version={version} {at}Major={found[1]} {at}Minor={found[2]}"
    return flags


def build_key(program: GoProgram, folder: Path) -> str:
    """What the result depends on, as 12 hex digits."""
    go_mod = (folder / "go.mod").read_text()
    digest = hashlib.sha256()
    for part in (go_mod, (folder / "go.sum").read_text(), program.tags, program.cgo, link_flags(program, go_mod)):
        digest.update(part.encode() + b"\0")
    digest.update(repr(program.commands).encode())
    return digest.hexdigest()[:12]


class Binaries:
    """Paths of built programs; builds what is missing."""

    def __init__(self, cache: Path, progress: Progress, folders: Path = GO_FOLDERS) -> None:
        self._cache = cache
        self._progress = progress
        self._folders = folders

    def home(self, program: GoProgram) -> Path:
        """Where the built program lies, or will."""
        return self._cache / "bin" / f"{program.folder}-{build_key(program, self._folders / program.folder)}"

    def path(self, program: GoProgram, command: str) -> Path:
        return self.home(program) / command

    def missing(self, programs: Sequence[GoProgram]) -> list[GoProgram]:
        return [program for program in programs if not self.home(program).is_dir()]

    def ensure(self, programs: Sequence[GoProgram]) -> None:
        """Build what is missing. One build at a time on a machine, so that two do not fight for its cores."""
        if not self.missing(programs):
            self._progress.cached("programs (" + ", ".join(p.folder for p in programs) + ")")
            return
        with locked(self._cache / ".build.lock"):
            for program in self.missing(programs):
                with self._progress.step(f"build {program.folder} from its Go module"):
                    self._build(program)

    def _build(self, program: GoProgram) -> None:
        folder = self._folders / program.folder
        home = self.home(program)
        scratch = home.with_name(f".{home.name}")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        compiler = toolchain.go(self._cache, self._progress)
        flags = ["-trimpath", "-buildvcs=false", "-ldflags", link_flags(program, (folder / "go.mod").read_text())]
        if program.tags:
            flags += ["-tags", program.tags]
        env = {**os.environ, "CGO_ENABLED": program.cgo, "GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "auto"}
        if len(program.commands) > 1:
            # One call builds the packages they share once; Go names the files after the folders.
            run(
                [compiler, "build", *flags, "-o", f"{scratch}/", *(path for _, path in program.commands)],
                cwd=folder,
                env=env,
            )
        else:
            name, path = program.commands[0]
            run([compiler, "build", *flags, "-o", scratch / name, path], cwd=folder, env=env)
        os.replace(scratch, home)
