"""What runs out on a node: file descriptors, the disk, patience with slow clients. The server serves on with what there is."""

import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelcycle_bundle.traffic import SHARE_DENOMINATOR
from unit.serving import peers, rig

ROW = rig.matrix([[1.0, 2.0, 3.0]])


@pytest.fixture
def running(bundles: dict[str, Path], tmp_path: Path) -> Iterator[peers.Stable]:
    with peers.start(bundles["classes"], tmp_path) as started:
        yield started


def allow_files(server: rig.Server, spare: int) -> None:
    """Leave the process room for so many more file descriptors."""
    used = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + spare, 4096))


def outcome(connection: socket.socket) -> str:
    """What becomes of one request on an open connection."""
    try:
        connection.sendall(rig.infer_request(ROW))
        return connection.recv(4096)[9:12].decode() or "closed"
    except ConnectionError:
        return "closed"


def test_flood_beyond_the_file_descriptors_is_turned_away_and_the_rest_served(running: peers.Stable) -> None:
    server = running.server
    allow_files(server, 20)
    flood = [socket.create_connection(("127.0.0.1", server.http_port), timeout=10) for _ in range(60)]
    found = [outcome(connection) for connection in flood]
    assert set(found) == {"200", "closed"}
    assert 10 <= found.count("200") <= 25
    for connection in flood:
        connection.close()
    peers.until(lambda: outcome(socket.create_connection(("127.0.0.1", server.http_port), timeout=10)) == "200")
    assert server.samples()["modelcycle_rows_total"][()] == found.count("200") + 1


def test_no_file_descriptor_for_the_way_to_the_canary_is_no_failure_of_a_request(running: peers.Stable) -> None:
    with peers.Peer(peers.say(peers.answer())) as canary, running.server.client() as client:
        assert client.infer(ROW).status == 200
        running.hand_on(canary.target, SHARE_DENOMINATOR)
        with socket.create_connection(("127.0.0.1", running.server.metrics_port)):
            # None at all: with as many as are open, one that is given back meanwhile would be enough for the way to the canary.
            resource.prlimit(running.server.process.pid, resource.RLIMIT_NOFILE, (0, 4096))
            answers = [client.infer(ROW) for _ in range(5)]
            allow_files(running.server, 200)
        assert [answer.status for answer in answers] == [200] * 5
        assert {answer.json["model_version"] for answer in answers} == {running.version}
        assert running.arms() == {"canary unreached": 5}


def test_server_takes_all_file_descriptors_that_it_may(bundles: dict[str, Path]) -> None:
    command = [
        sys.executable,
        "-m",
        "modelcycle_serving",
        "--bundle",
        str(bundles["classes"]),
        "--http-port",
        "0",
        "--metrics-port",
        "0",
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 3000)),
    )
    with rig.Server(process) as server:
        server.wait_for("ready")
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (3000, 3000)


def test_full_disk_under_the_log_stops_no_request(bundles: dict[str, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    command = [sys.executable, "-m", "modelcycle_serving", "--bundle", str(bundles["classes"]), "--host", "127.0.0.1"]
    command += ["--http-port", str(port), "--metrics-port", "0", "--drain-idle", "0.2", "--drain-settle", "0.2"]
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen(command, stdout=full, stderr=full)
    try:
        peers.until(lambda: is_ready(port))
        with rig.Client(port) as client:
            assert client.infer(ROW).status == 200
            assert client.infer({"inputs": []}).status == 400
        process.terminate()
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()


def is_ready(port: int) -> bool:
    try:
        with rig.Client(port) as client:
            return client.get("/v2/health/ready").status == 200
    except ConnectionError:
        return False


def test_full_disk_under_the_termination_message_keeps_the_reason_in_the_log(tmp_path: Path) -> None:
    server = rig.start(tmp_path, environment={"MODELCYCLE_TERMINATION_LOG": "/dev/full"})
    assert server.end() == 1
    messages = {line["message"]: line for line in server.log}
    assert messages["not serving"]["reason"] == "ModelNotFound"
    assert messages["no termination message written"]["detail"] == "No space left on device"


def test_traffic_file_that_cannot_be_read_changes_nothing(running: peers.Stable) -> None:
    with peers.Peer(peers.say(peers.answer())) as canary, running.server.client() as client:
        running.hand_on(canary.target, SHARE_DENOMINATOR)
        running.file.unlink()
        running.file.mkdir()
        time.sleep(0.2)
        assert client.infer(ROW).body == peers.ANSWER


def test_thousand_slow_clients_hold_up_nobody_and_are_cut_off(bundles: dict[str, Path]) -> None:
    with rig.serving(bundles["classes"], "--head-timeout", "1", "--body-timeout", "1") as server:
        slow = [socket.create_connection(("127.0.0.1", server.http_port), timeout=20) for _ in range(500)]
        for at, connection in enumerate(slow):
            connection.sendall(b"POST /v2/models/model/infer HTT" if at % 2 else rig.infer_request(ROW)[:-1])
        with server.client() as client:
            assert client.infer(ROW).status == 200
        assert {connection.recv(4096)[9:12] for connection in slow} == {b"408"}
        for connection in slow:
            connection.close()


def test_connections_that_only_wait_make_room_for_others(bundles: dict[str, Path]) -> None:
    with rig.serving(bundles["classes"], "--max-connections", "40") as server:
        busy = server.client()
        busy.send(rig.infer_request(ROW)[:-1])
        waiting = [socket.create_connection(("127.0.0.1", server.http_port), timeout=20) for _ in range(60)]
        peers.until(lambda: is_ready(server.http_port))
        busy.send(rig.infer_request(ROW)[-1:])
        assert busy.answer().status == 200
        assert waiting[0].recv(4096) == b"", "closed in silence, those idle longest first"


def test_log_lines_of_refusals_hold_no_payload(running: peers.Stable) -> None:
    secret = 73519.25
    server = running.server
    with server.client() as client:
        client.infer(rig.matrix([[secret, 1.0]]))
        client.infer(rig.matrix([[secret, 1.0, 2.0]], outputs=[{"name": str(secret)}]))
        client.send(rig.infer_request(json.dumps({"inputs": secret}).encode(), "X: y"))
        assert client.answer().status == 400
    server.process.kill()
    server.end()
    assert rig.no_numbers_of(json.dumps(server.log), [secret])
