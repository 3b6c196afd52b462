"""The real client over HTTP: what answers mean, what is repeated, how lists are paged. A local HTTP server plays the API server."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from aiohttp import web
from kubernetes.aio.client import Configuration

from modelcycle.kube import errors, kinds
from modelcycle.kube.client import ATTEMPTS, RestKube
from modelcycle.kube.transport import LoginError, Transport, as_yaml, error_of, login, path_of

Answer = tuple[int, dict[str, Any], dict[str, str]]


@dataclass
class Script:
    """Answers in order; the last one is repeated. Keeps every request."""

    answers: list[Answer] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path, dict(request.query)))
        self.bodies.append(await request.text())
        code, body, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if "X-Log" in headers:
            return web.Response(body=headers["X-Log"].encode("latin-1"), content_type="text/plain")
        if "X-Truncate" in headers:
            return web.Response(text='{"metadata": {', content_type="application/json")
        return web.json_response(body, status=code, headers=headers)


@pytest.fixture
async def script() -> Script:
    return Script()


@pytest.fixture
async def seen() -> list[tuple[str, int]]:
    return []


@pytest.fixture
async def kube(script: Script, seen: list[tuple[str, int]]) -> AsyncIterator[RestKube]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
    transport = Transport(configuration, lambda method, code, seconds: seen.append((method, code)))
    yield RestKube(transport, jitter=lambda: 0.0)
    await transport.close()
    await runner.cleanup()


def failure(code: int, reason: str = "", **headers: str) -> Answer:
    return code, {"kind": "Status", "reason": reason, "message": "told"}, headers


def page(names: list[str], token: str = "") -> Answer:
    items = [{"metadata": {"name": name, "managedFields": [{}]}} for name in names]
    return 200, {"items": items, "metadata": {"continue": token}}, {}


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (400, "", errors.Invalid),
        (401, "", errors.Unavailable),
        (403, "", errors.Forbidden),
        (404, "", errors.NotFound),
        (409, "AlreadyExists", errors.AlreadyExists),
        (409, "Conflict", errors.Conflict),
        (413, "", errors.Invalid),
        (422, "Invalid", errors.Invalid),
        (429, "", errors.Throttled),
        (500, "", errors.Unavailable),
        (503, "", errors.Unavailable),
        (504, "", errors.Unavailable),
    ],
)
def test_what_a_status_code_means(code: int, reason: str, expected: type[errors.ApiError]) -> None:
    error = error_of("GET /x", code, {"reason": reason, "message": "told"}, {})
    assert type(error) is expected
    assert error.status == code
    assert str(error) == f"GET /x: {code} told"


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("soon", None), (None, None), ("-1", 0.0)])
def test_retry_after_is_read_when_it_is_a_number_engineering_25(header: str | None, seconds: float | None) -> None:
    error = error_of("GET /x", 429, {}, {"Retry-After": header} if header else {})
    assert isinstance(error, errors.Throttled)
    assert error.retry_after == seconds


async def test_a_read_is_repeated_through_a_burst_of_errors_engineering_26(kube: RestKube, script: Script) -> None:
    script.answers = [failure(503), failure(500), (200, {"metadata": {"name": "a"}}, {})]
    live = await kube.get(kinds.CONFIG_MAP, "ns", "a")
    assert live is not None
    assert len(script.requests) == 3


async def test_a_read_gives_up_after_its_attempts(kube: RestKube, script: Script) -> None:
    script.answers = [failure(503)]
    with pytest.raises(errors.Unavailable):
        await kube.get(kinds.CONFIG_MAP, "ns", "a")
    assert len(script.requests) == ATTEMPTS


async def test_a_create_is_never_repeated_engineering_28(kube: RestKube, script: Script) -> None:
    script.answers = [failure(503)]
    with pytest.raises(errors.Unavailable):
        await kube.create(kinds.CONFIG_MAP, "ns", {"metadata": {"name": "a"}})
    assert len(script.requests) == 1


async def test_pages_are_joined_and_items_are_whole(kube: RestKube, script: Script) -> None:
    script.answers = [page(["a", "b"], "next"), page(["c"])]
    found = await kube.list(kinds.CONFIG_MAP, "ns", {"x": "1"})
    assert [o["metadata"] for o in found] == [{"name": "a"}, {"name": "b"}, {"name": "c"}]
    assert {(o["apiVersion"], o["kind"]) for o in found} == {("v1", "ConfigMap")}
    assert script.requests[1][2] == {"limit": "500", "labelSelector": "x=1", "continue": "next"}


async def test_an_expired_page_token_starts_the_list_anew_engineering_34(kube: RestKube, script: Script) -> None:
    script.answers = [page(["a"], "next"), failure(410, "Expired"), page(["a", "b"])]
    found = await kube.list(kinds.CONFIG_MAP, None)
    assert [o["metadata"]["name"] for o in found] == ["a", "b"]


async def test_a_missing_kind_is_not_an_empty_list_engineering_33(kube: RestKube, script: Script) -> None:
    script.answers = [failure(404)]
    with pytest.raises(errors.NotFound):
        await kube.list(kinds.EXPERIMENT, None)


async def test_nobody_listening_is_unavailable_engineering_27(seen: list[tuple[str, int]]) -> None:
    transport = Transport(Configuration(host="http://127.0.0.1:1"), lambda m, code, s: seen.append((m, code)))
    with pytest.raises(errors.Unavailable):
        await transport.request("GET", "/api")
    await transport.close()
    assert seen == [("GET", 0)]


async def test_a_truncated_answer_is_unavailable_engineering_37(kube: RestKube, script: Script) -> None:
    script.answers = [(200, {}, {"X-Truncate": "1"})]
    with pytest.raises(errors.Unavailable, match="no JSON"):
        await kube.create(kinds.CONFIG_MAP, "ns", {"metadata": {"name": "a"}})


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "sub", "path"),
    [
        (kinds.POD, "ns", "p", "", "/api/v1/namespaces/ns/pods/p"),
        (kinds.POD, None, "", "", "/api/v1/pods"),
        (kinds.NAMESPACE, "", "n", "", "/api/v1/namespaces/n"),
        (kinds.EXPERIMENT, "ns", "e", "status", "/apis/modelcycle.dev/v1alpha1/namespaces/ns/experiments/e/status"),
    ],
)
def test_paths(kind: kinds.Kind, namespace: str | None, name: str, sub: str, path: str) -> None:
    assert path_of(kind, namespace, name, sub) == path


async def test_a_login_without_a_cluster_says_what_to_set() -> None:
    with pytest.raises(LoginError, match="KUBECONFIG"):
        await login({"KUBECONFIG": "/does/not/exist"})


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("größe 名前 \U0001f643", "größe 名前 \U0001f643"),
        (
            "\x00\t\n\x1b\x7f\x85\u2028\ufeff\ufffe\\ud83d $(HOME)",
            "\x00\t\n\x1b\x7f\x85\u2028\ufeff\ufffe\\ud83d $(HOME)",
        ),
        ("half \ud83d", "half \ufffd"),
    ],
)
def test_an_applied_body_is_json_and_yaml_alike_whatever_the_text(text: str, read: str) -> None:
    body = {"status": {"message": text}}
    expected = {"status": {"message": read}}
    assert json.loads(as_yaml(body)) == expected
    assert yaml.safe_load(as_yaml(body)) == expected


async def test_a_body_is_sent_as_written(kube: RestKube, script: Script) -> None:
    script.answers = [(200, {"metadata": {}}, {})]
    await kube.apply(kinds.CONFIG_MAP, "ns", {"metadata": {"name": "a"}, "data": {"text": "\U0001f643"}})
    assert script.bodies == ['{"metadata": {"name": "a"}, "data": {"text": "\U0001f643"}}']


async def test_the_end_of_a_log_is_read_as_text_whatever_its_bytes(kube: RestKube, script: Script) -> None:
    script.answers = [(200, {}, {"X-Log": "{not JSON \xff"})]
    assert await kube.log("plant-7", "p", "main", 256, 4096) == "{not JSON \ufffd"
    expected = {"container": "main", "tailLines": "256", "limitBytes": "4096"}
    assert script.requests == [("GET", "/api/v1/namespaces/plant-7/pods/p/log", expected)]


async def test_a_log_that_may_not_be_read_is_forbidden(kube: RestKube, script: Script) -> None:
    script.answers = [failure(403, "Forbidden")]
    with pytest.raises(errors.Forbidden):
        await kube.log("plant-7", "p", "main", 256, 4096)
