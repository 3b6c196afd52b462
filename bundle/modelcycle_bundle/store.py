"""Object stores by URI: read, list, stream and create-only writes, with bounded retries and one error vocabulary.

Owns URIs and the mapping of a store's errors to `contract.Failure`. Never overwrites
an object, deletes none but unsigned candidates, and never puts a credential into a message.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore import exceptions as refused
from obstore.store import LocalStore

from modelcycle_bundle import layout, store_clients
from modelcycle_bundle.contract import Failure, FailureClass, FailureReason
from modelcycle_bundle.store_clients import Hints

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_NO_IDENTITY: Final = re.compile(
    r"169\.254\.169\.254|metadata\.google|loading credential|No credentials", re.IGNORECASE
)
_TIMED_OUT: Final = re.compile(r"kind: Timeout|TimedOut|operation timed out")
_BAD_CERTIFICATE: Final = "InvalidCertificate"
_NO_ROOTS: Final = "No CA certificates"
_STREAM_CHUNK: Final = 64 * 1024

NAME_LIMIT: Final = 120
"""Characters of a path that a message names: what is behind it, the cause, counts more."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a store may keep us waiting, in seconds."""

    retry_seconds: int = 25
    """From the first attempt of a call until no further one is made."""
    connect_seconds: int = 5
    silence_seconds: int = 10
    """Longest wait for the next byte of an answer."""
    transfer_seconds: int = 600
    """Longest time for one answer from first to last byte."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object below a store's root. `path` is relative to the root, `size` in bytes."""

    path: str
    size: int


