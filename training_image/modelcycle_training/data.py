"""The data's bytes from the store, and their digest. Bounded in size; parses nothing."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from modelcycle_bundle.contract import DataRef, FailureReason
from modelcycle_bundle.store import open_object
from modelcycle_training.failures import data_failed

MAX_BYTES: Final = 1024**3
_FORMATS: Final = ("csv",)


@dataclass(frozen=True, slots=True)
class Data:
    """The object at the data URI. `digest` is `sha256:<hex>` of `content`."""

    content: bytes = field(repr=False)
    digest: str


def read(ref: DataRef, env: Mapping[str, str], max_bytes: int = MAX_BYTES) -> Data:
    """Fetch. Raises TaskFailed with DataUnreadable (unknown format, too large), StoreError (with DataNotFound)."""
    if ref.format not in _FORMATS:
        raise data_failed(FailureReason.DATA_UNREADABLE, f"data.format {ref.format[:40]!r} is not supported: use csv")
    store, path = open_object(ref.uri, env)
    digest = hashlib.sha256()
    content = bytearray()
    for chunk in store.stream(path):
        digest.update(chunk)
        content += chunk
        if len(content) > max_bytes:
            raise data_failed(FailureReason.DATA_UNREADABLE, f"{ref.uri} is larger than {max_bytes} bytes")
    return Data(bytes(content), f"sha256:{digest.hexdigest()}")


def require_pinned(ref: DataRef, digest: str) -> None:
    """Raises TaskFailed with DataChanged when the spec pins another digest than the one read."""
    if ref.digest is not None and ref.digest != digest:
        raise data_failed(
            FailureReason.DATA_CHANGED,
            f"{ref.uri} has digest {digest}, but data.digest pins {ref.digest}: restore the object or pin the new digest",
        )
