"""Where the time of one cell goes, by py-spy, and what a native part could bring at most.

Owns which frames are which part of the work. A sample belongs to the innermost frame that a pattern knows: a C function has no frame of its
own and counts for the Python line that called it.
"""

import re
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.serving import environments, load, machine, models, servers, wire
from benchmarks.serving.models import Model
from benchmarks.serving.wire import Wire

SECONDS: Final = 6.0
RATE: Final = 400
"""Samples a second."""
TOP: Final = 15
CELLS: Final = (("bc", 1, 16), ("digits", 1, 16), ("wide", 1, 64), ("bc", 32, 16), ("wide", 32, 16))
"""Of a full run."""
PARTS: Final = (
    ("socket write: uvloop and kernel", re.compile(r"\.(write|writelines)\(")),
    ("model run", re.compile(r"onnxruntime/|modelcycle_serving/model\.py")),
    ("batching", re.compile(r"modelcycle_serving/batching\.py")),
    ("counting", re.compile(r"modelcycle_serving/(backlog|counters|histogram|arm_counters)\.py|modelcycle_bundle/")),
    ("writing answers", re.compile(r"modelcycle_serving/oip/(batch_)?answers?\.py")),
    ("reading requests", re.compile(r"modelcycle_serving/oip/")),
    ("HTTP", re.compile(r"modelcycle_serving/(http|connections|deadlines|messages|repeated_head)\.py")),
    ("routing and judging", re.compile(r"modelcycle_serving/")),
    ("event loop, socket read: uvloop and kernel", re.compile(r"asyncio/runners\.py|uvloop/")),
)
"""Each is looked for in `file:function: text of the line`, the innermost frame first."""
_FRAME: Final = re.compile(r"(?P<function>.*) \((?P<file>.*):(?P<line>\d+)\)$")


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames from the outermost to the innermost, each as `file:function: text of the line`, and how often it was seen."""

    frames: tuple[str, ...]
    seen: int


@dataclass(frozen=True, slots=True)
class Profile:
    """One cell: what it cost without a profiler beside it, and where the samples were."""

    requests_per_second: float
    cpu_us: float
    parts: Mapping[str, float]
    """Share of the samples."""
    functions: Mapping[str, float]
    """The same by innermost Python function, most first."""


def run(made: Sequence[Model], cores: machine.Cores, write: Callable[[dict[str, Any]], None]) -> None:
    """Write a line for each of CELLS."""
    for name, rows, connections in CELLS:
        [model] = (each for each in made if each.name == name)
        found = measured(model, rows, connections, cores)
        about = {"kind": "profile", "model": name, "rows": rows, "connections": connections}
        write({**about, "cpu_us": found.cpu_us, "parts": dict(found.parts)})


def show(cell: str, say: Callable[[str], object]) -> None:
    """Print one cell, given as `model,rows,connections`."""
    name, rows, connections = cell.split(",")
    [model] = (each for each in models.made() if each.name == name)
    say(report(cell, measured(model, int(rows), int(connections), machine.cores())))


def measured(model: Model, rows: int, connections: int, cores: machine.Cores) -> Profile:
    """Load one cell of ours twice: to see what it costs, and to sample it."""
    ours = environments.ours()
    requests = wire.whole_requests(model, rows, Wire.JSON)
    with servers.running(servers.ours(ours), model, cores.server) as running:
        wire.check(running.port, model, rows, Wire.JSON)
        target = load.Target(running.port, running.pid, ())
        cost = load.run(target, requests, connections, SECONDS / 2, cores.load)
        loading = threading.Thread(target=load.run, args=(target, requests, connections, SECONDS + 2, cores.load))
        loading.start()
        time.sleep(load.WARM_UP_SECONDS + 0.5)
        lines = _samples(running.pid)
        loading.join()
    stacks = list(parsed(lines, Path(ours.variables["PYTHONPATH"])))
    return Profile(cost.requests_per_second, cost.cpu_us, *shares(stacks))


def _samples(pid: int) -> list[str]:
    sampler = environments.peer("tools").folder / "bin" / "py-spy"
    with tempfile.NamedTemporaryFile() as output:
        command = [str(sampler), "record", "--pid", str(pid), "--duration", f"{SECONDS:.0f}", "--rate", str(RATE)]
        subprocess.run([*command, "--format", "raw", "--output", output.name], check=True, capture_output=True)
        return Path(output.name).read_text().splitlines()


def parsed(lines: Iterable[str], source: Path) -> Iterable[Stack]:
    """Raw stacks of py-spy, those of the main thread; `source` holds the packages whose lines are read."""
    texts: dict[str, list[str]] = {}
    for line in lines:
        joined, _, seen = line.rpartition(" ")
        frames = joined.split(";")
        if not frames[0].startswith("Thread"):
            yield Stack(tuple(_frame(frame, source, texts) for frame in frames), int(seen))


def shares(stacks: Sequence[Stack]) -> tuple[dict[str, float], dict[str, float]]:
    """By part and by function, most first."""
    parts: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack in stacks:
        parts[_part(stack)] += stack.seen
        functions[stack.frames[-1].partition(": ")[0]] += stack.seen
    total = parts.total()
    by_part, by_function = ({name: seen / total for name, seen in each.most_common()} for each in (parts, functions))
    return by_part, by_function


def report(cell: str, found: Profile) -> str:
    """Parts and the functions that take most, as Markdown."""
    lines = [f"{cell}: {found.requests_per_second:.0f} requests/s, {found.cpu_us:.1f} us CPU a request", ""]
    lines += ["| part | share | us a request | if it took no time |", "|---|--:|--:|--:|"]
    lines += [
        f"| {part} | {share:.0%} | {share * found.cpu_us:.1f} | {1 / (1 - share):.2f}x |"
        for part, share in found.parts.items()
    ]
    lines += ["", "| function, with the C functions it calls | share |", "|---|--:|"]
    lines += [f"| {function} | {share:.0%} |" for function, share in list(found.functions.items())[:TOP]]
    return "\n".join(lines) + "\n"


def _part(stack: Stack) -> str:
    for frame in reversed(stack.frames):
        for part, pattern in PARTS:
            if pattern.search(frame):
                return part
    return "other"


def _frame(raw: str, source: Path, texts: dict[str, list[str]]) -> str:
    found = _FRAME.match(raw)
    if found is None:
        return raw
    file = found["file"]
    if file not in texts:
        path = source / file
        texts[file] = path.read_text().splitlines() if path.is_file() else []
    text = texts[file][int(found["line"]) - 1].strip() if texts[file] else ""
    return f"{file}:{found['function']}: {text}"
