"""Requests to a Kubernetes API server as plain JSON, on `kubernetes.aio`. The only importer of the `kubernetes` package.

Owns login, paths, time-outs and the mapping of answers to errors. Knows no verb of the port and never retries: `kube.client` decides what
may be repeated.
"""

import json
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from modelcycle.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Throttled,
    Unavailable,
)
from modelcycle.kube.kinds import Kind

TIMEOUT_SECONDS: Final = 30.0
POOL_SIZE: Final = 20
NO_LOGIN: Final = (
    "no cluster to talk to: set KUBECONFIG to a kubeconfig file, or run inside a pod with a service account"
)

_LONE_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_ESCAPED: Final = re.compile(r"[\x7f-\uffff]")

Observer = Callable[[str, int, float], None]
"""Told of each request: HTTP method, status code (0: no answer), seconds."""


class ContentType(StrEnum):
    """What a body means to the API server."""

    JSON = "application/json"
    """An object, for PUT and DELETE."""
    YAML = "application/yaml"
    """An object, for POST, written by `as_yaml`. The API server keeps raw extensions (a ControllerRevision's data) of a JSON body byte by
    byte, compares the bytes when it defends immutable ones, and writes its own bytes into every patch: without spaces, with `<>&` escaped.
    Data that came in any other spelling can never be patched again. What comes as YAML is spelt by the API server itself."""
    APPLY = "application/apply-patch+yaml; charset=utf-8"
    """Server-side apply, written by `as_yaml`. With its parameter the client sends the bytes as they are."""
    MERGE_PATCH = "application/merge-patch+json"
    """RFC 7386."""
    JSON_PATCH = "application/json-patch+json"
    """RFC 6902."""


class LoginError(Exception):
    """No usable credentials; the text says what to set."""


def _ignore(method: str, code: int, seconds: float) -> None:
    """The observer of nobody."""


async def login(env: Mapping[str, str] = os.environ, context: str | None = None) -> Configuration:
    """Credentials: a kubeconfig when KUBECONFIG names one, else the pod's service account, else ~/.kube/config. Raises LoginError."""
    configuration = Configuration()
    try:
        if env.get("KUBECONFIG"):
            await config.load_kube_config(env["KUBECONFIG"], context=context, client_configuration=configuration)  # type: ignore[no-untyped-call]
        elif env.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(context=context, client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError) as error:
        raise LoginError(f"{NO_LOGIN} ({error})") from error
    configuration.connection_pool_maxsize = POOL_SIZE
    return configuration


def path_of(kind: Kind, namespace: str | None, name: str = "", subresource: str = "") -> str:
    """The URL path of a collection, an object or its subresource."""
    parts = ["/apis", kind.group, kind.version] if kind.group else ["/api", kind.version]
    if kind.namespaced and namespace:
        parts += ["namespaces", namespace]
    return "/".join([*parts, kind.plural, *filter(None, (name, subresource))])


class Transport:
    """One connection pool to one API server. Close it with `close`."""

    def __init__(self, configuration: Configuration, observer: Observer = _ignore) -> None:
        self._api = ApiClient(configuration)
        self._api.user_agent = "modelcycle"
        self._observer = observer

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: ContentType = ContentType.JSON,
    ) -> dict[str, Any]:
        """One request, at most TIMEOUT_SECONDS. Returns the decoded object. Raises a subclass of ApiError."""
        code, headers, raw = await self._observed(method, path, query or {}, body, content_type)
        answer = _decode(method, path, code, raw)
        if code >= 400:
            raise error_of(f"{method} {path}", code, answer, headers)
        return answer

    async def text(self, method: str, path: str, *, query: Mapping[str, str]) -> str:
        """One request whose answer is plain text: a log. Raises a subclass of ApiError."""
        code, headers, raw = await self._observed(method, path, query, None, ContentType.JSON)
        if code >= 400:
            raise error_of(f"{method} {path}", code, _decode(method, path, code, raw), headers)
        return raw.decode(errors="replace")

    async def _observed(
        self, method: str, path: str, query: Mapping[str, str], body: Any, content_type: ContentType
    ) -> tuple[int, Mapping[str, str], bytes]:
        started, code = time.monotonic(), 0
        try:
            code, headers, raw = await self._exchange(method, path, query, body, content_type)
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError, OSError) as error:
            raise Unavailable(f"{method} {path}: {type(error).__name__}: {error}") from error
        finally:
            self._observer(method, code, time.monotonic() - started)
        return code, headers, raw

    async def _exchange(
        self, method: str, path: str, query: Mapping[str, str], body: Any, content_type: ContentType
    ) -> tuple[int, Mapping[str, str], bytes]:
        _, url, headers, payload, _ = await self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={
                "Accept": ContentType.JSON.value,
                "Content-Type": content_type.value,
                "User-Agent": "modelcycle",
            },
            body=as_yaml(body) if content_type in (ContentType.APPLY, ContentType.YAML) else plain(body),
            auth_settings=["BearerToken"],
        )
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        response = await self._api.call_api(method, url, headers, payload, _request_timeout=timeout)
        raw: bytes = await response.read()  # type: ignore[no-untyped-call]
        return response.status, response.headers, raw


def plain(value: Any) -> Any:
    """Read-only mappings and tuples as the dicts and lists that serialise."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def as_yaml(body: Any) -> bytes:
    """JSON that every YAML reader takes: no surrogate (an emoji is written as itself), nothing unprintable unescaped."""
    text = json.dumps(plain(body), ensure_ascii=False)
    text = _LONE_SURROGATE.sub("\ufffd", text)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _decode(method: str, path: str, code: int, raw: bytes) -> dict[str, Any]:
    try:
        decoded = json.loads(raw) if raw else {}
    except ValueError as error:
        if code >= 400:
            return {"message": raw[:300].decode(errors="replace")}
        raise Unavailable(f"{method} {path}: the answer is no JSON: {error}", status=code) from error
    if isinstance(decoded, dict):
        return decoded
    raise Unavailable(f"{method} {path}: the answer is no object", status=code)


def error_of(call: str, code: int, answer: Mapping[str, Any], headers: Mapping[str, str]) -> ApiError:
    """The error class of an answer with status 400 or more."""
    text = f"{call}: {code} {answer.get('message') or answer.get('reason') or 'no message'}"
    if code == 409:
        return (AlreadyExists if answer.get("reason") == "AlreadyExists" else Conflict)(text, status=code)
    if code == 429:
        return Throttled(text, retry_after=_seconds(headers.get("Retry-After")))
    if code == 403:
        return Forbidden(text, status=code)
    if code in (404, 410):
        return NotFound(text, status=code)
    if code == 422 and "metadata.uid" in _refused_fields(answer):
        return Conflict(text, status=code)
    if code in (400, 405, 406, 413, 415, 422):
        return Invalid(text, status=code)
    return Unavailable(text, status=code)


def _refused_fields(answer: Mapping[str, Any]) -> set[str]:
    causes = (answer.get("details") or {}).get("causes") or []
    return {str(cause.get("field")) for cause in causes if isinstance(cause, Mapping)}


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None
