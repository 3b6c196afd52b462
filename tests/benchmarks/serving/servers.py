"""The servers of the benchmark as processes: how each is started, when it is ready, and its end.

Owns commands and settings of ours and the peers. Every process tree is pinned to one core and bound to the loopback; what was started is
ended by its process id.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.serving import machine
from benchmarks.serving.environments import HERE, Environment
from benchmarks.serving.load import on_core
from benchmarks.serving.models import Model
from benchmarks.serving.wire import READY_PATH
from modelcycle_bundle.traffic import SHARE_DENOMINATOR, Traffic, to_text

PEERS: Final = HERE / "peers"
_READY_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.002
_END_SECONDS: Final = 5.0
_LOG: Final = "log"
_MODULE: Final = ("-m", "modelcycle_serving")


class NotReady(Exception):
    """A server did not come up; the text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Start:
    """How to start one server for one model: a command, its variables, and files it finds in its working folder."""

    command: list[str]
    variables: Mapping[str, str]
    files: Mapping[str, str]
    metrics_port: int = 0
    """Of a server of ours."""


Program = Callable[[Model, int], Start]
"""Model and port to the way to start it."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready."""

    port: int
    pid: int
    ready_seconds: float
    """From the start of its process to the first 200 of its readiness path."""
    folder: Path
    """Its working folder."""
    beside: tuple[int, ...] = ()
    """Other servers that work for this one."""

    def pss_mib(self) -> float:
        """Memory of its process tree."""
        return machine.pss_mib(machine.tree(self.pid))


def ours(environment: Environment, module: tuple[str, ...] = _MODULE, extra: tuple[str, ...] = ()) -> Program:
    """The model server as its image starts it; `module` is what Python runs, `extra` are more flags."""

    def start(model: Model, port: int) -> Start:
        metrics_port = free_port()
        command = [environment.python, *module, *extra]
        command += ["--bundle", str(model.bundle), "--host", "127.0.0.1", "--http-port", str(port)]
        command += ["--metrics-port", str(metrics_port), "--traffic-file", "traffic.json"]
        return Start(command, {"POD_UID": "bench", **environment.variables}, {"traffic.json": ""}, metrics_port)

    return start


def uncounted(environment: Environment) -> Program:
    """The same without counts of rows and bins."""
    return ours(environment, ("-P", str(HERE / "uncounted.py")))


def fastapi(environment: Environment, module: str) -> Program:
    """One of the two applications in peers/."""

    def start(model: Model, port: int) -> Start:
        command = [environment.python, "-m", "uvicorn", f"{module}:app", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
        return Start([*command, "--app-dir", str(PEERS)], {"MODEL": str(model.onnx)}, {})

    return start


def mlserver(environment: Environment, settings: Mapping[str, Any]) -> Program:
    """MLServer with the custom runtime in peers/; `settings` are added to its own."""

    def start(model: Model, port: int) -> Start:
        server = {"debug": False, "host": "127.0.0.1", "http_port": port, **settings}
        server |= {"grpc_port": free_port(), "metrics_port": free_port()}
        served = {
            "name": "model",
            "implementation": "mlserver_runtime.OnnxRuntime",
            "parameters": {"uri": str(model.onnx)},
        }
        command = [str(environment.folder / "bin" / "mlserver"), "start", "."]
        files = {"settings.json": json.dumps(server), "model-settings.json": json.dumps(served)}
        return Start(command, {"PYTHONPATH": str(PEERS)}, files)

    return start


@contextlib.contextmanager
def running(program: Program, model: Model, core: int) -> Iterator[Running]:
    """Start, wait until ready, and end it afterwards. Raises NotReady."""
    with tempfile.TemporaryDirectory() as name:
        begun = time.perf_counter()
        launched = launch(program, model, core, Path(name))
        try:
            launched.until_ready()
            yield Running(launched.port, launched.process.pid, time.perf_counter() - begun, launched.folder)
        finally:
            launched.end()


@dataclass(frozen=True, slots=True)
class Launched:
    """A server's process."""

    process: "subprocess.Popen[bytes]"
    port: int
    metrics_port: int
    folder: Path

    def until_ready(self) -> None:
        """Raises NotReady."""
        deadline = time.perf_counter() + _READY_SECONDS
        while time.perf_counter() < deadline and self.process.poll() is None:
            if is_ready(self.port):
                return
            time.sleep(_LOOK_SECONDS)
        log = (self.folder / _LOG).read_text()[-2000:]
        raise NotReady(f"{self.process.args!r}: {log}")

    def end(self) -> None:
        """Interrupt it, and kill what is left of it."""
        pids = machine.tree(self.process.pid)
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_END_SECONDS)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def launch(program: Program, model: Model, core: int, folder: Path) -> Launched:
    """Start a server in an empty folder."""
    port = free_port()
    start = program(model, port)
    for path, text in start.files.items():
        (folder / path).write_text(text)
    with (folder / _LOG).open("w") as log:
        process = subprocess.Popen(
            start.command,
            cwd=folder,
            env={**os.environ, **start.variables},
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=on_core(core),
        )
    return Launched(process, port, start.metrics_port, folder)


@contextlib.contextmanager
def forwarding(program: Program, model: Model, core: int, other: int) -> Iterator[Running]:
    """Two of ours: one hands every request on to the other, which has the other core, as two pods have. Raises NotReady."""
    with running(program, model, other) as canary, running(program, model, core) as stable:
        _hand_on(stable, canary.port)
        yield replace(stable, beside=(canary.pid,))


def _hand_on(forwarder: Running, target: int) -> None:
    """As the operator's annotation would."""
    traffic = Traffic("aabbcc-00000001", 1, SHARE_DENOMINATOR, f"127.0.0.1:{target}", timeout=20.0)
    beside = forwarder.folder / ".traffic.json"
    beside.write_text(to_text(traffic))
    beside.replace(forwarder.folder / "traffic.json")
    time.sleep(0.5)  # it looks every 50 ms


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def is_ready(port: int) -> bool:
    """Whether the readiness path answers 200 there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", READY_PATH)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
