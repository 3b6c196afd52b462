"""Two ways of our own server right after each other, many times: differences smaller than what the machine drifts by in a minute.

Owns which ways are compared: without counting, handing every request on, and explaining to somebody else without a pause.
All processes are up at once; one is loaded at a time.
"""

import contextlib
import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Any, Final

from benchmarks.serving import environments, load, machine, servers, wire
from benchmarks.serving.cells import ROWS
from benchmarks.serving.models import Model
from benchmarks.serving.wire import Wire

SECONDS: Final = 0.8
CONNECTIONS: Final = 16


class Way(StrEnum):
    """What the server as it ships is compared with."""

    UNCOUNTED = "counting off"
    FORWARDING = "handing on"
    EXPLAINING = "explaining"


def run(pairs: int, models: Sequence[Model], cores: machine.Cores, write: Callable[[dict[str, Any]], None]) -> None:
    """Measure `pairs` of each, writing a line for each. Raises WrongAnswer, NotReady."""
    environment = environments.ours()
    shipped, uncounted = servers.ours(environment), servers.uncounted(environment)
    for model in models:
        with (
            servers.running(shipped, model, cores.server) as local,
            servers.running(uncounted, model, cores.server) as silent,
            servers.forwarding(shipped, model, cores.server, cores.load) as hop,
        ):
            for way, other in ((Way.UNCOUNTED, silent), (Way.FORWARDING, hop)):
                for rows in ROWS:
                    about = {"kind": "pair", "way": way, "model": model.name, "rows": rows}
                    for told in _compared(pairs, model, rows, (local, other), cores):
                        write({**about, **told})
        with (
            servers.running(shipped, model, cores.server) as local,
            servers.running(shipped, model, cores.server) as explaining,
            asked_to_explain(explaining, model) as answers,
        ):
            about = {"kind": "pair", "way": Way.EXPLAINING, "model": model.name, "rows": 1}
            for told in _compared(pairs, model, 1, (local, explaining), cores):
                write({**about, **told, "explained": answers.total()})


def _compared(
    pairs: int, model: Model, rows: int, two: tuple[servers.Running, servers.Running], cores: machine.Cores
) -> Iterator[dict[str, Any]]:
    wire.check(two[1].port, model, rows, Wire.JSON)
    requests = wire.whole_requests(model, rows, Wire.JSON)
    for number in range(pairs):
        # The first of two meets another cache: each is first as often as the other.
        turn = 1 if number % 2 == 0 else -1
        ours, other = [_measured(each, requests, cores) for each in two[::turn]][::turn]
        yield {
            "cpu_us": [ours.cpu_us, other.cpu_us],
            "requests_per_second": [ours.requests_per_second, other.requests_per_second],
            "p99_ms": [ours.p99_ms, other.p99_ms],
            "foreign": max(ours.foreign, other.foreign),
            "errors": ours.errors + other.errors,
        }


@contextlib.contextmanager
def asked_to_explain(server: servers.Running, model: Model) -> Iterator[Counter[int]]:
    """Somebody asks for explanations, the next as soon as the last is there, for the length of the block: answers by status."""
    body = wire.body(model.rows[:1], Wire.JSON)
    answers: Counter[int] = Counter()
    over = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while not over.is_set():
            connection.request("POST", "/v2/models/model/explain", body.content, body.headers)
            response = connection.getresponse()
            response.read()
            answers[response.status] += 1
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()


def _measured(server: servers.Running, requests: Sequence[bytes], cores: machine.Cores) -> load.Measured:
    target = load.Target(server.port, server.pid, server.beside)
    return load.run(target, requests, CONNECTIONS, SECONDS, cores.load)
