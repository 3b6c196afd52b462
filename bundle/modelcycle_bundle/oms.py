"""OpenSSF Model Signing v1.0, method `key`: which files a model has, their root digest, and a signature over them.

Owns the manifest (the identity of a model) and the Sigstore bundle around it. Files only, SHA-256 only; symbolic links are
refused, never followed. Reads directories; opens no store and knows no trust policy.
"""

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from modelcycle_bundle import dsse, keys
from modelcycle_bundle.dsse import VerificationError

__all__ = [
    "FileDigest",
    "Manifest",
    "ManifestError",
    "VerificationError",
    "Verified",
    "digest_directory",
    "sign",
    "verify",
]

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_SUBJECT_NAME: Final = "model"
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


@dataclass(frozen=True, slots=True)
class Verified:
    """A manifest that a trusted key signed."""

    manifest: Manifest
    key_hint: str


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


def sign(manifest: Manifest, private_pem: bytes) -> bytes:
    """A Sigstore bundle v0.3 over the manifest; the same bytes each time. Raises keys.BadKey."""
    hint = keys.hint(keys.public_of(private_pem))
    bundle = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": dsse.envelope(_statement(manifest), private_pem, ""),
    }
    return dsse.canonical(bundle) + b"\n"


def verify(signature: bytes, public_pems: Sequence[str]) -> Verified:
    """The manifest that a trusted key signed.

    Whether a folder holds those files, and no other, is the caller's to compare (`digest_directory(...) ==`). Raises
    VerificationError, and nothing else whatever the bytes.
    """
    bundle = dsse.obj(dsse.parse(signature), "bundle")
    if dsse.text(bundle, "mediaType") != BUNDLE_TYPE:
        raise VerificationError(f"mediaType is not {BUNDLE_TYPE}")
    material = dsse.obj(bundle.get("verificationMaterial"), "verificationMaterial")
    claimed = dsse.obj(material.get("publicKey"), "publicKey").get("hint")
    if claimed is not None and not isinstance(claimed, str):
        raise VerificationError("hint is not a string")
    opened = dsse.open_envelope(bundle.get("dsseEnvelope"), public_pems, claimed)
    if dsse.text(opened.statement, "predicateType") != PREDICATE_TYPE:
        raise VerificationError(f"predicateType is not {PREDICATE_TYPE}")
    manifest = _manifest(dsse.obj(opened.statement.get("predicate"), "predicate"))
    if manifest.root != dsse.subject_digest(opened.statement):
        raise VerificationError("the signed files do not hash to the signed root digest")
    return Verified(manifest, opened.key_hint)


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


def _statement(manifest: Manifest) -> dict[str, Any]:
    resources = [{"name": file.name, "algorithm": "sha256", "digest": file.sha256} for file in manifest.files]
    return {
        "_type": dsse.STATEMENT_TYPE,
        "subject": [{"name": _SUBJECT_NAME, "digest": {"sha256": manifest.root.removeprefix("sha256:")}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": resources,
        },
    }


def _manifest(predicate: Mapping[str, Any]) -> Manifest:
    serialization = dsse.obj(predicate.get("serialization"), "serialization")
    if serialization.get("method") != "files" or serialization.get("hash_type") != "sha256":
        raise VerificationError("only the serialization of whole files with sha256 is supported")
    files = []
    for raw in dsse.items(predicate, "resources"):
        resource = dsse.obj(raw, "resource")
        if dsse.text(resource, "algorithm") != "sha256":
            raise VerificationError("a resource is not digested with sha256")
        digest = dsse.sha256(dsse.text(resource, "digest"))
        files.append(FileDigest(dsse.text(resource, "name"), digest.removeprefix("sha256:")))
    try:
        return Manifest(tuple(files))
    except ManifestError as error:
        raise VerificationError(str(error)) from error
