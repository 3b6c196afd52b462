"""From the record of a run to Markdown: ratios to the best peer of each cell, beside the goals.

Owns medians, what counts as the best peer, and the goals. Pure: lines in, text out.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from benchmarks.serving import native, pairs
from benchmarks.serving.cells import CONNECTIONS, NOISY, ROWS, Server, Shape
from benchmarks.serving.pairs import Way
from benchmarks.serving.wire import Wire

MODELS: Final = {"bc": "30 features, logistic", "digits": "64, forest of 200", "wide": "200, boosting of 200"}
PEERS: Final = (Server.FASTAPI, Server.MLSERVER, Server.MLSERVER_PARALLEL)
"""Among these is the best peer; FastAPI without validation has a column of its own."""

GOAL_SPEED: Final = {
    (1, 16): {"bc": 15.0, "digits": 10.0, "wide": 10.0},
    (1, 64): {"bc": 15.0, "digits": 10.0, "wide": 10.0},
    (32, 16): {"bc": 9.0, "digits": 2.5, "wide": 2.0},
    (32, 64): {"bc": 9.0, "digits": 2.5, "wide": 2.0},
}
"""(rows, connections) -> model -> times the best peer's requests a second. At one connection there is no goal."""
GOAL_P99: Final = 0.5
GOAL_PAIRS: Final = {
    Way.UNCOUNTED: {"bc": 0.94, "digits": 0.94, "wide": 0.88},
    Way.FORWARDING: {"bc": 1.6, "digits": 1.6, "wide": 1.6},
}
_TOLD: Final = {Way.UNCOUNTED: "CPU time, counting off / on", Way.FORWARDING: "CPU time, handing on / answering"}
_BESIDE_EXPLANATIONS: Final = {
    f"requests/s, {pairs.EXPLANATIONS} explanations/s / none": "requests_per_second",
    f"p99, {pairs.EXPLANATIONS} explanations/s / none": "p99_ms",
}
GOAL_COLD_START: Final = 0.5
GOAL_MEMORY: Final = 0.9
GOAL_SIZE: Final = 1.0
GOAL_BINARY: Final = 3.0

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians of one cell over the rounds."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    noisy: bool
    """No attempt was quiet, so that these are medians of noisy ones."""


@dataclass(frozen=True, slots=True)
class Ratios:
    """Of the CPU time of two ways of our server, over pairs: median and quartiles."""

    median: float
    low: float
    high: float
    noisy: bool


