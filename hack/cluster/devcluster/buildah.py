"""Builds images without an engine: the ordinary Dockerfiles by buildah, on a root file system by mmdebstrap.

Leaves one folder of blobs per image in the cache. The machine's certificates and pip settings are mounted while building, never stored.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devcluster import prerequisites
from devcluster.binaries import IN_IMAGES, Binaries
from devcluster.commands import ClusterError, attempt, locked, run, write_whole
from devcluster.image_specs import BASE_PACKAGES, BASE_SUITE, Image, content_hash
from devcluster.paths import REPOSITORY
from devcluster.progress import Progress

_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Built:
    """A built image: the folder with its manifest and blobs, and the digest of the manifest (`sha256:...`)."""

    image: Image
    folder: Path
    digest: str


class Buildah:
    """One builder per cache; several calls at once take turns."""

    def __init__(self, cache: Path, binaries: Binaries, progress: Progress) -> None:
        self._home = cache / "images"
        self._binaries = binaries
        self._progress = progress

    def ensure(self, image: Image) -> Built:
        """Build the image unless the same inputs were built before."""
        inputs = self._inputs_hash(image)
        built = self._find(image, inputs)
        if built is not None:
            self._progress.cached(f"image {image.name} ({inputs})")
            return built
        prerequisites.require_root(os.geteuid())
        prerequisites.ensure(prerequisites.IMAGES, self._progress)
        with locked(self._home / ".lock"):
            built = self._find(image, inputs)
            if built is None:
                try:
                    built = self._build(image, inputs)
                finally:
                    # The storage library leaves its folder mounted on itself.
                    attempt(["umount", self._home / "storage/overlay"])
        return built

    def _inputs_hash(self, image: Image) -> str:
        extra = [f"{BASE_SUITE} {BASE_PACKAGES}"] if image.on_base else []
        if image.binary in IN_IMAGES:
            extra.append(self._binaries.home(IN_IMAGES[image.binary]).name)
        return content_hash(image, extra)

    def _find(self, image: Image, inputs: str) -> Built | None:
        stamp = self._home / f"{image.name}.json"
        with suppress(FileNotFoundError, ValueError, KeyError):
            found = json.loads(stamp.read_text())
            if found["inputs"] == inputs:
                return Built(image, self._folder(image), found["digest"])
        return None

    def _folder(self, image: Image) -> Path:
        return self._home / "built" / image.name

    def _build(self, image: Image, inputs: str) -> Built:
        arguments = ["--build-arg", f"BASE={self._base()}"] if image.on_base else []
        with self._progress.step(f"build image {image.name}"):
            context = self._stage(image) if image.binary else REPOSITORY
            arguments += [word for volume in self._volumes() for word in ("--volume", volume)] if image.on_base else []
            # A fixed time makes the same inputs give the same digest on every machine and in every order.
            fixed = ["--isolation", "chroot", "--layers", "--timestamp", "0", "--pull-never"]
            self._buildah(
                "bud", *fixed, *arguments, "-f", str(REPOSITORY / image.dockerfile), "-t", image.tag, str(context)
            )
        with self._progress.step(f"store image {image.name}"):
            folder = self._folder(image)
            folder.parent.mkdir(parents=True, exist_ok=True)
            # A plain folder: an OCI layout would be compressed, which costs more than all other steps of a small change.
            self._buildah("push", "--disable-compression", image.tag, f"dir:{folder}")
        digest = "sha256:" + hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        write_whole(self._home / f"{image.name}.json", json.dumps({"inputs": inputs, "digest": digest}) + "\n")
        return Built(image, folder, digest)

    def _buildah(self, *words: str) -> str:
        roots = ("--root", str(self._home / "storage"), "--runroot", str(self._home / "storage-run"))
        return run(["buildah", *roots, "--storage-driver", "overlay", *words], env=self._environment(), timeout=3600)

    def _environment(self) -> Mapping[str, str]:
        scratch = self._home / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        return {**os.environ, "TMPDIR": str(scratch)}

    def _base(self) -> str:
        """The root file system that stands for python:3.11-slim-bookworm: Debian's own Python 3.11."""
        tag = f"localhost/modelcycle-base:{BASE_SUITE}"
        wanted = f"{BASE_SUITE} {','.join(BASE_PACKAGES)}"
        stamp = self._home / "base.txt"
        if stamp.exists() and stamp.read_text() == wanted:
            return tag
        with self._progress.step(f"base root file system (Debian {BASE_SUITE})"):
            archive = self._home / "base.tar"
            archive.parent.mkdir(parents=True, exist_ok=True)
            selection = f"--include={','.join(BASE_PACKAGES)}"
            run(["mmdebstrap", "--quiet", "--variant=minbase", selection, BASE_SUITE, archive], timeout=1800)
            container = self._buildah("from", "scratch").strip()
            self._buildah("add", container, str(archive), "/")
            self._buildah(
                "config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container
            )
            self._buildah("commit", "--rm", container, tag)
            archive.unlink()
        write_whole(stamp, wanted)
        return tag

    def _stage(self, image: Image) -> Path:
        """A context that holds the Dockerfile's folder and the one program."""
        stage = self._home / "stage" / image.name
        shutil.rmtree(stage, ignore_errors=True)
        shutil.copytree((REPOSITORY / image.dockerfile).parent, stage)
        if image.binary in IN_IMAGES:
            program = IN_IMAGES[image.binary]
            self._binaries.ensure([program])
            shutil.copy2(self._binaries.path(program, image.binary), stage / image.binary)
        else:
            run(["gcc", "-Os", "-static", "-s", "-o", stage / image.binary, stage / f"{image.binary}.c"])
        return stage

    def _volumes(self) -> list[str]:
        """What pip needs to reach the machine's package index: its settings and certificates."""
        settings = {"cert": _CERTIFICATES}
        own = REPOSITORY / ".venv/bin/python"
        # A Python without pip has no settings to pass on.
        with suppress(ClusterError):
            for line in run([own if own.exists() else sys.executable, "-m", "pip", "config", "list"]).splitlines():
                key, _, value = line.partition("=")
                name = key.rpartition(".")[2]
                if name in ("index-url", "extra-index-url", "trusted-host", "proxy"):
                    settings[name] = value.strip("'\"")
        file = self._home / "pip.conf"
        write_whole(file, "[global]\n" + "".join(f"{k} = {v}\n" for k, v in settings.items()), mode=0o600)
        if not Path(_CERTIFICATES).exists():
            raise ClusterError(prerequisites.message(prerequisites.IMAGES[-1:]))
        return [f"{file}:/etc/pip.conf:ro", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"]
