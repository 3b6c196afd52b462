"""The least a server in compiled code would need for the same requests: HTTP with the kernel, JSON to float32, and the model's own time.

Owns the measurement of native.cc, where a C++ compiler is at hand. Nothing of it is shipped: it bounds what a native part could bring.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from benchmarks.serving import load, machine, servers, wire
from benchmarks.serving.cells import ROWS
from benchmarks.serving.environments import HERE
from benchmarks.serving.models import Model
from benchmarks.serving.wire import Wire
from environments import CACHE

SECONDS: Final = 1.0
CONNECTIONS: Final = 16
"""So many one-row requests are in one run of the model, at best."""


def run(models: Sequence[Model], cores: machine.Cores, write: Callable[[dict[str, Any]], None]) -> None:
    """Write a line for each model and size; nothing without a compiler."""
    if shutil.which("g++") is None:
        return
    program = CACHE / "bench-native"
    subprocess.run(["g++", "-O3", "-std=c++17", "-o", str(program), str(HERE / "native.cc")], check=True)
    for model in models:
        for rows in ROWS:
            write(
                {
                    "kind": "native",
                    "model": model.name,
                    "rows": rows,
                    "http_us": _http(program, model, rows, cores),
                    "parse_us": _parse(program, model, rows, cores),
                    "run_us": _run(model, rows),
                }
            )


def _http(program: Path, model: Model, rows: int, cores: machine.Cores) -> float:
    port = servers.free_port()
    process = subprocess.Popen([str(program), "serve", str(port)], preexec_fn=load.on_core(cores.server))
    try:
        time.sleep(0.2)
        requests = wire.whole_requests(model, rows, Wire.JSON)
        return load.run(load.Target(port, process.pid, ()), requests, CONNECTIONS, SECONDS, cores.load).cpu_us
    finally:
        process.kill()
        process.wait()


def _parse(program: Path, model: Model, rows: int, cores: machine.Cores) -> float:
    with tempfile.NamedTemporaryFile() as file:
        file.write(wire.body(model.rows[:rows], Wire.JSON).content)
        file.flush()
        command = [str(program), "parse", file.name, str(SECONDS / 2)]
        told = subprocess.run(
            command, check=True, capture_output=True, text=True, preexec_fn=load.on_core(cores.server)
        )
    values, microseconds = told.stdout.split()
    assert int(values) == rows * model.rows.shape[1]
    return float(microseconds)


def _run(model: Model, rows: int) -> float:
    """CPU time of onnxruntime a request, by its Python binding; requests of one row share a run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.onnx, options, providers=["CPUExecutionProvider"])
    together = CONNECTIONS if rows == 1 else 1
    size = rows * together
    # Other rows each time: a processor that has seen a row before guesses its way through the trees.
    blocks = [
        {"input": each} for each in np.array_split(model.rows.astype(np.float32), max(1, len(model.rows) // size))
    ]
    begun, runs, answered = time.process_time(), 0, 0
    while time.process_time() < begun + SECONDS / 2:
        block = blocks[runs % len(blocks)]
        session.run(None, block)
        runs += 1
        answered += len(block["input"])
    return (time.process_time() - begun) * 1e6 / answered * rows
