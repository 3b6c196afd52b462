"""Emulators of GCS and Azure Blob Storage for tests: built or installed once per content, and how each is started."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import toolchain
from devcluster.binaries import FAKE_GCS_SERVER, Binaries
from devcluster.commands import locked, run
from devcluster.paths import REPOSITORY
from devcluster.progress import Progress

AZURITE = REPOSITORY / "hack/cluster/node/azurite"


@dataclass(frozen=True, slots=True)
class Emulators:
    """The first words of their command lines."""

    gcs: Sequence[Path]
    azure: Sequence[Path]


def ensure(cache: Path, progress: Progress) -> Emulators:
    """Make what is missing: minutes at first, then nothing."""
    binaries = Binaries(cache, progress)
    binaries.ensure((FAKE_GCS_SERVER,))
    node = toolchain.node(cache, progress)
    home = _azurite(cache, node, progress)
    azurite = home / "node_modules/azurite/dist/src/blob/main.js"
    return Emulators((binaries.path(FAKE_GCS_SERVER, "fake-gcs-server"),), (node.program, azurite))


def _azurite(cache: Path, node: toolchain.Node, progress: Progress) -> Path:
    files = (AZURITE / "package.json", AZURITE / "package-lock.json")
    key = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:12]
    home = cache / f"azurite-{key}"
    with locked(cache / ".azurite.lock"):
        if home.is_dir():
            progress.cached("packages (azurite)")
            return home
        with progress.step("install azurite from its lock file"):
            scratch = home.with_name(f".{home.name}")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            for file in files:
                shutil.copy2(file, scratch)
            run([*node.npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=scratch)
            os.replace(scratch, home)
    return home
