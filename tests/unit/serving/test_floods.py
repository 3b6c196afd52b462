"""Floods within every single limit, to a real process: its memory stays far below the 512 MiB that a pod gets, and others are answered."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpus.corpus import files
from unit.serving import peers, rig

MiB = 1024 * 1024
ROW = rig.matrix([[1.0, 2.0, 3.0]])
CHUNKED = b"POST /v2/models/model/infer HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
MOST_ROWS = 174_762


@pytest.fixture
def fresh(bundles: dict[str, Path]) -> Iterator[rig.Server]:
    with rig.serving(bundles["classes"]) as started:
        yield started


def memory(server: rig.Server, kind: str) -> int:
    """Resident bytes: `VmRSS` now, `VmHWM` at the most so far."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition(f"{kind}:")[2].split()[0]) * 1024


def large(rows: int) -> bytes:
    """A request of a byte for each value, whose answer takes forty for each row."""
    tensor = {"name": "input", "shape": [rows, 3], "datatype": "UINT8", "parameters": {"binary_data_size": rows * 3}}
    head = json.dumps({"inputs": [tensor]}).encode()
    return rig.infer_request(head + b"\x01" * (rows * 3), f"Inference-Header-Content-Length: {len(head)}")


def test_body_in_tiny_pieces_takes_what_is_counted_for_it(fresh: rig.Server) -> None:
    before = memory(fresh, "VmRSS")
    pieces = b"2\r\n1,\r\n" * (MiB // 2)
    with fresh.client() as slow, fresh.client() as other:
        slow.send(CHUNKED)
        for _ in range(4):
            slow.send(pieces)
        # Answered in the order of arrival: what was sent before is read by now.
        assert other.infer(ROW).status == 200
        peers.until(lambda: not unread(slow.socket))
        assert memory(fresh, "VmHWM") - before < 24 * MiB
        slow.send(b"0\r\n\r\n")
        assert slow.answer().json["error"].startswith("body: not JSON")


def unread(connection: socket.socket) -> bool:
    """Whether the peer has yet to read something of what was sent on a connection of this machine."""
    port = f":{connection.getsockname()[1]:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # tx_queue:rx_queue of both ends.
    return any(
        int(part, 16)
        for line in lines
        if line[1].endswith(port) or line[2].endswith(port)
        for part in line[4].split(":")
    )


def test_few_bytes_that_ask_for_large_answers_are_bounded(fresh: rig.Server) -> None:
    with fresh.client() as client:
        client.send(large(2_600_000))
        assert client.answer().json["error"].startswith("inputs[0].shape: expected [N, 3] with N from 1 to 174762")
    deaf = [fresh.client() for _ in range(40)]
    for client in deaf:
        client.send(large(MOST_ROWS))
    peers.until(lambda: sum(rig.answered(fresh.samples(), code) for code in ("200", "503")) == len(deaf), 60)
    assert rig.answered(fresh.samples(), "200") >= 4
    assert memory(fresh, "VmHWM") < 400 * MiB
    with fresh.client() as other:
        assert other.get("/v2/health/ready").status == 200
    for client in deaf:
        client.__exit__()
    peers.until(lambda: is_answered(fresh))


def is_answered(server: rig.Server) -> bool:
    with server.client() as client:
        return client.infer(ROW).status == 200


def test_bad_bodies_leave_nothing_behind(fresh: rig.Server) -> None:
    most = 8 * MiB
    bodies = [
        *files("serving/json").values(),
        b"[" * most,
        (b'{"x":[' + b"[]," * most)[:most],
        (b"{" + b'"a":1,' * most)[:most],
        b'{"inputs":[{"name":"input","shape":[100000,3],"datatype":"FP32","data":[' + b"0," * 299_999 + b"true]}]}",
        b'{"inputs":[{"name":"input","shape":[1,3],"datatype":"FP32","data":[1,2,0.' + b"1" * MiB + b"e9]}]}",
    ]

    def flood() -> int:
        with fresh.client() as client:
            for body in bodies:
                assert client.infer(body).status in (200, 400)
        return memory(fresh, "VmRSS")

    flood()
    first = flood()
    for _ in range(5):
        last = flood()
    assert last - first < 24 * MiB, "of 125 MiB"
    assert memory(fresh, "VmHWM") < 256 * MiB
