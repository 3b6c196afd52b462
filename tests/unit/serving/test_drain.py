"""SIGTERM under load and at rest: no request that arrives is lost, and the process ends by itself."""

import signal
import threading
import time
from pathlib import Path

import pytest

from unit.serving import rig

ROW = rig.matrix([[1.0, 2.0, 3.0]])
FAST = ("--drain-idle", "0.4", "--drain-settle", "0.8", "--drain-timeout", "10")


@pytest.fixture
def draining_soon(bundles: dict[str, Path]) -> rig.Server:
    server = rig.start(bundles["classes"], *FAST)
    server.wait_for("ready")
    return server


def test_drain_under_keep_alive_load_loses_nothing(draining_soon: rig.Server) -> None:
    until = threading.Event()
    loaders = [rig.Loader(draining_soon, until, ROW) for _ in range(6)]
    for loader in loaders:
        loader.start()
    draining_soon.terminate()
    draining_soon.wait_for("draining")
    with draining_soon.client() as probe:
        answer = probe.get("/v2/health/ready")
        assert (answer.status, answer.headers["connection"]) == (503, "close")
    # New connections arrive for as long as the endpoints still name this pod, here half of the settle time.
    until.wait(0.4)
    until.set()
    for loader in loaders:
        loader.join()
    assert draining_soon.end() == 0
    assert [loader.failures for loader in loaders] == [[]] * 6
    assert {status for loader in loaders for status in loader.statuses} == {200}
    assert all(loader.closes > 0 for loader in loaders)
    assert draining_soon.log[-1]["connections_cut"] == 0


def test_idle_keep_alive_connection_is_kept_for_drain_idle_and_its_late_request_answered(
    draining_soon: rig.Server,
) -> None:
    with draining_soon.client() as silent, draining_soon.client() as late:
        assert silent.infer(ROW).status == late.infer(ROW).status == 200
        draining_soon.terminate()
        draining_soon.wait_for("draining")
        begun = time.monotonic()
        answer = late.infer(ROW)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert late.is_closed()
        assert silent.is_closed()
        assert time.monotonic() - begun >= 0.35
        assert draining_soon.end() == 0


def test_pipelined_requests_are_all_answered_and_only_the_last_closes(draining_soon: rig.Server) -> None:
    with draining_soon.client() as client:
        client.get("/v2")
        draining_soon.terminate()
        draining_soon.wait_for("draining")
        raw = b"".join(rig.infer_request({**ROW, "id": str(at)}) for at in range(5))
        client.send(raw[:-10])
        answers = [client.answer() for _ in range(4)]
        client.send(raw[-10:])
        answers.append(client.answer())
        assert [answer.json["id"] for answer in answers] == ["0", "1", "2", "3", "4"]
        assert [answer.headers.get("connection") for answer in answers] == [None] * 4 + ["close"]
        assert client.is_closed()
    assert draining_soon.end() == 0


def test_second_sigterm_changes_nothing(draining_soon: rig.Server) -> None:
    with draining_soon.client() as client:
        client.get("/v2")
        draining_soon.terminate()
        draining_soon.wait_for("draining")
        draining_soon.terminate()
        assert client.infer(ROW).status == 200
    assert draining_soon.end() == 0


def test_metrics_stay_readable_during_the_drain(draining_soon: rig.Server) -> None:
    with draining_soon.client() as client:
        client.infer(ROW)
        draining_soon.terminate()
        draining_soon.wait_for("draining")
        samples = draining_soon.samples()
        assert samples["modelcycle_draining"][()] == 1
        assert samples["modelcycle_rows_total"][()] == 1
    assert draining_soon.end() == 0


def test_drain_timeout_ends_a_connection_that_never_finishes(bundles: dict[str, Path]) -> None:
    server = rig.start(bundles["classes"], "--drain-settle", "0", "--drain-timeout", "0.3")
    server.wait_for("ready")
    with server.client() as client:
        client.send(b"GET /v2 HT")
        server.terminate()
        assert server.end() == 0
        assert server.log[-1]["connections_cut"] == 1


def test_slow_header_and_slow_body_are_timed_out(bundles: dict[str, Path]) -> None:
    server = rig.start(bundles["classes"], "--head-timeout", "0.2", "--body-timeout", "0.2", *FAST)
    server.wait_for("ready")
    with server.client() as slow_head, server.client() as slow_body:
        slow_head.send(b"GET /v2 HTTP/1.1\r\nHo")
        slow_body.send(rig.infer_request(ROW)[:-3])
        for client in (slow_head, slow_body):
            answer = client.answer()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert rig.answered(server.samples(), "408") == 1
    server.process.send_signal(signal.SIGINT)
    assert server.end() == 0


def test_idle_connection_is_closed_after_keep_alive(bundles: dict[str, Path]) -> None:
    server = rig.start(bundles["classes"], "--keep-alive", "0.2", *FAST)
    with server.client() as client:
        assert client.get("/v2").status == 200
        assert client.is_closed()
    server.terminate()
    assert server.end() == 0
