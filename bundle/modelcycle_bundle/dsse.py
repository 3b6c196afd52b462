"""DSSE envelopes around in-toto statements: the one place where bytes are signed and where signed bytes are trusted.

Owns the signed encoding (PAE), the key choice and strict parsing of hostile JSON. Every defect of an envelope is a
VerificationError; nothing of a payload is looked at before a trusted key has verified it.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from modelcycle_bundle import keys

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"


class VerificationError(ValueError):
    """A signed document is malformed, or no trusted key signed it. The text says which, in words for an operator."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A statement whose signature a trusted key verified."""

    statement: Mapping[str, Any]
    key_hint: str


def envelope(statement: Mapping[str, Any], private_pem: bytes, key_id: str) -> dict[str, Any]:
    """Sign a statement. Same statement and key give the same bytes (RFC 6979), so publishing twice is a no-op.

    Raises keys.BadKey.
    """
    payload = canonical(statement)
    algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    signature = keys.load_private(private_pem).sign(_encoding(PAYLOAD_TYPE, payload), algorithm)
    signatures = [{"sig": base64.b64encode(signature).decode("ascii"), "keyid": key_id}]
    return {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": PAYLOAD_TYPE,
        "signatures": signatures,
    }


def open_envelope(raw: object, public_pems: Sequence[str], claimed_hint: str | None) -> Opened:
    """Verify an envelope with the trusted keys and parse its statement.

    `claimed_hint` is the unauthenticated name of the key: it can only narrow the choice. Raises VerificationError.
    """
    fields = obj(raw, "envelope")
    if text(fields, "payloadType") != PAYLOAD_TYPE:
        raise VerificationError(f"payloadType is not {PAYLOAD_TYPE}")
    payload = _decode(text(fields, "payload"), "payload")
    signatures = items(fields, "signatures")
    if len(signatures) != 1:
        raise VerificationError(f"expected exactly one signature, found {len(signatures)}")
    signature = _decode(text(obj(signatures[0], "signature"), "sig"), "sig")
    key_hint = _signer(signature, _encoding(PAYLOAD_TYPE, payload), public_pems, claimed_hint)
    statement = obj(parse(payload), "statement")
    if text(statement, "_type") != STATEMENT_TYPE:
        raise VerificationError(f"the signed document is not a {STATEMENT_TYPE}")
    return Opened(statement, key_hint)


def parse(data: bytes) -> object:
    """JSON from an untrusted source. Raises VerificationError for anything else, also too deep nesting."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"not JSON: {type(error).__name__}") from error


def canonical(value: object) -> bytes:
    """One line of JSON with sorted keys, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def subject_digest(statement: Mapping[str, Any]) -> str:
    """`sha256:<hex>` of the statement's only subject. Raises VerificationError."""
    subjects = items(statement, "subject")
    if len(subjects) != 1:
        raise VerificationError(f"expected exactly one subject, found {len(subjects)}")
    return sha256(text(obj(obj(subjects[0], "subject").get("digest"), "digest"), "sha256"))


def sha256(value: str) -> str:
    """`sha256:<hex>` for 64 lower-case hex characters. Raises VerificationError."""
    if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise VerificationError("a sha256 digest is not 64 lower-case hex characters")
    return f"sha256:{value}"


def obj(value: object, name: str) -> Mapping[str, Any]:
    """The value if it is a JSON object. Raises VerificationError."""
    if not isinstance(value, dict):
        raise VerificationError(f"{name} is not an object")
    return value


def items(fields: Mapping[str, Any], name: str) -> Sequence[Any]:
    """A field that must be a list. Raises VerificationError."""
    value = fields.get(name)
    if not isinstance(value, list):
        raise VerificationError(f"{name} is not a list")
    return value


def text(fields: Mapping[str, Any], name: str) -> str:
    """A field that must be a string. Raises VerificationError."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise VerificationError(f"{name} is not a string")
    return value


def _encoding(payload_type: str, payload: bytes) -> bytes:
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _decode(value: str, name: str) -> bytes:
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise VerificationError(f"{name} is not base64") from error


def _signer(signature: bytes, signed: bytes, public_pems: Sequence[str], claimed_hint: str | None) -> str:
    by_hint: dict[str, ec.EllipticCurvePublicKey] = {}
    for pem in public_pems:
        try:
            by_hint[keys.hint(pem)] = keys.load_public(pem)
        except keys.BadKey:
            continue  # one broken trust entry must not disable the others
    if not by_hint:
        raise VerificationError("no usable trusted key")
    if claimed_hint and claimed_hint not in by_hint:
        raise VerificationError(f"signed by the key {_short(claimed_hint)}, which is not trusted here")
    for key_hint, key in by_hint.items():
        if claimed_hint and claimed_hint != key_hint:
            continue
        try:
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            continue
        return key_hint
    raise VerificationError("the signature does not verify with any trusted key")


def _short(claimed_hint: str) -> str:
    return "".join(c for c in claimed_hint[:12] if c.isalnum()) or "(unnamed)"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Parsers differ on duplicate names: what one verifies, another would read differently.
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate name")
    return fields