class Record:
    """What a run has written."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = list(lines)
        [self.machine] = self.of("machine")

    def of(self, kind: str) -> list[Line]:
        """All lines of one kind."""
        return [line for line in self._lines if line["kind"] == kind]

    def figures(self, server: Server, model: str, shape: Shape) -> Figures | None:
        """None when it was not measured."""
        asked = (server, model, shape.rows, shape.wire, shape.connections)
        cells = [line for line in self.of("cell") if _key(line) == asked]
        quiet = [line for line in cells if line["foreign"] <= NOISY]
        if not cells:
            return None
        chosen = quiet or cells

        def median(name: str) -> float:
            return statistics.median(float(line[name]) for line in chosen)

        return Figures(
            median("requests_per_second"), median("p50_ms"), median("p99_ms"), median("cpu_us"), noisy=not quiet
        )

    def best_peer(self, model: str, shape: Shape) -> tuple[Server, Figures]:
        """The one with most requests a second in this cell. Raises LookupError when no peer was measured."""
        found = [(peer, figures) for peer in PEERS if (figures := self.figures(peer, model, shape))]
        if not found:
            raise LookupError(f"no peer was measured: {model}, {shape}")
        return max(found, key=lambda each: each[1].requests_per_second)

    def ratios(self, way: Way, model: str, rows: int, of: str = "cpu_us") -> Ratios | None:
        """A figure of the other way over that of the server as it ships, CPU time a request by default; None when it was not measured."""
        lines = [line for line in self.of("pair") if (line["way"], line["model"], line["rows"]) == (way, model, rows)]
        quiet = [line for line in lines if line["foreign"] <= NOISY]
        if not lines:
            return None
        found = sorted(line[of][1] / line[of][0] for line in quiet or lines)
        low, high = found[len(found) // 4], found[-1 - len(found) // 4]
        return Ratios(statistics.median(found), low, high, noisy=not quiet)

    def start(self, server: Server, name: str, model: str | None = None) -> float:
        """Median of `ready_seconds` or `pss_mib` over all starts, or those of one model."""
        starts = (line for line in self.of("start") if line["server"] == server and model in (None, line["model"]))
        return statistics.median(float(line[name]) for line in starts)

    def size(self, server: Server) -> float:
        """Installed MiB."""
        return next(float(line["mib"]) for line in self.of("size") if line["server"] == server)

    def errors(self) -> int:
        """Refused, broken and late answers of the whole run."""
        return sum(line["errors"] for kind in ("cell", "pair") for line in self.of(kind))


def judged(value: float, goal: float, *, least: bool) -> str:
    """The goal, and whether it is met or by how much it is missed. `least`: the goal is a lower bound."""
    met = value >= goal if least else value <= goal
    sign = ">=" if least else "<="
    return f"{sign} {goal:g}: met" if met else f"{sign} {goal:g}: **missed by {abs(value / goal - 1):.0%}**"


def markdown(record: Record) -> str:
    """The whole report; of a run without peers, or without ours, what there is."""
    measured = {line["server"] for line in record.of("cell")}
    parts = [_head(record)]
    if Server.OURS in measured and measured.intersection(PEERS):
        parts.append(_speed(record))
    if Server.OURS in measured:
        parts.append(_inside(record))
    if Server.OURS in measured and measured.intersection(PEERS):
        parts.append(_outside(record))
    if Server.OURS in measured and record.of("native"):
        parts.append(_native(record))
    if record.of("profile"):
        parts.append(_profile(record))
    return "\n\n".join([*parts, _absolute(record)]) + "\n"


def _key(line: Line) -> tuple[Any, ...]:
    return line["server"], line["model"], line["rows"], line["wire"], line["connections"]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _head(record: Record) -> str:
    machine = record.machine
    attempts = len(record.of("cell"))
    versions = ", ".join(f"{name} {machine[name]}" for name in ("onnxruntime", "numpy", "uvloop", "httptools"))
    return (
        f"{machine['cpu']}, {machine['cores']} cores; {machine['system']}; Python {machine['python']}; {versions}. "
        f"{machine['rounds']} rounds of {machine['seconds']:g} s a cell, {attempts} attempts, {record.errors()} errors. "
        f"`~`: no quiet attempt (more than {NOISY:g} foreign cores)."
    )


def _speed(record: Record) -> str:
    rows = []
    for model in MODELS:
        for shape in (Shape(count, Wire.JSON, connections) for count in ROWS for connections in CONNECTIONS):
            ours = record.figures(Server.OURS, model, shape)
            if ours is None:
                continue
            peer, best = record.best_peer(model, shape)
            raw = record.figures(Server.FASTAPI_RAW, model, shape)
            ratio, p99 = ours.requests_per_second / best.requests_per_second, ours.p99_ms / best.p99_ms
            goal = GOAL_SPEED.get((shape.rows, shape.connections), {}).get(model)
            rows.append(
                [
                    f"{model}, {shape.rows} row{'s' * (shape.rows > 1)}, {shape.connections}",
                    f"{peer} {best.requests_per_second:.0f}",
                    f"{_mark(ours, best)}{ours.requests_per_second:.0f}",
                    f"{ratio:.1f}",
                    judged(ratio, goal, least=True) if goal else "",
                    f"{p99:.2f}",
                    judged(p99, GOAL_P99, least=False) if goal else "",
                    f"{ours.requests_per_second / raw.requests_per_second:.1f}" if raw else "",
                ]
            )
    header = ["model, rows, connections", "best peer, req/s", "ours, req/s", "ratio", "goal"]
    return _table([*header, "p99 ratio", "goal", "ratio to FastAPI without validation"], rows)


def _inside(record: Record) -> str:
    """Ours against ours."""
    rows = []
    for way, goals in GOAL_PAIRS.items():
        for model, goal in goals.items():
            for count in ROWS:
                ratios = record.ratios(way, model, count)
                if ratios is not None:
                    verdict = judged(ratios.median, goal, least=way is Way.UNCOUNTED)
                    name = f"{_TOLD[way]}: {model}, {count} row{'s' * (count > 1)}, {pairs.CONNECTIONS}"
                    rows.append([name, _spread(ratios), ("~" if ratios.noisy else "") + verdict])
    for model in MODELS:
        for told, of in _BESIDE_EXPLANATIONS.items():
            ratios = record.ratios(Way.EXPLAINING, model, 1, of)
            if ratios is not None:
                rows.append([f"{told}: {model}, 1 row, {pairs.CONNECTIONS}", _spread(ratios), ""])
    for model in MODELS:
        for connections in CONNECTIONS:
            text = record.figures(Server.OURS, model, Shape(32, Wire.JSON, connections))
            binary = record.figures(Server.OURS, model, Shape(32, Wire.BINARY, connections))
            if text and binary:
                ratio = binary.requests_per_second / text.requests_per_second
                goal = model == "wide" and connections > 1
                verdict = _mark(text, binary) + judged(ratio, GOAL_BINARY, least=True) if goal else ""
                rows.append([f"binary / JSON, req/s: {model}, 32 rows, {connections}", f"{ratio:.1f}", verdict])
    note = (
        "Counting and handing on: CPU time a request, in pairs of cells right after each other; median and quartiles of the ratios. "
        "The process that hands on has a core of its own, as a pod has.\n\n"
    )
    return note + _table(["ours beside ours", "ratio", "goal"], rows)


def _spread(ratios: Ratios) -> str:
    return f"{ratios.median:.2f} ({ratios.low:.2f} to {ratios.high:.2f})"


def _outside(record: Record) -> str:
    measured = [server for server in (*PEERS, Server.FASTAPI_RAW) if any(_of(record, "start", server))]
    rows = [
        _beside(f"cold start, s: {model}", partial(_ready, record, model), measured, GOAL_COLD_START, "{:.2f}")
        for model in MODELS
    ]
    rows += [
        _beside("memory after load, MiB", partial(_memory, record), measured, GOAL_MEMORY, "{:.0f}"),
        _beside("installed, MiB", record.size, measured, GOAL_SIZE, "{:.0f}"),
    ]
    return _table(["", "ours", *measured, "ratio to the best of the peers", "goal"], rows)


def _ready(record: Record, model: str, server: Server) -> float:
    return record.start(server, "ready_seconds", model)


def _memory(record: Record, server: Server) -> float:
    return record.start(server, "pss_mib")


def _beside(name: str, value: Callable[[Server], float], peers: Sequence[Server], goal: float, shown: str) -> list[str]:
    ours = value(Server.OURS)
    ratio = ours / min(value(peer) for peer in peers if peer in PEERS)
    others = [shown.format(value(peer)) for peer in peers]
    return [name, shown.format(ours), *others, f"{ratio:.2f}", judged(ratio, goal, least=False)]


def _native(record: Record) -> str:
    rows = []
    for line in record.of("native"):
        ours = record.figures(Server.OURS, line["model"], Shape(line["rows"], Wire.JSON, native.CONNECTIONS))
        if ours is not None:
            parts = [line[name] for name in ("http_us", "parse_us", "run_us")]
            name = f"{line['model']}, {line['rows']} row{'s' * (line['rows'] > 1)}, {native.CONNECTIONS}"
            shown = [f"{each:.1f}" for each in (ours.cpu_us, *parts)]
            rows.append([name, *shown, f"{ours.cpu_us / sum(parts):.1f}x"])
    header = ["CPU us a request", "ours", "HTTP and kernel, C++", "JSON to float32, C++", "model run", "at most"]
    return (
        "What compiled code could bring: an epoll loop that answers the same bytes, a parser of the numbers, and onnxruntime's run; "
        "checks, counting and writing answers taken as free.\n\n" + _table(header, rows)
    )


def _profile(record: Record) -> str:
    lines = record.of("profile")
    names = list(dict.fromkeys(part for line in lines for part in line["parts"]))
    rows = [[part, *(f"{line['parts'].get(part, 0) * line['cpu_us']:.1f}" for line in lines)] for part in names]
    rows.append(["all", *(f"{line['cpu_us']:.1f}" for line in lines)])
    cells = [f"{line['model']}, {line['rows']}, {line['connections']}" for line in lines]
    return "Where the time goes, by py-spy; a C function counts for the Python line that calls it.\n\n" + _table(
        ["CPU us a request: model, rows, connections", *cells], rows
    )


def _absolute(record: Record) -> str:
    rows = []
    for server in Server:
        for model in MODELS:
            for wire in Wire:
                for count in ROWS:
                    cells = [record.figures(server, model, Shape(count, wire, each)) for each in CONNECTIONS]
                    if any(cells):
                        name = f"{server}, {model}, {count} row{'s' * (count > 1)}{', binary' * (wire is Wire.BINARY)}"
                        rows.append([name, *map(_shown, cells)])
    header = ["req/s; p50/p99 in ms; CPU us a request", *(f"{each} connections" for each in CONNECTIONS)]
    return _table(header, rows)


def _shown(cell: Figures | None) -> str:
    if cell is None:
        return ""
    told = f"{cell.requests_per_second:.0f}; {cell.p50_ms:.2f}/{cell.p99_ms:.2f}; {cell.cpu_us:.0f}"
    return f"{_mark(cell)}{told}"


def _mark(*cells: Figures) -> str:
    return "~" if any(cell.noisy for cell in cells) else ""


def _of(record: Record, kind: str, server: Server) -> list[Line]:
    return [line for line in record.of(kind) if line["server"] == server]
