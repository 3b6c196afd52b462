"""Signatures against the reference implementation (PyPI `model-signing`), both ways."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from model_signing import signing, verifying

from modelcycle_bundle import keys, oms

# The reference's classes are not annotated.
signer: Any = signing.Config
verifier: Any = verifying.Config
KEY = keys.generate()
OTHER_KEY = keys.generate()
TREES = {
    "flat": {"model.onnx": b"\0" * 5000, "profile.json": b"{}", "card.md": b""},
    "nested": {"a/b": b"1", "a.b": b"2", "a-b/c/d": b"3", "A": b"4", "ü €.txt": b"5", "a/b2": b"6"},
}


@pytest.fixture(params=sorted(TREES))
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for name, data in TREES[request.param].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def public_file(tmp_path: Path) -> Path:
    path = tmp_path / "public.pem"
    path.write_text(KEY.public_pem)
    return path


def test_the_reference_verifies_ours_experiment_54(model: Path, tmp_path: Path, public_file: Path) -> None:
    signature = tmp_path / "ours.sig"
    signature.write_bytes(oms.sign(oms.digest_directory(model), KEY.private_pem))
    verifier().use_elliptic_key_verifier(public_key=public_file).verify(model, signature)


def test_the_reference_refuses_ours_for_other_files(model: Path, tmp_path: Path, public_file: Path) -> None:
    signature = tmp_path / "ours.sig"
    signature.write_bytes(oms.sign(oms.digest_directory(model), KEY.private_pem))
    (model / "extra").write_bytes(b"")
    with pytest.raises(ValueError, match="Extra files"):
        verifier().use_elliptic_key_verifier(public_key=public_file).verify(model, signature)


def test_we_verify_the_reference_s_experiment_54(model: Path, tmp_path: Path) -> None:
    private = tmp_path / "private.pem"
    private.write_bytes(KEY.private_pem)
    signature = tmp_path / "theirs.sig"
    signer().use_elliptic_key_signer(private_key=private).sign(model, signature)
    verified = oms.verify(signature.read_bytes(), [OTHER_KEY.public_pem, KEY.public_pem])
    assert verified == oms.Verified(oms.digest_directory(model), keys.hint(KEY.public_pem))
    with pytest.raises(oms.VerificationError, match="not trusted"):
        oms.verify(signature.read_bytes(), [OTHER_KEY.public_pem])


def test_both_name_key_and_model_alike(model: Path, tmp_path: Path) -> None:
    private = tmp_path / "private.pem"
    private.write_bytes(KEY.private_pem)
    signature = tmp_path / "theirs.sig"
    signer().use_elliptic_key_signer(private_key=private).sign(model, signature)
    theirs = json.loads(signature.read_text())["verificationMaterial"]
    ours = json.loads(oms.sign(oms.digest_directory(model), KEY.private_pem))["verificationMaterial"]
    assert ours == theirs
    assert keys.hint(KEY.public_pem) == hashlib.sha256(KEY.public_pem.encode()).hexdigest()
