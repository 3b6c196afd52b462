"""Object stores by URI: read, list, stream and create-only writes, with bounded retries and one error vocabulary.

Owns URIs, store credentials from the environment and the mapping of a store's errors to `contract.Failure`. Never overwrites
an object, never deletes one, and never puts a credential into a message.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore import exceptions as refused
from obstore.store import AzureStore, GCSStore, HTTPStore, LocalStore, S3Store

from modelcycle_bundle import layout
from modelcycle_bundle.contract import Failure, FailureClass, FailureReason

_AWS_NAMES: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_SKIP_SIGNATURE",
)
_AWS_IDENTITY_NAMES: Final = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_DENIED: Final = re.compile(
    r"\b40[13]\b|forbidden|unauthori[sz]ed|access ?denied|permission denied|credential|InvalidAccessKeyId|SignatureDoesNotMatch"
    r"|169\.254\.169\.254|metadata\.google",
    re.IGNORECASE,
)
_TIMED_OUT: Final = re.compile(r"timed? ?out|deadline", re.IGNORECASE)
_MISSING: Final = re.compile(r"NoSuchBucket|NoSuchKey|\b404\b|not found", re.IGNORECASE)
_STREAM_CHUNK: Final = 64 * 1024

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


class StoreStalled(StoreError):
    """The store accepted the request and then sent nothing, or too slowly."""


class AlreadyThere(Exception):
    """An object of that path exists with other bytes. Objects are written once."""

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} exists with other content; objects are written once")


class Store:
    """One root (bucket and folder) of one store. Paths are relative to it, with `/`. Calls block."""

    def __init__(self, uri: str, inner: Any, prefix: str, missing: FailureReason) -> None:
        self.uri: Final = uri.rstrip("/")
        self._inner: Final = inner
        self._prefix: Final = prefix
        self._missing: Final = missing

    def get(self, path: str) -> bytes:
        """All bytes of an object. Raises StoreError (the `missing` reason when there is none)."""
        return self._call(path, lambda: bytes(obstore.get(self._inner, self._full(path)).bytes()))

    def size(self, path: str) -> int:
        """Bytes of an object. Raises StoreError."""
        return self._call(path, lambda: int(obstore.head(self._inner, self._full(path))["size"]))

    def stream(self, path: str) -> Iterator[bytes]:
        """The bytes of an object as they arrive; a dropped connection is resumed. Raises StoreError, also while iterating."""
        chunks = self._call(
            path, lambda: iter(obstore.get(self._inner, self._full(path)).stream(min_chunk_size=_STREAM_CHUNK))
        )
        while (chunk := self._call(path, lambda: next(chunks, None))) is not None:
            yield bytes(chunk)

    def list(self, prefix: str = "") -> list[Entry]:
        """Objects in the folder `prefix` and below, sorted by path.

        Whole path segments: `v1` does not match `v10/x`. An absent folder is empty. Raises StoreError.
        """
        full = self._full(prefix)
        try:
            found = self._call(prefix, lambda: list(obstore.list(self._inner, full or None).collect()))
        except StoreError as error:
            if error.failure.reason is self._missing:
                return []
            raise
        skip = len(self._prefix) + 1 if self._prefix else 0
        return sorted(
            (Entry(str(meta["path"])[skip:], int(meta["size"])) for meta in found), key=lambda entry: entry.path
        )

    def put_new(self, path: str, data: bytes) -> None:
        """Create an object. Equal bytes already there: success, so a repeated or retried write is one write.

        Raises AlreadyThere for other bytes, StoreError.
        """
        try:
            # Multipart uploads cannot be conditional.
            self._call(
                path,
                lambda: obstore.put(self._inner, self._full(path), data, mode="create", use_multipart=False),
            )
        except refused.AlreadyExistsError:
            if self.get(path) != data:
                raise AlreadyThere(self._where(path)) from None

    def _full(self, path: str) -> str:
        if path and any(part in ("", ".", "..") for part in path.split("/")):
            raise StoreError(_unusable(self._where(path), "the path has an empty, '.' or '..' part", self._missing))
        return "/".join(part for part in (self._prefix, path) if part)

    def _where(self, path: str) -> str:
        return f"{self.uri}/{path}" if path else self.uri

    def _call(self, path: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except refused.AlreadyExistsError:
            raise
        except (refused.BaseError, OSError, ValueError) as error:
            raise _translate(error, self._where(path), self._missing) from error


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
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        raise StoreError(_unusable(f"{parts.scheme}://{parts.hostname}", "a URI must not hold credentials", missing))
    if parts.query or parts.fragment:
        raise StoreError(_unusable(uri.partition("?")[0], "a URI must not hold '?' or '#'", missing))
    prefix = parts.path.strip("/")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise StoreError(_unusable(uri, "the path has an empty, '.' or '..' part", missing))
    try:
        inner = _connect(parts.scheme, parts.netloc, env, patience or Patience())
    except (refused.BaseError, OSError, ValueError) as error:
        raise _translate(error, uri, missing) from error
    if inner is None:
        schemes = "s3, gs, az, https and pvc"
        raise StoreError(_unusable(uri, f"not a URI of a store; the schemes are {schemes}", missing))
    if parts.scheme == "pvc":
        prefix = "/".join(part for part in (layout.PVC_MOUNT.strip("/"), parts.netloc, prefix) if part)
    return Store(uri, inner, prefix, missing)


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


def _connect(scheme: str, host: str, env: Mapping[str, str], patience: Patience) -> Any:
    options: Any = {
        "connect_timeout": timedelta(seconds=patience.connect_seconds),
        "read_timeout": timedelta(seconds=patience.silence_seconds),
        "timeout": timedelta(seconds=patience.transfer_seconds),
    }
    retry: Any = {
        "max_retries": 6,
        "retry_timeout": timedelta(seconds=patience.retry_seconds),
        "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5), "base": 2},
    }
    if scheme == "file" and not host:
        return LocalStore("/", mkdir=False)
    if not host:
        return None
    match scheme:
        case "s3":
            return _s3(host, env, options, retry)
        case "gs":
            config = {name.lower(): value for name, value in env.items() if name.startswith("GOOGLE_")}
            return GCSStore(host, config=config or None, client_options=options, retry_config=retry)  # type: ignore[arg-type]
        case "az":
            config = {name.lower(): value for name, value in env.items() if name.startswith("AZURE_STORAGE_")}
            return AzureStore(host, config=config or None, client_options=options, retry_config=retry)  # type: ignore[arg-type]
        case "https":
            return HTTPStore(f"https://{host}", client_options=options, retry_config=retry)
        case "http" if _allows_http(env):
            return HTTPStore(f"http://{host}", client_options=options | {"allow_http": True}, retry_config=retry)
        case "pvc":
            return LocalStore("/", mkdir=False)
        case _:
            return None


def _s3(bucket: str, env: Mapping[str, str], options: Any, retry: Any) -> S3Store:
    config: Any = {name.lower(): env[name] for name in _AWS_NAMES if env.get(name)}
    endpoint = env.get("AWS_ENDPOINT_URL", "")
    if endpoint and "aws_access_key_id" not in config and not any(env.get(name) for name in _AWS_IDENTITY_NAMES):
        # A private store has no instance metadata service: asking for one would only hang until the retries are spent.
        config["aws_skip_signature"] = "true"
    if endpoint.startswith("http://"):
        options = options | {"allow_http": True}
    if bundle := env.get("AWS_CA_BUNDLE"):
        options = options | {"root_certificate": Path(bundle).read_bytes()}
    return S3Store(bucket, config=config, client_options=options, retry_config=retry)


def _allows_http(env: Mapping[str, str]) -> bool:
    return env.get("AWS_ALLOW_HTTP", "").lower() == "true"


def _unusable(where: str, why: str, missing: FailureReason) -> Failure:
    return Failure(FailureClass.DATA, missing, f"{where}: {why}")


def _translate(error: Exception, where: str, missing: FailureReason) -> StoreError:
    detail = " ".join(str(error).split())
    if isinstance(error, FileNotFoundError):
        return StoreError(_unusable(where, "no object there", missing))
    if isinstance(error, (refused.PermissionDeniedError, refused.UnauthenticatedError, PermissionError)):
        return StoreError(_denied(where, error))
    if isinstance(error, (refused.InvalidPathError, refused.NotSupportedError)):
        return StoreError(_unusable(where, f"the store cannot do this ({type(error).__name__})", missing))
    if _MISSING.search(detail):
        return StoreError(_unusable(where, "no such bucket or object", missing))
    if _DENIED.search(detail):
        return StoreError(_denied(where, error))
    message = f"{where}: the store did not answer ({type(error).__name__}: {_first_words(detail)}); is the endpoint right and up?"
    kind = StoreStalled if _TIMED_OUT.search(detail) else StoreError
    return kind(Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_UNREACHABLE, message))


def _denied(where: str, error: Exception) -> Failure:
    message = (
        f"{where}: the store refused the credentials or none were given ({type(error).__name__}); "
        "check the store Secret's AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and their rights on this bucket"
    )
    return Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_DENIED, message)


def _first_words(detail: str) -> str:
    return detail.partition(" Debug source:")[0][:160]
