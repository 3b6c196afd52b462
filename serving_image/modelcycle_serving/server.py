"""The life of the serving process: bind, verify, become ready, drain, exit.

Owns the order of these steps and the signals. Ports are bound first, so that probes see "not ready" instead of a refused
connection; the listening sockets stay open until the drain is over, so that no request is refused while endpoints change.
"""

import asyncio
import gc
import resource
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from modelcycle_bundle.failures import EXIT_FAILED, Failure, FailureClass, FailureReason
from modelcycle_bundle.listening import EVERYWHERE, listening
from modelcycle_bundle.traffic import Traffic
from modelcycle_serving import __version__, oip, termination
from modelcycle_serving import model as models
from modelcycle_serving.access import Guard, TokenFile, TokenFileError
from modelcycle_serving.app import App
from modelcycle_serving.arms import BEAT_SECONDS
from modelcycle_serving.connections import Connections, DrainPolicy, Limits
from modelcycle_serving.counters import Counters, latency_bounds
from modelcycle_serving.explain.service import Explanations
from modelcycle_serving.http import HttpProtocol
from modelcycle_serving.logs import log
from modelcycle_serving.messages import Handler, Request, Response
from modelcycle_serving.tls import HANDSHAKE_SECONDS, SHUTDOWN_SECONDS, Tls, TlsFiles
from modelcycle_serving.traffic_file import TrafficFile

if TYPE_CHECKING:
    from modelcycle_serving.feedback.keys import KeyFile
    from modelcycle_serving.feedback.service import Feedback

BACKLOG: Final = 1024
DRAIN_LOOK_SECONDS: Final = 0.1
TRAFFIC_LOOK_SECONDS: Final = 0.05
SECRETS_LOOK_SECONDS: Final = 1.0
SPARE_FILES: Final = 1024
"""File descriptors beside those of clients: the way to other pods, files, the libraries' own."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the process was told. `environment` holds POD_UID, MODELCYCLE_REVISION, MODELCYCLE_TERMINATION_LOG."""

    bundle: Path
    host: str
    http_port: int
    metrics_port: int
    model_name: str
    traffic_file: Path
    expected_digest: str | None
    limits: Limits
    drain: DrainPolicy
    tls: TlsFiles | None
    """None: plain HTTP."""
    token_file: Path | None
    """None: nobody is asked for a token."""
    latency_objective: float | None
    """Seconds."""
    feedback_key_file: Path | None
    feedback_max_age: float
    """Seconds."""
    feedback_remembered: int
    """Answers."""
    client_inputs: tuple[str, ...]
    """Names that clients send, in the order of their single tensor; (): the model's own."""
    environment: Mapping[str, str]

    @property
    def pod_uid(self) -> str:
        """`local` outside a cluster."""
        return self.environment.get("POD_UID") or "local"


class Watched(Protocol):
    """A file that may change while the process runs, or whatever else is to look up again and again."""

    def look(self) -> None:
        """Use what there is now, if that is new and valid."""
        ...


class Stop:
    """Whether, and how, the process was told to stop. The first word counts."""

    def __init__(self) -> None:
        self.asked: asyncio.Future[DrainPolicy] = asyncio.get_running_loop().create_future()

    def ask(self, policy: DrainPolicy) -> None:
        """Stop by draining as `policy` says."""
        if not self.asked.done():
            self.asked.set_result(policy)


async def serve(config: Config) -> int:
    """Run until drained. Returns the exit code."""
    started = time.time()
    # Numbers out of FP32's range and signalling NaNs are the client's, who gets an answer: no warning beside it.
    np.seterr(over="ignore", invalid="ignore")
    loop = asyncio.get_running_loop()
    _allow_files(config.limits.max_connections + SPARE_FILES)
    try:
        tls = None if config.tls is None else Tls(config.tls)
        tokens = None if config.token_file is None else TokenFile(config.token_file)
    except (OSError, TokenFileError) as error:
        return _fail(config, FailureReason.INTERNAL, _unreadable(error))
    # Drawn by the pod's own name: pods that hand on the same share do not do it in step.
    app = App(config.model_name, __version__, time.perf_counter, Random(config.pod_uid), tls)
    handler = app.serving if tokens is None else Guard(tokens, app.serving, app.refused)
    serving, metrics = (Connections(config.limits, loop.time) for _ in range(2))

    def apply(traffic: Traffic) -> None:
        app.apply(traffic)
        serving.told_to_close = traffic.close

    traffic = TrafficFile(config.traffic_file, apply)
    keys = _key_file(config)
    stop = Stop()
    loop.add_signal_handler(signal.SIGTERM, stop.ask, config.drain)
    loop.add_signal_handler(signal.SIGINT, stop.ask, DrainPolicy(idle=0.0, settle=0.0, timeout=config.drain.timeout))
    try:
        servers = [
            await _listen(config.host, config.http_port, serving, handler, app.refused, tls),
            await _listen(config.host, config.metrics_port, metrics, app.metrics, _not_counted, None),
        ]
    except OSError as error:
        return _fail(
            config, FailureReason.INTERNAL, f"cannot listen on {config.host or 'all addresses'}: {error.strerror}"
        )
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    log.info("listening", extra={"host": config.host, "http_port": ports[0], "metrics_port": ports[1]})
    tasks = [asyncio.create_task(each.keep_sweeping()) for each in (serving, metrics)]
    try:
        code = await _load(config, app, traffic, keys, started, ports[0], stop)
        if code is not None:
            return code
        tasks.append(asyncio.create_task(_keep_looking(traffic, TRAFFIC_LOOK_SECONDS)))
        tasks.append(asyncio.create_task(_keep_looking(app, BEAT_SECONDS)))
        secrets = (each for each in (keys, tls, tokens) if each is not None)
        tasks += [asyncio.create_task(_keep_looking(each, SECRETS_LOOK_SECONDS)) for each in secrets]
        await _drain(app, serving, await stop.asked)
        return 0
    finally:
        for task in tasks:
            task.cancel()
        for server in servers:
            server.close()
        app.close()


