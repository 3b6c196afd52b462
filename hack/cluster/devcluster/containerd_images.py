"""Hands built images to a containerd: only the layers it lacks, and under the name with digest that pods ask for."""

import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from devcluster.buildah import MANIFEST, Built
from devcluster.commands import ClusterError, run
from devcluster.progress import Progress


class ContainerdImages:
    """The image store of one node. `ctr` are the words that begin a call of containerd's client."""

    def __init__(self, ctr: Sequence[str], progress: Progress) -> None:
        self._ctr = tuple(ctr)
        self._progress = progress

    def ensure(self, built: Built) -> str:
        """Import unless it is there; returns `name@sha256:...`."""
        pinned = pinned_name(built)
        names = set(run([*self._ctr, "images", "ls", "-q"]).split())
        if {pinned, built.image.tag} <= names and self._digest(built.image.tag) == built.digest:
            self._progress.cached(f"image {built.image.name} in the cluster")
            return pinned
        with self._progress.step(f"load image {built.image.name} into the cluster"):
            self._import(built)
            # The kubelet asks for the name with digest; without this tag it would try a registry.
            run([*self._ctr, "images", "tag", "--force", built.image.tag, pinned])
        return pinned

    def _digest(self, tag: str) -> str:
        listing = run([*self._ctr, "images", "ls", f"name=={tag}"]).splitlines()
        return listing[1].split()[2] if len(listing) > 1 else ""

    def _import(self, built: Built) -> None:
        held = set(run([*self._ctr, "content", "ls", "-q"]).split())
        words = [*self._ctr, "images", "import", "--local", "--digests=false", "-"]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdin is not None
            try:
                write_archive(built, held, process.stdin)
                process.stdin.close()
            except BrokenPipeError:
                pass
            output = process.stdout.read().decode(errors="replace") if process.stdout else ""
        if process.returncode != 0:
            raise ClusterError(f"the import of image {built.image.name} failed:\n    {output.strip()}")


def pinned_name(built: Built) -> str:
    return f"{built.image.tag.rpartition(':')[0]}@{built.digest}"


def blobs_of(built: Built) -> dict[str, Path]:
    """File of every blob by digest: layers, then the configuration, the manifest last."""
    manifest: dict[str, Any] = json.loads((built.folder / MANIFEST).read_text())
    digests = [*(layer["digest"] for layer in manifest["layers"]), manifest["config"]["digest"]]
    return {digest: built.folder / digest.partition(":")[2] for digest in digests} | {
        built.digest: built.folder / MANIFEST
    }


def write_archive(built: Built, held: set[str], stream: IO[bytes]) -> None:
    """Write an OCI archive of the image without the layers in `held`."""
    manifest = built.folder / MANIFEST
    descriptor = {
        "mediaType": json.loads(manifest.read_text())["mediaType"],
        "digest": built.digest,
        "size": manifest.stat().st_size,
        "annotations": {"io.containerd.image.name": built.image.tag},
    }
    blobs = blobs_of(built)
    # Manifest and configuration are always sent: they are small, and the import reads them from the archive.
    always = list(blobs)[-2:]
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        _add(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode())
        for digest, file in blobs.items():
            if digest in always or digest not in held:
                archive.add(file, f"blobs/{digest.replace(':', '/', 1)}", recursive=False)


def _add(archive: tarfile.TarFile, name: str, body: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(body)
    archive.addfile(entry, io.BytesIO(body))
