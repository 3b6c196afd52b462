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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.serving import environments, load, machine, models, servers, wire
from benchmarks.serving.wire import Wire

SECONDS: Final = 6.0
RATE: Final = 400
"""Samples a second."""
TOP: Final = 15
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


def show(cell: str, say: Callable[[str], object]) -> None:
    """Load one cell of ours, `model,rows,connections`, sample it, and print the parts."""
    name, rows, connections = cell.split(",")
    [model] = (each for each in models.made() if each.name == name)
    cores, ours = machine.cores(), environments.ours()
    sampler = environments.peer("tools").folder / "bin" / "py-spy"
    requests = wire.whole_requests(model, int(rows), Wire.JSON)
    with servers.running(servers.ours(ours), model, cores.server) as running, tempfile.TemporaryDirectory() as folder:
        wire.check(running.port, model, int(rows), Wire.JSON)
        target = load.Target(running.port, running.pid, ())
        cost = load.run(target, requests, int(connections), SECONDS / 2, cores.load)
        measured: list[load.Measured] = []
        loading = threading.Thread(
            target=lambda: measured.append(load.run(target, requests, int(connections), SECONDS + 2, cores.load))
        )
        loading.start()
        time.sleep(load.WARM_UP_SECONDS + 0.5)
        output = Path(folder, "stacks")
        command = [str(sampler), "record", "--pid", str(running.pid), "--duration", f"{SECONDS:.0f}"]
        command += ["--rate", str(RATE), "--format", "raw", "--output", str(output)]
        subprocess.run(command, check=True, capture_output=True)
        loading.join()
        source = Path(ours.variables["PYTHONPATH"])
        stacks = list(parsed(output.read_text().splitlines(), source))
    say(f"{cell}: {cost.requests_per_second:.0f} requests/s, {cost.cpu_us:.1f} us CPU a request\n\n")
    say(report(stacks, cost.cpu_us))


def parsed(lines: Iterable[str], source: Path) -> Iterable[Stack]:
    """Raw stacks of py-spy, those of the main thread; `source` holds the packages whose lines are read."""
    texts: dict[str, list[str]] = {}
    for line in lines:
        joined, _, seen = line.rpartition(" ")
        frames = joined.split(";")
        if not frames[0].startswith("Thread"):
            yield Stack(tuple(_frame(frame, source, texts) for frame in frames), int(seen))


def report(stacks: list[Stack], cpu_us: float) -> str:
    """Parts and the functions that take most, as Markdown."""
    parts: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack in stacks:
        parts[_part(stack)] += stack.seen
        functions[stack.frames[-1].partition(": ")[0]] += stack.seen
    total = sum(parts.values())
    lines = ["| part | share | us a request | if it took no time |", "|---|--:|--:|--:|"]
    for part, seen in parts.most_common():
        share = seen / total
        lines.append(f"| {part} | {share:.0%} | {share * cpu_us:.1f} | {1 / (1 - share):.2f}x |")
    lines += ["", "| function, with the C functions it calls | share |", "|---|--:|"]
    lines += [f"| {function} | {seen / total:.0%} |" for function, seen in functions.most_common(TOP)]
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
