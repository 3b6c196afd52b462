"""The images: what each is made of, and a hash of that. Reads files, builds nothing."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devcluster.paths import REPOSITORY

BASE_SUITE = "bookworm"
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
_BUILD_FILES = "hack/cluster/images"


@dataclass(frozen=True, slots=True)
class Image:
    """One image. `inputs` are files and folders relative to the repository; the build context is the repository
    unless `binary` names a program, which then lies alone beside its Dockerfile."""

    name: str
    dockerfile: str
    inputs: tuple[str, ...] = ()
    binary: str = ""
    on_base: bool = True
    variable: str = ""
    """Line of images.env; empty: not written there."""

    @property
    def tag(self) -> str:
        return f"localhost/modelcycle-{self.name}:dev"


def _program(name: str, folder: str, package: str) -> Image:
    inputs = (f"{folder}/Dockerfile", f"{folder}/requirements.txt", f"{folder}/{package}", "bundle/modelcycle_bundle")
    variable = f"MODELCYCLE_{name.upper()}_IMAGE"
    return Image(name, f"{folder}/Dockerfile", (*inputs, ".dockerignore"), variable=variable)


def _around(name: str, binary: str, *, on_base: bool = False) -> Image:
    dockerfile = f"{_BUILD_FILES}/{name}/Dockerfile"
    return Image(name, dockerfile, (f"{_BUILD_FILES}/{name}",), binary=binary, on_base=on_base)


PROGRAM_IMAGES = (
    _program("operator", "operator", "modelcycle"),
    _program("training", "training_image", "modelcycle_training"),
    _program("serving", "serving_image", "modelcycle_serving"),
)
PAUSE = _around("pause", "pause")
COREDNS = _around("coredns", "coredns")
STORE = _around("store", "versitygw", on_base=True)
PROMETHEUS = _around("prometheus", "prometheus")


def files_of(inputs: Iterable[str], repository: Path = REPOSITORY) -> list[Path]:
    """Every file that counts, sorted. Caches of the interpreter do not."""
    found: set[Path] = set()
    for name in inputs:
        path = repository / name
        if path.is_file():
            found.add(path)
        elif path.is_dir():
            found.update(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return sorted(found)


def content_hash(image: Image, extra: Iterable[str] = (), repository: Path = REPOSITORY) -> str:
    """Hash over names, modes and bytes of all inputs, and over what else the image depends on: 16 hex digits."""
    digest = hashlib.sha256()
    for path in files_of(image.inputs, repository):
        executable = path.stat().st_mode & 0o111 != 0
        body = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(repository)}\0{executable}\0{body}\n".encode())
    for part in (image.tag, image.dockerfile, *extra):
        digest.update(part.encode() + b"\n")
    return digest.hexdigest()[:16]


def images_env(digests: dict[str, str]) -> str:
    """The file that the dev overlay reads: one `VARIABLE=name@sha256:...` per program image."""
    lines = [f"{image.variable}={digests[image.tag]}" for image in PROGRAM_IMAGES if image.tag in digests]
    return "\n".join(lines) + "\n"
