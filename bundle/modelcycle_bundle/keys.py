"""P-256 keys in PEM form: make, load, split, name.

Owns how a key is written and how it is named (its hint). Never reads a file or a Secret, and never puts private bytes into a
message or a repr.
"""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

_PUBLIC_BLOCK: Final = re.compile(r"-----BEGIN PUBLIC KEY-----[^-]*-----END PUBLIC KEY-----")


class BadKey(ValueError):
    """The PEM does not hold an unencrypted P-256 key. The text never repeats the PEM."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One signing key. `private_pem` is PKCS#8 without a password, `public_pem` SubjectPublicKeyInfo."""

    private_pem: bytes = field(repr=False)
    public_pem: str


def generate() -> KeyPair:
    """A fresh P-256 pair from the operating system's randomness."""
    key = ec.generate_private_key(ec.SECP256R1())
    private_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(private_pem, _public_pem(key.public_key()))


def public_of(private_pem: bytes) -> str:
    """The public half in canonical PEM. Raises BadKey."""
    return _public_pem(load_private(private_pem).public_key())


def hint(public_pem: str) -> str:
    """Name of a key as OMS writes it: hex SHA-256 of the canonical PEM, whatever the given PEM's line ends. Raises BadKey."""
    return hashlib.sha256(_public_pem(load_public(public_pem)).encode()).hexdigest()


def split_pems(text: str) -> tuple[str, ...]:
    """The public-key blocks of a trust file in order, each once; text between them is a comment. Blocks are not parsed."""
    return tuple(dict.fromkeys(block + "\n" for block in _PUBLIC_BLOCK.findall(text.replace("\r\n", "\n"))))


def load_private(private_pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Raises BadKey."""
    try:
        key = serialization.load_pem_private_key(private_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKey("not an unencrypted private key in PEM form") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadKey("the private key is not on the curve P-256")
    return key


def load_public(public_pem: str) -> ec.EllipticCurvePublicKey:
    """Raises BadKey."""
    try:
        key = serialization.load_pem_public_key(public_pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKey("not a public key in PEM form") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadKey("the public key is not on the curve P-256")
    return key


def _public_pem(key: ec.EllipticCurvePublicKey) -> str:
    encoded = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode("ascii")