class StoreError(Exception):
    """A call failed for good, after its retries. `failure` is ready to be reported."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class NotThere(StoreError):
    """No object of that path, or no such bucket. The reason is the one that the store was opened with."""


class StoreStalled(StoreError):
    """The store accepted the request and then sent nothing, or too slowly."""


class AlreadyThere(Exception):
    """An object of that path exists with other bytes. Objects are written once."""

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} exists with other content; objects are written once")


class Store:
    """One root (bucket and folder) of one store. Paths are relative to it, with `/`. Calls block."""

    def __init__(
        self, uri: str, inner: Any, prefix: str, missing: FailureReason, patience: Patience, hints: Hints
    ) -> None:
        self._patience: Final = patience
        self._hints: Final = hints
        self.uri: Final = uri.rstrip("/")
        self._inner: Final = inner
        self._prefix: Final = prefix
        self._missing: Final = missing

    def get(self, path: str) -> bytes:
        """All bytes of an object. Raises StoreError, NotThere when there is none."""
        return self._call(path, lambda: bytes(obstore.get(self._inner, self._readable(path)).bytes()))

    def size(self, path: str) -> int:
        """Bytes of an object. Raises StoreError."""
        return self._call(path, lambda: int(obstore.head(self._inner, self._readable(path))["size"]))

    def stream(self, path: str) -> Iterator[bytes]:
        """The bytes of an object as they arrive; a dropped connection is resumed. Raises StoreError, also while iterating."""
        chunks = self._call(
            path, lambda: iter(obstore.get(self._inner, self._readable(path)).stream(min_chunk_size=_STREAM_CHUNK))
        )
        while (chunk := self._call(path, lambda: next(chunks, None))) is not None:
            yield bytes(chunk)

    def list(self, prefix: str = "") -> list[Entry]:
        """Objects in the folder `prefix` and below, sorted by path.

        Whole path segments: `v1` does not match `v10/x`. An absent folder is empty, an absent bucket is a StoreError.
        """
        full = self._full(prefix)
        found = self._call(prefix, lambda: list(obstore.list(self._inner, full or None).collect()))
        skip = len(self._prefix) + 1 if self._prefix else 0
        return sorted(
            (Entry(str(meta["path"])[skip:], int(meta["size"])) for meta in found), key=lambda entry: entry.path
        )

    def remove_candidates(self, paths: Sequence[str]) -> None:
        """Delete objects below `candidates/`; one that is not there counts as deleted. Raises ValueError for any other, StoreError."""
        if not all(path.startswith(f"{layout.CANDIDATES_DIR}/") for path in paths):
            raise ValueError(f"only what lies below {layout.CANDIDATES_DIR}/ is ever removed")
        if not paths:
            return
        try:
            self._call(paths[0], lambda: obstore.delete(self._inner, [self._readable(path) for path in paths]))
        except NotThere:  # of one of several; the others may be there
            half = len(paths) // 2
            for part in (paths[:half], paths[half:]) if half else ():
                self.remove_candidates(part)

    def put_new(self, path: str, data: bytes) -> None:
        """Create an object. Equal bytes already there: success, so a repeated or retried write is one write.

        Raises AlreadyThere for other bytes, StoreError.
        """
        give_up = time.monotonic() + self._patience.retry_seconds
        pause = 0.2
        while not self._holds(path, data):
            try:
                # Multipart uploads cannot be conditional.
                self._call(
                    path, lambda: obstore.put(self._inner, self._full(path), data, mode="create", use_multipart=False)
                )
            except refused.AlreadyExistsError:
                continue
            except StoreError as error:
                # The client never repeats a conditional put by itself, because it cannot know whether the first one
                # arrived. Looking before each attempt makes the repetition safe.
                if error.failure.reason is not FailureReason.STORE_UNREACHABLE:
                    raise
                if time.monotonic() + pause > give_up:
                    if self._holds(path, data):
                        return
                    raise
                time.sleep(pause)
                pause = min(2 * pause, 5.0)
            else:
                return

    def _holds(self, path: str, data: bytes) -> bool:
        try:
            same = self.size(path) == len(data) and self.get(path) == data
        except NotThere:
            return False
        if not same:
            raise AlreadyThere(self._where(path))
        return True

    def _full(self, path: str) -> str:
        if path and any(part in ("", ".", "..") for part in path.split("/")):
            raise StoreError(_unusable(self._where(path), "the path has an empty, '.' or '..' part", self._missing))
        return "/".join(part for part in (self._prefix, path) if part)

    def _readable(self, path: str) -> str:
        """The full path of an object to read; in a folder no part of it below the root may be a symbolic link."""
        full = self._full(path)
        if isinstance(self._inner, LocalStore):
            place = Path("/", self._prefix)
            for part in path.split("/"):
                place /= part
                if place.is_symlink():
                    raise StoreError(
                        _unusable(self._where(path), "a symbolic link, which is not followed", self._missing)
                    )
        return full

    def _where(self, path: str) -> str:
        return f"{self.uri}/{path[:NAME_LIMIT]}" if path else self.uri

    def _call(self, path: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except refused.AlreadyExistsError:
            raise
        except (refused.BaseError, OSError, ValueError) as error:
            raise _translate(error, self._where(path), self._missing, self._hints) from error


def open_store(
    uri: str,
    env: Mapping[str, str],
    missing: FailureReason = FailureReason.DATA_NOT_FOUND,
    patience: Patience | None = None,
) -> Store:
    """The store at a URI: s3://bucket/folder, gs://, az://container/folder, https://, pvc://claim/folder or file:///folder.

    Credentials come from `env` under their usual names (AWS_ACCESS_KEY_ID, GOOGLE_..., AZURE_...). `missing` is the reason
    reported for an absent object. Makes no request yet. Raises StoreError for a URI that is not one of these.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise StoreError(_unusable("the URI", "not a URI", missing)) from error
    if "@" in parts.netloc:
        raise StoreError(_unusable(f"{parts.scheme}://{parts.hostname}", "a URI must not hold credentials", missing))
    if parts.query or parts.fragment:
        raise StoreError(_unusable(uri.partition("?")[0], "a URI must not hold '?' or '#'", missing))
    prefix = parts.path.strip("/")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise StoreError(_unusable(uri, "the path has an empty, '.' or '..' part", missing))
    patience = patience or Patience()
    hints = store_clients.HINTS.get(parts.scheme)
    try:
        inner = store_clients.connect(parts.scheme, parts.netloc, env, _options(patience), _retry(patience))
    except store_clients.SettingError as error:
        raise StoreError(Failure(FailureClass.INFRASTRUCTURE, error.reason, f"{uri}: {error}")) from error
    except (refused.BaseError, OSError, ValueError) as error:
        if _NO_ROOTS in str(error):
            raise StoreError(_untrusted(uri, "no certificate is trusted here", "the container has them")) from error
        raise StoreError(_denied(uri, type(error).__name__, store_clients.HINTS[parts.scheme])) from error
    if inner is None or hints is None:
        schemes = "s3, gs, az, https and pvc"
        raise StoreError(_unusable(uri, f"not a URI of a store; the schemes are {schemes}", missing))
    if parts.scheme == "pvc":
        prefix = "/".join(part for part in (layout.PVC_MOUNT.strip("/"), parts.netloc, prefix) if part)
    return Store(uri, inner, prefix, missing, patience, hints)


