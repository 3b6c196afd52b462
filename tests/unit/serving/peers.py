"""Pods of another revision that misbehave on purpose, on real sockets; and a serving process that is told whom to hand requests on to."""

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from modelcycle_bundle import metric_names
from modelcycle_bundle.traffic import Traffic, to_text
from unit.serving import rig

DEPLOYMENT = "aabbcc"
ANSWER = b'{"model_version":"canary"}'


def answer(body: bytes = ANSWER, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class Asked:
    """One request as it arrived."""

    head: bytes
    body: bytes
    connection: int
    """Number of the connection, from 0."""
    at: int
    """Number of the request on its connection, from 0."""


Behaviour = Callable[[socket.socket, Asked], None]
"""Answers one request; a closed socket ends the connection."""


def say(raw: bytes) -> Behaviour:
    """Send these bytes."""
    return lambda connection, asked: connection.sendall(raw)


def say_and_close(raw: bytes) -> Behaviour:
    """Send these bytes, then close."""

    def behave(connection: socket.socket, asked: Asked) -> None:
        connection.sendall(raw)
        connection.close()

    return behave


def hang(connection: socket.socket, asked: Asked) -> None:
    """Never answer."""


def reset(connection: socket.socket, asked: Asked) -> None:
    """Close with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def half_close(connection: socket.socket, asked: Asked) -> None:
    """Send the head of an answer, then the end of the stream, and stay."""
    connection.sendall(answer()[:-5])
    connection.shutdown(socket.SHUT_WR)


def drip(connection: socket.socket, asked: Asked) -> None:
    """An answer that makes progress and never comes to its end in time."""
    for at in range(len(raw := answer())):
        connection.sendall(raw[at : at + 1])
        time.sleep(0.05)


class Peer:
    """A server that behaves as told. Threads, so that the loop under test is not its own."""

    def __init__(self, behave: Behaviour, host: str = "127.0.0.1") -> None:
        self.behave = behave
        self.early: bytes | None = None
        """Said instead of reading a request's body."""
        self.asked: list[Asked] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._ended: set[int] = set()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._host = f"[{host}]" if ":" in host else host
        self._listening = socket.create_server((host, 0), family=family, backlog=512)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def target(self) -> str:
        return f"{self._host}:{self.port}"

    def hang_up(self, number: int) -> None:
        """End one connection."""
        self._open[number].shutdown(socket.SHUT_RDWR)

    def ended(self, number: int) -> bool:
        """Whether the other side has ended a connection."""
        return number in self._ended

    def blurt(self, raw: bytes) -> None:
        """Say something on every connection, unasked."""
        for connection in self._open:
            connection.sendall(raw)

    def close(self) -> None:
        """Be gone: nobody listens, connections end."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(connection)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection, self.connections - 1), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        # No file object: it would hold the socket open when a behaviour closes it.
        pending = b""
        with contextlib.suppress(OSError):
            for at in range(1_000_000):
                while not (end := pending.find(b"\r\n\r\n") + 4) > 3:
                    pending += _some(connection)
                head, pending = pending[:end], pending[end:]
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                if self.early is not None:
                    connection.sendall(self.early)
                    threading.Event().wait()
                while len(pending) < size:
                    pending += _some(connection)
                asked = Asked(head, pending[:size], number, at)
                pending = pending[size:]
                self.asked.append(asked)
                self.behave(connection, asked)
        self._ended.add(number)


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("closed")
    return data


@dataclass
class Stable:
    """A serving process and its traffic annotation."""

    server: rig.Server
    file: Path
    version: str
    rollouts: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))
    applied: Traffic = field(default_factory=Traffic)

    def __enter__(self) -> "Stable":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()

    def rollout(self) -> str:
        """A rollout that no test had before."""
        return f"{DEPLOYMENT}-{next(self.rollouts):08x}"

    def hand_on(
        self, target: str, share: int, rollout: str = "", timeout: float = 20.0, *, close: bool = False
    ) -> None:
        """Write the annotation and wait until it is applied."""
        self.tell(Traffic(rollout or self.rollout(), 0, share, target, timeout, close))

    def tell(self, traffic: Traffic) -> None:
        """Write an annotation under the next seq and wait until it is applied."""
        self.applied = replace(traffic, seq=self.applied.seq + 1)
        self.write(to_text(self.applied))
        self.until_seq(self.applied.seq)

    def write(self, text: str) -> None:
        """Swap the file as the kubelet does: in one step."""
        swap(self.file, text)

    def until_seq(self, seq: int) -> None:
        """Wait until this annotation is applied."""
        deadline = time.monotonic() + 20
        while self.seq() != seq:
            assert time.monotonic() < deadline, f"seq {seq} is not applied"
            time.sleep(0.02)

    def seq(self) -> int:
        [value] = self.server.samples()[metric_names.TRAFFIC_SEQ].values()
        return int(value)

    def arms(self) -> dict[str, int]:
        """`arm outcome` -> requests of the rollout that is applied, zeros left out."""
        found = {}
        for labels, value in self.server.samples().get(metric_names.ARM_REQUESTS, {}).items():
            named = dict(labels)
            if value and named["rollout"] == self.applied.rollout:
                found[f"{named['arm']} {named['outcome']}"] = int(value)
        return found

    def series(self, name: str, *labels: str) -> dict[str, float]:
        """Values of one metric of the rollout that is applied, by the values of these labels; zeros left out."""
        found = {}
        for each, value in self.server.samples().get(name, {}).items():
            named = dict(each)
            if value and named["rollout"] == self.applied.rollout:
                found[" ".join(named[label] for label in labels)] = value
        return found

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.server.process.pid}/fd"))

    def memory(self) -> int:
        """Resident bytes."""
        pages = Path(f"/proc/{self.server.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Service:
    """What a cluster puts in front of pods: each new connection goes to one of them, drawn at random, and stays there."""

    def __init__(self, ports: Sequence[int], random: Random) -> None:
        self._ports = ports
        self._random = random
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.target = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._random.choice(self._ports)))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_pipe, args=(one, other), daemon=True).start()


def _pipe(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    for each in (one, other):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def start(bundle: Path, folder: Path, *flags: str) -> Stable:
    """A ready process that hands nothing on yet."""
    file = folder / f"{bundle.name}-traffic.json"
    file.write_text("")
    server = rig.start(bundle, "--traffic-file", str(file), *flags)
    server.wait_for("ready")
    with server.client() as client:
        version = client.get("/v2/models/model").json["versions"][0]
    return Stable(server, file, version)


def swap(file: Path, text: str) -> None:
    """Put another text in place of a file in one step."""
    beside = file.with_name(f".{file.name}")
    beside.write_text(text)
    beside.replace(file)


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.02)
