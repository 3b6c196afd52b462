"""OpenSSF Model Signing v1.0, method `key`: which files a model has, their root digest, and a signature over them.

Owns the Sigstore bundle around a manifest (modelcycle_bundle.manifest). Opens no store and knows no trust policy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelcycle_bundle import dsse, keys
from modelcycle_bundle.dsse import VerificationError
from modelcycle_bundle.manifest import FileDigest, Manifest, ManifestError, digest_directory, digest_file, is_safe_name

__all__ = [
    "FileDigest",
    "Manifest",
    "ManifestError",
    "VerificationError",
    "Verified",
    "digest_directory",
    "digest_file",
    "is_safe_name",
    "sign",
    "verify",
]

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_SUBJECT_NAME: Final = "model"


@dataclass(frozen=True, slots=True)
class Verified:
    """A manifest that a trusted key signed."""

    manifest: Manifest
    key_hint: str


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
