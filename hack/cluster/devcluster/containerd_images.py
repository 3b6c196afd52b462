"""Hands built images to a containerd: only the layers it lacks, and under the name with digest that pods ask for."""

import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devcluster.buildah import Built
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
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
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


def blobs_of(layout: Path, digest: str) -> list[str]:
    """Digests of everything an image consists of, its manifest last."""
    manifest: dict[str, Any] = json.loads(blob_path(layout, digest).read_text())
    return [layer["digest"] for layer in manifest["layers"]] + [manifest["config"]["digest"], digest]


def blob_path(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/", 1)


def write_archive(built: Built, held: set[str], stream: Any) -> None:
    """Write an OCI archive of the image without the layers in `held`."""
    manifest = blob_path(built.layout, built.digest)
    descriptor = {
        "mediaType": json.loads(manifest.read_text())["mediaType"],
        "digest": built.digest,
        "size": manifest.stat().st_size,
        "annotations": {"io.containerd.image.name": built.image.tag},
    }
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        _add(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode())
        blobs = blobs_of(built.layout, built.digest)
        for digest in dict.fromkeys(blobs):
            # Manifest and config are always sent: they are small, and the import reads them from the archive.
            if digest not in held or digest in blobs[-2:]:
                archive.add(blob_path(built.layout, digest), f"blobs/{digest.replace(':', '/', 1)}", recursive=False)


def _add(archive: tarfile.TarFile, name: str, body: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(body)
    archive.addfile(entry, io.BytesIO(body))
