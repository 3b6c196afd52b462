"""Clients of object stores by scheme: which keys of a store Secret each takes, and what a person checks when it fails.

Owns the names of the keys. Makes no request, and never puts a key's value into a message.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore, HTTPStore, LocalStore, S3Store

from modelcycle_bundle.contract import FailureReason

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
_GOOGLE_NAMES: Final = (
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_BEARER_TOKEN",
    "GOOGLE_BASE_URL",
    "GOOGLE_SKIP_SIGNATURE",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_APPLICATION_CREDENTIALS",
)
_AZURE_ACCOUNT: Final = "AZURE_STORAGE_ACCOUNT_NAME"
_AZURE_NAMES: Final = (
    _AZURE_ACCOUNT,
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_TOKEN",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
    "AZURE_STORAGE_CLIENT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_TENANT_ID",
    "AZURE_TENANT_ID",
    "AZURE_STORAGE_AUTHORITY_HOST",
    "AZURE_AUTHORITY_HOST",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_CREDENTIAL_TYPE",
    "AZURE_MSI_ENDPOINT",
    "AZURE_IDENTITY_ENDPOINT",
    "AZURE_OBJECT_ID",
    "AZURE_MSI_RESOURCE_ID",
    "AZURE_SKIP_SIGNATURE",
)
_ADDRESSES: Final[Mapping[str, tuple[str, ...]]] = {
    "s3": ("AWS_ENDPOINT_URL",),
    "gs": ("GOOGLE_BASE_URL",),
    "az": (
        "AZURE_STORAGE_ENDPOINT",
        "AZURE_ENDPOINT",
        "AZURE_AUTHORITY_HOST",
        "AZURE_MSI_ENDPOINT",
        "AZURE_IDENTITY_ENDPOINT",
    ),
}
"""Keys whose values are URLs, by scheme."""
_URLS: Final = frozenset(name for names in _ADDRESSES.values() for name in names)


@dataclass(frozen=True, slots=True)
class Hints:
    """What a person checks: ends of sentences."""

    denied: str
    unreachable: str


def _cloud(keys: str, address: str) -> Hints:
    return Hints(
        f"check the store Secret's keys ({keys}) and their rights here", f"is {address} right and the store up?"
    )


_SERVER: Final = Hints(
    "it must be readable without credentials: none are sent", "is the address right and the server up?"
)
_VOLUME: Final = Hints("check who may read and write the volume", "is the volume mounted, and has it space?")
HINTS: Final[Mapping[str, Hints]] = {
    "s3": _cloud("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...", "AWS_ENDPOINT_URL"),
    "gs": _cloud("GOOGLE_SERVICE_ACCOUNT_KEY: the JSON text of a key file, ...", "GOOGLE_BASE_URL"),
    "az": _cloud("AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY, ...", "AZURE_STORAGE_ENDPOINT"),
    "https": _SERVER,
    "http": _SERVER,
    "pvc": _VOLUME,
    "file": _VOLUME,
}
"""By scheme."""


class SettingError(ValueError):
    """A key of the store Secret is missing or cannot be used. The text names it."""

    def __init__(self, reason: FailureReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def connect(scheme: str, host: str, env: Mapping[str, str], options: Mapping[str, Any], retry: Any) -> Any:
    """The client of a store; None for a scheme that is none. Raises SettingError, and what the library raises for other keys."""
    _check_addresses(scheme, env)
    shared: dict[str, Any] = {"client_options": {**options, **_plain(scheme, env)}, "retry_config": retry}
    if scheme == "file":
        return None if host else _volume()
    if not host:
        return None
    match scheme:
        case "s3":
            return _s3(host, env, shared)
        case "gs":
            return GCSStore(host, config=_taken(_GOOGLE_NAMES, env), **shared)
        case "az":
            if not env.get(_AZURE_ACCOUNT):
                raise SettingError(FailureReason.STORE_DENIED, f"the store Secret has no {_AZURE_ACCOUNT}")
            return AzureStore(host, config=_taken(_AZURE_NAMES, env), **shared)
        case "https":
            return HTTPStore(f"https://{host}", **shared)
        case "http" if env.get("AWS_ALLOW_HTTP", "").lower() == "true":
            return HTTPStore(f"http://{host}", **shared)
        case "pvc":
            return _volume()
        case _:
            return None


def _volume() -> LocalStore:
    return LocalStore("/", mkdir=False, automatic_cleanup=True)


def _s3(bucket: str, env: Mapping[str, str], shared: dict[str, Any]) -> S3Store:
    config = _taken(_AWS_NAMES, env)
    keyless = "aws_access_key_id" not in config and not any(env.get(name) for name in _AWS_IDENTITY_NAMES)
    if "aws_endpoint_url" in config and keyless:
        # A private store has no instance metadata service: asking for one would only hang until the retries are spent.
        config["aws_skip_signature"] = "true"
    if bundle := env.get("AWS_CA_BUNDLE"):
        shared["client_options"] |= {"root_certificate": Path(bundle).read_bytes()}
    return S3Store(bucket, config=config, **shared)


def _taken(names: tuple[str, ...], env: Mapping[str, str]) -> Any:
    # The library refuses a name that it does not know, and a Secret may hold keys for other programs.
    given = {name: env[name] for name in names if env.get(name)}
    # It would double a slash at the end of an address, and look into another bucket.
    return {name.lower(): value.rstrip("/") if name in _URLS else value for name, value in given.items()}


def _plain(scheme: str, env: Mapping[str, str]) -> dict[str, bool]:
    """Whether what was configured is an address without TLS."""
    addresses = (env.get(name, "") for name in _ADDRESSES.get(scheme, ()))
    plain = scheme == "http" or any(address.startswith("http://") for address in addresses)
    return {"allow_http": True} if plain else {}


def _check_addresses(scheme: str, env: Mapping[str, str]) -> None:
    # The client library panics over an address that is not a URL.
    for name in _ADDRESSES.get(scheme, ()):
        address = env.get(name, "")
        parts = urlsplit(address)
        if address and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
            text = f"{name} in the store Secret is not an http:// or https:// URL"
            raise SettingError(FailureReason.STORE_UNREACHABLE, text)
