"""Keys: only P-256, named by their canonical PEM, never shown."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from modelcycle_bundle import keys

KEY = keys.generate()


def test_the_public_half_follows_from_the_private() -> None:
    assert keys.public_of(KEY.private_pem) == KEY.public_pem


def test_repr_hides_the_private_half() -> None:
    assert "PRIVATE" not in repr(KEY)


def test_hint_does_not_depend_on_line_ends() -> None:
    assert keys.hint(KEY.public_pem.replace("\n", "\r\n") + "\n\n") == keys.hint(KEY.public_pem)


def test_split_pems_skips_comments_and_repetitions() -> None:
    other = keys.generate().public_pem
    text = f"# line 3\n{KEY.public_pem}\nuntil 2027-01-01\r\n{other}{KEY.public_pem}"
    assert keys.split_pems(text) == (KEY.public_pem, other)


@pytest.mark.parametrize("text", ["", "nothing", "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"])
def test_split_pems_of_text_without_keys_is_empty(text: str) -> None:
    assert keys.split_pems(text) == ()


def pem_of(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, encryption: serialization.KeySerializationEncryption
) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    "private",
    [
        b"",
        b"junk",
        KEY.public_pem.encode(),
        pem_of(ec.generate_private_key(ec.SECP384R1()), serialization.NoEncryption()),
        pem_of(ed25519.Ed25519PrivateKey.generate(), serialization.NoEncryption()),
        pem_of(ec.generate_private_key(ec.SECP256R1()), serialization.BestAvailableEncryption(b"secret")),
    ],
    ids=["empty", "junk", "public", "P-384", "ed25519", "encrypted"],
)
def test_only_an_unencrypted_p256_key_signs(private: bytes) -> None:
    with pytest.raises(keys.BadKey):
        keys.load_private(private)


@pytest.mark.parametrize("public", ["", "junk", "\ud800", KEY.private_pem.decode()])
def test_only_a_p256_key_verifies(public: str) -> None:
    with pytest.raises(keys.BadKey):
        keys.load_public(public)
