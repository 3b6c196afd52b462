"""Manifest and signature: identity of a model, and every hostile form of a signature."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelcycle_bundle import dsse, keys, oms
from modelcycle_bundle.oms import FileDigest, Manifest, ManifestError, VerificationError

KEY = keys.generate()
ONE, TWO = "1" * 64, "2" * 64
MANIFEST = Manifest((FileDigest("b", TWO), FileDigest("a", ONE)))


def test_root_is_the_sha256_of_the_sorted_file_digests() -> None:
    expected = hashlib.sha256(bytes.fromhex(ONE) + bytes.fromhex(TWO)).hexdigest()
    assert MANIFEST.root == f"sha256:{expected}"
    assert Manifest(tuple(reversed(MANIFEST.files))) == MANIFEST


def test_signing_twice_gives_the_same_bytes_experiment_53() -> None:
    assert oms.sign(MANIFEST, KEY.private_pem) == oms.sign(MANIFEST, KEY.private_pem)


def test_empty_model_is_refused() -> None:
    with pytest.raises(ManifestError, match="without files"):
        Manifest(())


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a\\b", "a\0", "a\nb", "x" * 256]
)
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(ManifestError, match="unsafe"):
        Manifest((FileDigest(name, ONE),))


def test_symbolic_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"1")
    (tmp_path / "real" / "link").symlink_to("file")
    with pytest.raises(ManifestError, match="neither a file nor a folder"):
        oms.digest_directory(tmp_path / "real")
    (tmp_path / "alias").symlink_to("real")
    with pytest.raises(ManifestError, match="symbolic link"):
        oms.digest_directory(tmp_path / "alias")


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with pytest.raises(ManifestError):
        oms.digest_directory(tmp_path)


def resigned(change: Callable[[dict[str, Any]], None]) -> bytes:
    """A bundle whose statement was changed and signed again by the trusted key."""
    bundle = json.loads(oms.sign(MANIFEST, KEY.private_pem))
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    change(statement)
    bundle["dsseEnvelope"] = dsse.envelope(statement, KEY.private_pem, "")
    return json.dumps(bundle).encode()


def drop_all_files(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"] = []
    statement["subject"][0]["digest"]["sha256"] = hashlib.sha256().hexdigest()


def drop_a_file(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"].pop()


def double_a_file(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"].append(statement["predicate"]["resources"][0])


def escape_by_name(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"][0]["name"] = "../a"


def other_algorithm(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"][0]["algorithm"] = "md5"


def upper_case_digest(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"][0]["digest"] = "A" * 64


def shards(statement: dict[str, Any]) -> None:
    statement["predicate"]["serialization"]["method"] = "shards"


def two_subjects(statement: dict[str, Any]) -> None:
    statement["subject"] *= 2


def other_predicate(statement: dict[str, Any]) -> None:
    statement["predicateType"] = "https://slsa.dev/provenance/v1"


def other_statement(statement: dict[str, Any]) -> None:
    statement["_type"] = "https://in-toto.io/Statement/v0.1"


@pytest.mark.parametrize(
    "change",
    [
        drop_all_files,
        drop_a_file,
        double_a_file,
        escape_by_name,
        other_algorithm,
        upper_case_digest,
        shards,
        two_subjects,
        other_predicate,
        other_statement,
    ],
)
def test_a_wrong_statement_is_refused_though_well_signed(change: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(VerificationError):
        oms.verify(resigned(change), [KEY.public_pem])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"[1]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"mediaType":1}',
        b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","mediaType":"x"}',
        oms.sign(MANIFEST, KEY.private_pem).replace(b'"signatures":[', b'"signatures":[{"sig":"AA=="},'),
        oms.sign(MANIFEST, KEY.private_pem).replace(b"v0.3", b"v0.1"),
        oms.sign(MANIFEST, KEY.private_pem).replace(b'"hint":"', b'"hint":7,"x":"'),
    ],
)
def test_a_malformed_signature_is_a_verification_error_experiment_56(data: bytes) -> None:
    with pytest.raises(VerificationError):
        oms.verify(data, [KEY.public_pem])


def test_a_missing_hint_still_verifies_with_one_of_the_trusted_keys() -> None:
    data = oms.sign(MANIFEST, KEY.private_pem).replace(f'"hint":"{keys.hint(KEY.public_pem)}"'.encode(), b'"hint":null')
    assert oms.verify(data, [keys.generate().public_pem, KEY.public_pem]).key_hint == keys.hint(KEY.public_pem)


def test_a_false_hint_does_not_lend_trust() -> None:
    trusted = keys.generate()
    data = oms.sign(MANIFEST, KEY.private_pem).replace(
        keys.hint(KEY.public_pem).encode(), keys.hint(trusted.public_pem).encode()
    )
    with pytest.raises(VerificationError, match="does not verify"):
        oms.verify(data, [trusted.public_pem])


def test_no_trusted_key_verifies_nothing() -> None:
    with pytest.raises(VerificationError, match="no usable trusted key"):
        oms.verify(oms.sign(MANIFEST, KEY.private_pem), ["not a key"])