def open_object(
    uri: str,
    env: Mapping[str, str],
    missing: FailureReason = FailureReason.DATA_NOT_FOUND,
    patience: Patience | None = None,
) -> tuple[Store, str]:
    """The store of an object's folder and the object's path in it. Raises StoreError."""
    folder, _, name = uri.rpartition("/")
    if not name or folder.endswith((":/", ":")):
        raise StoreError(_unusable(uri, "names a bucket or folder, not an object", missing))
    return open_store(folder, env, missing, patience), name


def _options(patience: Patience) -> dict[str, timedelta]:
    return {
        "connect_timeout": timedelta(seconds=patience.connect_seconds),
        "read_timeout": timedelta(seconds=patience.silence_seconds),
        "timeout": timedelta(seconds=patience.transfer_seconds),
    }


def _retry(patience: Patience) -> dict[str, Any]:
    return {
        "max_retries": 6,
        "retry_timeout": timedelta(seconds=patience.retry_seconds),
        "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5), "base": 2},
    }


def _unusable(where: str, why: str, missing: FailureReason) -> Failure:
    return Failure(FailureClass.DATA, missing, f"{where}: {why}")


def _translate(error: Exception, where: str, missing: FailureReason, hints: Hints) -> StoreError:
    told, _, source = str(error).partition("Debug source:")
    status, code = _first(_STATUS, told), _first(_CODE, told)
    short = " ".join(part for part in (type(error).__name__, status, code) if part)
    if isinstance(error, FileNotFoundError) or status == "404":
        return NotThere(_unusable(where, f"no such object{f' ({code})' if code else ''}", missing))
    if isinstance(error, (refused.PermissionDeniedError, refused.UnauthenticatedError, PermissionError)) or status in (
        "401",
        "403",
    ):
        return StoreError(_denied(where, short, hints))
    if _NO_IDENTITY.search(told):
        return StoreError(_denied(where, short, hints))
    if isinstance(error, (refused.InvalidPathError, refused.NotSupportedError)) or (status or "").startswith("4"):
        return StoreError(_unusable(where, f"the store refused the request ({short})", missing))
    if _BAD_CERTIFICATE in source:
        return StoreError(_untrusted(where, "the store's certificate is not trusted", "they vouch for it"))
    if _TIMED_OUT.search(source):
        message = f"{where}: the store sent nothing for too long ({short})"
        return StoreStalled(Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_UNREACHABLE, message))
    message = f"{where}: the store could not be reached or failed ({short}); {hints.unreachable}"
    return StoreError(Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_UNREACHABLE, message))


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found.group(1) if found else None


def _untrusted(where: str, what: str, wanted: str) -> Failure:
    message = (
        f"{where}: {what}: SSL_CERT_FILE and SSL_CERT_DIR say where certificates are looked for: check that {wanted}"
    )
    return Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_UNREACHABLE, message)


def _denied(where: str, short: str, hints: Hints) -> Failure:
    message = f"{where}: the store refused the credentials or none were given ({short}); {hints.denied}"
    return Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_DENIED, message)
