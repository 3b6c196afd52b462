"""The files of a model and their root digest: which model it is.

Owns names, digests and the walk over a folder. Files only, SHA-256 only; symbolic links are refused, never followed. Knows no signature,
so that who only serves a model loads no cryptography.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_CHUNK: Final = 1 << 20


class ManifestError(ValueError):
    """The files cannot be signed as a model: none at all, a symbolic link, a special file or an unsafe name."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file. `name` is relative with `/`, `sha256` is 64 lower-case hex characters."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a model. Sorted on construction; raises ManifestError when empty, or for a doubled or unsafe name."""

    files: tuple[FileDigest, ...]

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.files, key=_order))
        if not ordered:
            raise ManifestError("a model without files")
        if len({file.name for file in ordered}) != len(ordered):
            raise ManifestError("two files of one name")
        for file in ordered:
            if not is_safe_name(file.name):
                raise ManifestError(f"unsafe file name {file.name[:80]!r}")
        object.__setattr__(self, "files", ordered)

    @property
    def root(self) -> str:
        """`sha256:<hex>` over the raw file digests in the order of their names."""
        return "sha256:" + hashlib.sha256(b"".join(bytes.fromhex(file.sha256) for file in self.files)).hexdigest()

    def digest_of(self, name: str) -> str | None:
        """Hex digest of one file, None when the model has no such file."""
        return next((file.sha256 for file in self.files if file.name == name), None)


def is_safe_name(name: str) -> bool:
    """Whether a name stays below its folder on every file system we write to."""
    parts = name.split("/")
    return all(part not in ("", ".", "..") and len(part.encode("utf-8", "replace")) <= 255 for part in parts) and not (
        set(name) & {"\\", "\0", "\n", "\r"}
    )


def digest_file(path: Path) -> str:
    """Hex SHA-256 of a regular file. Raises OSError for a symbolic link as well."""
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digest_directory(path: Path) -> Manifest:
    """The manifest of every file below a folder. Raises ManifestError, and OSError when a file cannot be read."""
    if path.is_symlink():
        raise ManifestError("the model folder is a symbolic link")
    return Manifest(tuple(_walk(path, "")))


def _walk(folder: Path, prefix: str) -> list[FileDigest]:
    files: list[FileDigest] = []
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        name = prefix + entry.name
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            files.extend(_walk(Path(entry.path), name + "/"))
        elif stat.S_ISREG(mode):
            files.append(FileDigest(name, digest_file(Path(entry.path))))
        else:
            raise ManifestError(f"{name[:80]!r} is neither a file nor a folder")
    return files


def _order(file: FileDigest) -> tuple[str, ...]:
    # By path component, as the reference implementation: "a/b" comes before "a.b".
    return PurePosixPath(file.name).parts