async def _keep_looking(file: Watched, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        # What came while the process stood still is read first: a process that was stopped finds its timers before it.
        await asyncio.sleep(0)
        file.look()


def _allow_files(wanted: int) -> None:
    """Each connection is a file descriptor, and many systems begin with 1024 where far more are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _listen(
    host: str,
    port: int,
    connections: Connections,
    handler: Handler,
    refused: Callable[[Request, Response], None],
    tls: Tls | None,
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: HttpProtocol(connections, handler, refused, loop.time),
        sock=listening(host, port, BACKLOG),
        backlog=BACKLOG,
        ssl=None if tls is None else tls.listening,
        ssl_handshake_timeout=None if tls is None else HANDSHAKE_SECONDS,
        ssl_shutdown_timeout=None if tls is None else SHUTDOWN_SECONDS,
    )


def _unreadable(error: OSError | TokenFileError) -> str:
    return f"the TLS or token files cannot be used: {error}"


def _not_counted(request: Request, response: Response) -> None:
    """Refusals on the metrics port are no inference requests."""


async def _load(
    config: Config, app: App, traffic: TrafficFile, keys: "KeyFile | None", started: float, port: int, stop: Stop
) -> int | None:
    """Load and become ready. An exit code when the process must end instead."""
    begun = time.perf_counter()
    loading = asyncio.get_running_loop().run_in_executor(
        None, models.load, config.bundle, config.expected_digest, config.client_inputs
    )
    waited: set[asyncio.Future[Any]] = {loading, stop.asked}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if stop.asked.done():
        log.info("stopped before the model was loaded")
        return 0
    try:
        model = loading.result()
    except models.BundleRefused as refused:
        return _fail(config, refused.failure.reason, str(refused))
    except Exception as error:
        return _fail(config, FailureReason.INTERNAL, f"loading raised {type(error).__name__}")
    revision = config.environment.get("MODELCYCLE_REVISION", "")
    # A restarted container finds its annotation as it was: it is applied before the first request.
    traffic.look()
    counters = Counters(model, revision, config.pod_uid, started, latency_bounds(config.latency_objective))
    explanations = Explanations(config.model_name, model, config.bundle)
    app.start_serving(model, counters, _feedback(config, model, revision, keys), explanations)
    gc.collect()
    gc.freeze()
    # A request leaves no cycles behind; looking for them every 700 objects would take one part in twenty of its time.
    gc.set_threshold(20_000, 20, 20)
    _announce(config, model, port, time.perf_counter() - begun)
    return None


def _key_file(config: Config) -> "KeyFile | None":
    if config.feedback_key_file is None:
        return None
    # A server without a key starts sooner for not knowing how.
    from modelcycle_serving.feedback.keys import KeyFile

    return KeyFile(config.feedback_key_file)


def _feedback(config: Config, model: models.Model, revision: str, keys: "KeyFile | None") -> "Feedback | None":
    if keys is None:
        return None
    from modelcycle_serving.feedback.endpoint import Policy
    from modelcycle_serving.feedback.service import Feedback

    keys.look()
    policy = Policy(config.feedback_max_age, config.feedback_remembered)
    return Feedback(model.profile, revision, keys, policy, time.time, Random())


def _announce(config: Config, model: models.Model, port: int, seconds: float) -> None:
    host = {EVERYWHERE: "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.host, config.host)
    url = f"{'http' if config.tls is None else 'https'}://{host}:{port}{oip.model_path(config.model_name)}/infer"
    example = oip.example_request(model.signature).decode()
    options = "" if config.tls is None else " -k"
    if config.token_file is not None:
        options += f' -H "Authorization: Bearer $(head -n1 {config.token_file})"'
    log.info(
        "ready",
        extra={
            "digest": model.digest,
            "profile": model.profile.hash,
            "features": len(model.signature.features),
            "outputs": list(model.signature.output_names),
            "run_microseconds": round(model.expected_seconds(1) * 1e6, 1),
            "load_seconds": round(seconds, 3),
            "infer_url": url,
            "curl": f"curl -s{options} -H 'Content-Type: application/json' -d '{example}' {url}",
        },
    )


async def _drain(app: App, serving: Connections, policy: DrainPolicy) -> None:
    app.start_drain()
    serving.start_drain(policy)
    log.info("draining", extra={"connections": len(serving)})
    begun = time.perf_counter()
    while not serving.drain_over():  # noqa: ASYNC110 - it ends by time as well as by connections
        await asyncio.sleep(DRAIN_LOOK_SECONDS)
    log.info("drained", extra={"seconds": round(time.perf_counter() - begun, 1), "connections_cut": len(serving)})


def _fail(config: Config, reason: FailureReason, message: str) -> int:
    failure = Failure(
        FailureClass.POLICY if reason is not FailureReason.INTERNAL else FailureClass.INFRASTRUCTURE, reason, message
    )
    log.error("not serving", extra={"reason": reason.value, "detail": message})
    termination.write_failure(failure, config.environment)
    return EXIT_FAILED
