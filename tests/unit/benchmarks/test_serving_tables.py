"""What the benchmark says of its own figures: medians of quiet attempts, the best peer, and goals missed by how much."""

from collections.abc import Iterable
from typing import Any

import pytest

from benchmarks.serving.cells import Server, Shape
from benchmarks.serving.pairs import Way
from benchmarks.serving.tables import Record, judged, markdown
from benchmarks.serving.wire import Wire

SHAPE = Shape(1, Wire.JSON, 16)
MACHINE = {
    "kind": "machine",
    "cpu": "some",
    "cores": "2",
    "system": "Linux",
    "python": "3.11",
    "onnxruntime": "1",
    "numpy": "2",
    "uvloop": "0",
    "httptools": "0",
    "rounds": 3,
    "seconds": 2.0,
}


def cell(server: Server, rate: float, foreign: float = 0.0, shape: Shape = SHAPE, **more: Any) -> dict[str, Any]:
    about = {"kind": "cell", "server": server.value, "model": "bc", "rows": shape.rows, "wire": shape.wire.value}
    figures = {"requests_per_second": rate, "p50_ms": 1.0, "p99_ms": 2.0, "cpu_us": 100.0, "errors": 0}
    return {**about, "connections": shape.connections, **figures, "foreign": foreign, **more}


def record(lines: Iterable[dict[str, Any]]) -> Record:
    return Record([MACHINE, *lines])


def test_medians_are_of_the_quiet_attempts_only() -> None:
    told = record([cell(Server.OURS, 10, 0.9), *(cell(Server.OURS, rate) for rate in (100, 300, 200))])

    figures = told.figures(Server.OURS, "bc", SHAPE)

    assert figures is not None
    assert (figures.requests_per_second, figures.noisy) == (200, False)


def test_a_cell_without_a_quiet_attempt_is_marked() -> None:
    told = record([cell(Server.OURS, rate, 0.5) for rate in (100, 300, 200)])

    figures = told.figures(Server.OURS, "bc", SHAPE)

    assert figures is not None
    assert (figures.requests_per_second, figures.noisy) == (200, True)


def test_the_best_peer_is_the_fastest_of_the_cell_and_never_the_one_beside_the_goals() -> None:
    told = record(
        [cell(Server.FASTAPI, 3), cell(Server.MLSERVER, 5), cell(Server.FASTAPI_RAW, 9), cell(Server.OURS, 8)]
    )

    assert told.best_peer("bc", SHAPE)[0] is Server.MLSERVER


def test_without_a_peer_there_is_no_ratio() -> None:
    with pytest.raises(LookupError):
        record([cell(Server.OURS, 8)]).best_peer("bc", SHAPE)


@pytest.mark.parametrize(
    ("value", "goal", "least", "said"),
    [
        (15.0, 15.0, True, ">= 15: met"),
        (12.0, 15.0, True, ">= 15: **missed by 20%**"),
        (0.5, 0.5, False, "<= 0.5: met"),
        (0.55, 0.5, False, "<= 0.5: **missed by 10%**"),
    ],
)
def test_a_goal_is_met_or_missed_by_a_share_of_it(value: float, goal: float, least: bool, said: str) -> None:
    assert judged(value, goal, least=least) == said


def test_the_report_holds_the_ratio_its_goal_and_what_went_wrong() -> None:
    servers = (Server.OURS, Server.FASTAPI)
    starts = [
        {"kind": "start", "server": s, "model": m, "ready_seconds": 1.0, "pss_mib": 80.0}
        for s in servers
        for m in ("bc", "digits", "wide")
    ]
    sizes = [{"kind": "size", "server": s, "mib": 100.0} for s in servers]
    cells = [cell(Server.OURS, 3000, errors=2), cell(Server.FASTAPI, 100, p99_ms=8.0)]

    text = markdown(record([*cells, *starts, *sizes]))

    assert "| bc, 1 row, 16 | FastAPI 100 | 3000 | 30.0 | >= 15: met | 0.25 | <= 0.5: met |" in text
    assert "2 errors" in text
    assert "| installed, MiB | 100 | 100 | 1.00 | <= 1: met |" in text


def test_a_run_of_ours_alone_has_figures_and_no_ratios() -> None:
    text = markdown(record([cell(Server.OURS, 3000)]))

    assert "| modelcycle, bc, 1 row |  | 3000; 1.00/2.00; 100 |  |" in text
    assert "best peer" not in text


def test_two_ways_are_compared_pair_by_pair() -> None:
    costs = [(100, 150), (200, 280), (50, 80), (100, 90)]
    quiet = [
        {"way": "handing on", "model": "bc", "rows": 1, "cpu_us": cost, "foreign": 0.0, "errors": 0} for cost in costs
    ]
    noise = {"way": "handing on", "model": "bc", "rows": 1, "cpu_us": (1, 99), "foreign": 1.0, "errors": 0}

    ratios = record({"kind": "pair", **line} for line in (*quiet, noise)).ratios(Way.FORWARDING, "bc", 1)

    assert ratios is not None
    assert ratios.median == pytest.approx(1.45)
    assert (ratios.low, ratios.high, ratios.noisy) == (1.4, 1.5, False)
