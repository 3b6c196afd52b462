"""The data's bytes from the store, and their digest. Bounded in size; parses nothing but `latest.json`.

A `latest.json` may lead to another object of the same kind of store only: credentials and mounts are those of the spec's URI.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from modelcycle_bundle import layout
from modelcycle_bundle.contract import ContractError, DataRef, FailureReason, from_json
from modelcycle_bundle.store import open_object
from modelcycle_training.failures import TaskFailed, data_failed

MAX_BYTES: Final = 1024**3
MAX_POINTER_BYTES: Final = 4096
MAX_URI: Final = 1024
"""Bytes, as the API allows in `data.uri`; in ASCII, so that a result with it fits into a termination message."""
_FORMATS: Final = ("csv",)
_URI: Final = re.compile(r"[a-z0-9]+://[^/@?# ]*/[!-~]+")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_SHAPE: Final = '{"uri": "s3://bucket/table.csv", "digest": "sha256:<64 hex digits>"}'


@dataclass(frozen=True, slots=True)
class Data:
    """The table. `uri` is where it lies, `digest` is `sha256:<hex>` of `content`."""

    content: bytes = field(repr=False)
    digest: str
    uri: str


@dataclass(frozen=True, slots=True)
class DataPointer:
    """What a data team writes into `latest.json`: where the newest table lies, and `sha256:<hex>` of its bytes."""

    uri: str
    digest: str


def read(ref: DataRef, env: Mapping[str, str], max_bytes: int = MAX_BYTES) -> Data:
    """Fetch the table, or the one that a `latest.json` names.

    Raises TaskFailed with DataUnreadable (unknown format, too large, no pointer in `latest.json`) or DataChanged (the table is not the one
    that `latest.json` names), StoreError (with DataNotFound).
    """
    if ref.format not in _FORMATS:
        raise data_failed(FailureReason.DATA_UNREADABLE, f"data.format {ref.format[:40]!r} is not supported: use csv")
    if ref.uri.rpartition("/")[2] != layout.POINTER_FILE:
        return _table(ref.uri, env, max_bytes)
    pointer = _pointer(ref.uri, env)
    table = _table(pointer.uri, env, max_bytes)
    if table.digest != pointer.digest:
        raise data_failed(
            FailureReason.DATA_CHANGED,
            f"{table.uri} has digest {table.digest}, but {ref.uri} names it with {pointer.digest}: "
            f"write a table once, and {layout.POINTER_FILE} after it",
        )
    return table


def require_pinned(ref: DataRef, digest: str) -> None:
    """Raises TaskFailed with DataChanged when the spec pins another digest than the one read."""
    if ref.digest is not None and ref.digest != digest:
        raise data_failed(
            FailureReason.DATA_CHANGED,
            f"{ref.uri} has digest {digest}, but data.digest pins {ref.digest}: restore the object or pin the new digest",
        )


def _table(uri: str, env: Mapping[str, str], max_bytes: int) -> Data:
    digest = hashlib.sha256()
    content = bytearray()
    for chunk in _bounded(uri, env, max_bytes):
        digest.update(chunk)
        content += chunk
    return Data(bytes(content), f"sha256:{digest.hexdigest()}", uri)


def _pointer(uri: str, env: Mapping[str, str]) -> DataPointer:
    text = b"".join(_bounded(uri, env, MAX_POINTER_BYTES))
    try:
        pointer = from_json(DataPointer, text.decode())
    except (ContractError, UnicodeDecodeError):
        raise _no_pointer(uri, f"it is not {_SHAPE}") from None
    scheme = uri.partition("://")[0]
    if not _DIGEST.fullmatch(pointer.digest):
        raise _no_pointer(uri, "digest is not sha256: and 64 hex digits")
    if not _URI.fullmatch(pointer.uri) or len(pointer.uri) > MAX_URI:
        raise _no_pointer(uri, f"uri is not an absolute URI of at most {MAX_URI} ASCII characters")
    if pointer.uri.partition("://")[0] != scheme:
        raise _no_pointer(uri, f"uri must begin with {scheme}:// like that of {layout.POINTER_FILE} itself")
    if pointer.uri.rpartition("/")[2] == layout.POINTER_FILE:
        raise _no_pointer(uri, f"uri names another {layout.POINTER_FILE} instead of a table")
    return pointer


def _no_pointer(uri: str, why: str) -> TaskFailed:
    return data_failed(FailureReason.DATA_UNREADABLE, f"{uri}: {why}")


def _bounded(uri: str, env: Mapping[str, str], max_bytes: int) -> Iterator[bytes]:
    store, path = open_object(uri, env)
    size = 0
    for chunk in store.stream(path):
        size += len(chunk)
        if size > max_bytes:
            raise data_failed(FailureReason.DATA_UNREADABLE, f"{uri} is larger than {max_bytes} bytes")
        yield chunk
