"""What is measured, in which order, and how often: contenders, cells, rounds.

Owns the plan of a run and its record, one JSON line for each start and each attempt at a cell. Judges nothing: tables do.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.serving import environments, load, machine, servers, wire
from benchmarks.serving.models import Model
from benchmarks.serving.wire import Wire

NOISY: Final = 0.2
"""Foreign cores above which a cell is measured again."""
CONNECTIONS: Final = (1, 16, 64)
ROWS: Final = (1, 32)


class Server(StrEnum):
    """Who is measured."""

    OURS = "modelcycle"
    FASTAPI = "FastAPI"
    FASTAPI_RAW = "FastAPI without validation"
    MLSERVER = "MLServer"
    MLSERVER_PARALLEL = "MLServer, parallel worker"


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of load."""

    rows: int
    wire: Wire
    connections: int


@dataclass(frozen=True, slots=True)
class Contender:
    """A server, how it comes up, and the loads it gets."""

    server: Server
    opened: Callable[[Model], AbstractContextManager[servers.Running]]
    environment: environments.Environment
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much."""

    rounds: int
    seconds: float
    """Of one cell."""
    attempts: int
    """At a cell that is noisy."""
    budget_seconds: float
    """After which no cell is repeated."""
    pairs: int
    """Of two ways of our own server, one right after the other."""


FULL: Final = Plan(rounds=3, seconds=2.0, attempts=3, budget_seconds=14 * 60, pairs=8)
QUICK: Final = Plan(rounds=1, seconds=1.0, attempts=1, budget_seconds=0, pairs=1)

Write = Callable[[dict[str, Any]], None]


def contenders(cores: machine.Cores) -> list[Contender]:
    """All of them."""
    ours, fast, ml = environments.ours(), environments.peer("fastapi"), environments.peer("mlserver")
    every = tuple(Shape(rows, Wire.JSON, connections) for rows in ROWS for connections in CONNECTIONS)
    binary = tuple(Shape(32, Wire.BINARY, connections) for connections in CONNECTIONS)

    def alone(program: servers.Program) -> Callable[[Model], AbstractContextManager[servers.Running]]:
        return lambda model: servers.running(program, model, cores.server)

    return [
        Contender(Server.OURS, alone(servers.ours(ours)), ours, every + binary),
        Contender(Server.FASTAPI, alone(servers.fastapi(fast, "fastapi_pydantic")), fast, every),
        Contender(Server.MLSERVER, alone(servers.mlserver(ml, {"parallel_workers": 0})), ml, every),
        Contender(Server.FASTAPI_RAW, alone(servers.fastapi(fast, "fastapi_orjson")), fast, every),
        Contender(Server.MLSERVER_PARALLEL, alone(servers.mlserver(ml, {})), ml, every),
    ]


def run(plan: Plan, chosen: Sequence[Contender], models: Sequence[Model], core: int, write: Write) -> None:
    """Measure all, writing as it goes. Raises WrongAnswer, NotReady."""
    write({"kind": "machine", **machine.described(), "seconds": plan.seconds, "rounds": plan.rounds})
    for contender in chosen:
        write({"kind": "size", "server": contender.server, "mib": contender.environment.size_mib()})
    until = time.monotonic() + plan.budget_seconds
    for number in range(plan.rounds):
        # Reversed each time, so that a machine that slows down or speeds up favours nobody.
        turn = 1 if number % 2 == 0 else -1
        for model in models[::turn]:
            for contender in chosen[::turn]:
                told = partial(_tell, write, number, contender.server, model.name)
                _one_server(contender, model, plan, core, until, told)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a record."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def _tell(write: Write, number: int, server: Server, model: str, kind: str, line: dict[str, Any]) -> None:
    write({"kind": kind, "round": number, "server": server, "model": model, **line})


def _one_server(
    contender: Contender,
    model: Model,
    plan: Plan,
    core: int,
    until: float,
    tell: Callable[[str, dict[str, Any]], None],
) -> None:
    with contender.opened(model) as running:
        for rows, form in dict.fromkeys((shape.rows, shape.wire) for shape in contender.shapes):
            wire.check(running.port, model, rows, form)
        for shape in contender.shapes:
            for attempt, measured in enumerate(_attempts(running, model, shape, plan, core, until)):
                tell("cell", {**asdict(shape), "attempt": attempt, **asdict(measured)})
        tell("start", {"ready_seconds": running.ready_seconds, "pss_mib": running.pss_mib()})


def _attempts(
    running: servers.Running, model: Model, shape: Shape, plan: Plan, core: int, until: float
) -> Iterator[load.Measured]:
    """At least one; the last one is quiet, or the plan allows no more."""
    raw = wire.whole_requests(model, shape.rows, shape.wire)
    target = load.Target(running.port, running.pid, running.beside)
    for _ in range(plan.attempts):
        measured = load.run(target, raw, shape.connections, plan.seconds, core)
        yield measured
        if measured.foreign <= NOISY or time.monotonic() > until:
            return
