"""Explanations asked of the real server, by the paths that clients of the protocol use."""

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelcycle_bundle.metric_names import EXPLANATION_CODES
from modelcycle_serving.explain import service
from unit.serving import rig
from unit.serving.explain import cases

NAMES = ("histogram", "least-squares", "network")
SIBLING = "/v2/models/model-explain"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, rig.Server]]:
    folder = tmp_path_factory.mktemp("explained")
    with ExitStack() as stack:
        running = {}
        for name in NAMES:
            cases.write_bundle(folder / name, name)
            running[name] = stack.enter_context(rig.start(folder / name))
        for each in running.values():
            each.wait_for("ready")
        yield running


def request(path: str, body: Any) -> bytes:
    raw = json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw


def post(client: rig.Client, path: str, body: Any) -> rig.Answer:
    client.send(request(path, body))
    return client.answer()


def outputs(answer: rig.Answer) -> dict[str, np.ndarray[Any, Any]]:
    assert answer.status == 200, answer.body
    return {each["name"]: np.array(each["data"]).reshape(each["shape"]) for each in answer.json["outputs"]}


def child_of(server: rig.Server) -> list[int]:
    """Process ids of the server's children."""
    return [
        int(pid) for pid in Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    ]


def wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("name", NAMES)
def test_contributions_add_up_to_the_score_behind_the_models_answer(name: str, servers: dict[str, rig.Server]) -> None:
    rows = cases.fitted(name).table[:5].tolist()
    with servers[name].client() as client:
        about = client.get(SIBLING).json
        answer = post(client, f"{SIBLING}/infer", rig.matrix(rows, id="q1"))
        plain = outputs(client.infer(rig.matrix(rows)))
    found = outputs(answer)
    assert [each["name"] for each in about["outputs"]] == list(found)
    assert about["outputs"][-1]["parameters"] == about["inputs"][0]["parameters"]
    assert (answer.json["id"], answer.json["model_name"]) == ("q1", "model-explain")
    case = cases.CASES[name]
    assert answer.json["parameters"] == {"method": case.method, "space": case.space}
    assert found["contributions"].shape == (5, cases.fitted(name).table.shape[1])
    np.testing.assert_allclose(found["contributions"].sum(axis=1) + found["base_value"], found["score"], rtol=1e-9)
    if "label" in plain:
        assert (found["label"] == plain["label"]).all()
        chances = plain["probabilities"].max(axis=1)
        score = found["score"]
        np.testing.assert_allclose(1 / (1 + np.exp(-score)) if case.space == "log-odds" else score, chances, atol=1e-5)
    else:
        np.testing.assert_allclose(found["score"], plain["prediction"][:, 0], rtol=1e-5)


def test_the_short_path_and_the_version_answer_alike(servers: dict[str, rig.Server]) -> None:
    body = rig.matrix(cases.fitted("histogram").table[:1].tolist())
    with servers["histogram"].client() as client:
        version = client.get(SIBLING).json["versions"][0]
        answers = [
            post(client, path, body).body
            for path in (f"{SIBLING}/infer", f"{SIBLING}/versions/{version}/infer", "/v2/models/model/explain")
        ]
        assert client.get(f"{SIBLING}/ready").json == {"name": "model-explain", "ready": True}
    assert answers[0] == answers[1] == answers[2]


def test_explanations_are_counted_apart_and_in_no_bin(servers: dict[str, rig.Server]) -> None:
    server = servers["least-squares"]
    before = server.samples()
    assert set(before["modelcycle_explanations_total"]) == {(("code", code),) for code in EXPLANATION_CODES}
    rows = cases.fitted("least-squares").table[:3].tolist()
    with server.client() as client:
        assert post(client, f"{SIBLING}/infer", rig.matrix(rows)).status == 200
        assert post(client, f"{SIBLING}/infer", {"inputs": []}).status == 400
    after = server.samples()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"modelcycle_explanations_total"}
    for code in ("200", "400"):
        key = (("code", code),)
        assert after["modelcycle_explanations_total"][key] == before["modelcycle_explanations_total"][key] + 1


def test_rows_of_one_request_are_limited(servers: dict[str, rig.Server]) -> None:
    rows = cases.fitted("least-squares").table[: service.MAX_ROWS + 1].tolist()
    with servers["least-squares"].client() as client:
        assert post(client, f"{SIBLING}/infer", rig.matrix(rows[:-1])).status == 200
        answer = post(client, f"{SIBLING}/infer", rig.matrix(rows))
    assert answer.status == 400
    assert str(service.MAX_ROWS) in answer.json["error"]


def test_outputs_can_be_chosen_and_come_as_binary(servers: dict[str, rig.Server]) -> None:
    table = cases.fitted("histogram").table[:2]
    wanted = [{"name": "contributions", "parameters": {"binary_data": True}}]
    body = {**rig.matrix(table.tolist()), "outputs": wanted}
    with servers["histogram"].client() as client:
        answer = post(client, f"{SIBLING}/infer", body)
        exact = outputs(post(client, f"{SIBLING}/infer", rig.matrix(table.tolist())))["contributions"]
    size = int(answer.headers["inference-header-content-length"])
    assert [each["name"] for each in json.loads(answer.body[:size])["outputs"]] == ["contributions"]
    assert np.array_equal(np.frombuffer(answer.body[size:], "<f8").reshape(exact.shape), exact)


def test_no_process_before_the_first_request_and_a_new_one_after_a_crash(tmp_path: Path) -> None:
    cases.write_bundle(tmp_path, "tree")
    body = rig.matrix(cases.fitted("tree").table[:1].tolist())
    with rig.serving(tmp_path) as server:
        assert child_of(server) == []
        with server.client() as client:
            first = post(client, f"{SIBLING}/infer", body)
            (child,) = child_of(server)
            assert os.getpriority(os.PRIO_PROCESS, child) == 19
            os.kill(child, signal.SIGSTOP)
            os.kill(child, signal.SIGKILL)
            wait_until(lambda: child not in child_of(server))
            lost = post(client, f"{SIBLING}/infer", body)
            again = post(client, f"{SIBLING}/infer", body)
            assert (first.status, lost.status, again.status) == (200, 500, 200)
            assert first.body == again.body
            assert client.infer(body).status == 200
            (last,) = child_of(server)
        server.terminate()
        assert server.end() == 0
        wait_until(lambda: not Path(f"/proc/{last}").exists())


@contextmanager
def no_child_left(server: rig.Server) -> Iterator[None]:
    """Kill its children behind the block: a stopped one would not hear that the server is gone."""
    try:
        yield
    finally:
        for child in child_of(server):
            os.kill(child, signal.SIGKILL)


def test_waiting_is_bounded_and_inference_goes_on_beside_a_stuck_process(tmp_path: Path) -> None:
    cases.write_bundle(tmp_path, "tree")
    body = rig.matrix(cases.fitted("tree").table[:1].tolist())
    with rig.serving(tmp_path) as server, no_child_left(server), server.client() as client:
        assert post(client, f"{SIBLING}/infer", body).status == 200
        (child,) = child_of(server)
        os.kill(child, signal.SIGSTOP)
        asking = [server.client() for _ in range(service.MAX_WAITING + 1)]
        for each in asking:
            each.send(request(f"{SIBLING}/infer", body))
        (first,), _, _ = select.select([each.socket for each in asking], [], [], 20)
        (refused,) = (each for each in asking if each.socket is first)
        answer = refused.answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert client.infer(body).status == 200
        os.kill(child, signal.SIGCONT)
        assert [each.answer().status for each in asking if each is not refused] == [200] * service.MAX_WAITING
        for each in asking:
            each.__exit__()
