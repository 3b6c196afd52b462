"""Two ways of our own server right after each other, many times: differences smaller than what the machine drifts by in a minute.

Owns which ways are compared: without counting, handing every request on, and explaining to somebody else.
All processes are up at once; one is loaded at a time.
"""

import http.client
import threading
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from functools import partial
from itertools import product
from typing import Any, Final

from benchmarks.serving import environments, load, machine, servers, wire
from benchmarks.serving.cells import ROWS
from benchmarks.serving.models import Model
from benchmarks.serving.wire import Wire

SECONDS: Final = 0.8
CONNECTIONS: Final = 16
EXPLANATIONS: Final = 20
"""A second."""


class Way(StrEnum):
    """What the server as it ships is compared with."""

    UNCOUNTED = "counting off"
    FORWARDING = "handing on"
    EXPLAINING = "explaining"


Measure = Callable[[Sequence[bytes]], load.Measured]
"""Load one way of the server with these requests."""


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
            for port, rows in product((silent.port, hop.port), ROWS):
                wire.check(port, model, rows, Wire.JSON)
            alone = partial(_measured, local, cores)
            others = {
                Way.UNCOUNTED: partial(_measured, silent, cores),
                Way.FORWARDING: partial(_measured, hop, cores),
                Way.EXPLAINING: partial(_explaining, local, model, cores),
            }
            for way, other in others.items():
                for rows in ROWS if way is not Way.EXPLAINING else (1,):
                    about = {"kind": "pair", "way": way, "model": model.name, "rows": rows}
                    for told in _compared(pairs, wire.whole_requests(model, rows, Wire.JSON), (alone, other)):
                        write({**about, **told})


def _compared(pairs: int, requests: Sequence[bytes], two: tuple[Measure, Measure]) -> Iterator[dict[str, Any]]:
    for number in range(pairs):
        # The first of two meets another cache: each is first as often as the other.
        turn = 1 if number % 2 == 0 else -1
        ours, other = [measure(requests) for measure in two[::turn]][::turn]
        yield {
            "cpu_us": [ours.cpu_us, other.cpu_us],
            "requests_per_second": [ours.requests_per_second, other.requests_per_second],
            "p99_ms": [ours.p99_ms, other.p99_ms],
            "foreign": max(ours.foreign, other.foreign),
            "errors": ours.errors + other.errors,
        }


def _measured(server: servers.Running, cores: machine.Cores, requests: Sequence[bytes]) -> load.Measured:
    target = load.Target(server.port, server.pid, server.beside)
    return load.run(target, requests, CONNECTIONS, SECONDS, cores.load)


def _explaining(
    server: servers.Running, model: Model, cores: machine.Cores, requests: Sequence[bytes]
) -> load.Measured:
    """While somebody asks for EXPLANATIONS answers a second to be explained. Raises WrongAnswer."""
    body = wire.body(model.rows[:1], Wire.JSON)
    over = threading.Event()
    refused: list[int] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while not over.wait(1 / EXPLANATIONS):
            connection.request("POST", "/v2/models/model/explain", body.content, body.headers)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                refused.append(response.status)
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        measured = _measured(server, cores, requests)
    finally:
        over.set()
        thread.join()
    if refused:
        raise wire.WrongAnswer(f"{model.name}: explanations were refused: {refused}")
    return measured
