"""The paths of the two ports and what each answers.

Owns routing, readiness and the one place where an answered request is counted, so that rows and bins cannot drift apart: both
are added on the event loop's thread, after the model has answered. Never logs or counts a payload's values.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from functools import partial
from random import Random
from typing import Any, Final

import numpy as np
import orjson

from modelcycle_bundle.metric_names import PROFILE_PATH
from modelcycle_bundle.profile import ProfileError
from modelcycle_bundle.traffic import Traffic
from modelcycle_serving import oip
from modelcycle_serving.arms import Arms
from modelcycle_serving.counters import Counters
from modelcycle_serving.http import RETRY_AFTER, Request, Response
from modelcycle_serving.logs import log
from modelcycle_serving.model import Model

INLINE_SECONDS: Final = 0.005
"""A run expected to take longer leaves the event loop to a thread, so that probes and small requests are not held up."""
MAX_PENDING: Final = 64
"""Long runs waiting for that thread; above it the answer is 503."""
TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
BINARY: Final = b"application/octet-stream"
_HEADER_LENGTH: Final = oip.HEADER_LENGTH.lower().encode()

Endpoint = Callable[[Request], "Response | asyncio.Future[Response]"]


class Phase(StrEnum):
    """Where the process is in its life."""

    STARTING = "starting"
    """Ports are bound, the bundle is being checked. Live, not ready."""
    READY = "ready"
    """Verified, golden answers reproduced, warmed up."""
    DRAINING = "draining"
    """Told to stop: not ready, but every request that arrives is answered."""


def ok(value: Any) -> Response:
    """A JSON answer."""
    return Response(200, orjson.dumps(value))


def error(status: int, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Response:
    """A JSON error."""
    return Response(status, oip.encode_error(message), headers=headers)


class Router:
    """Exact paths to endpoints by method. HEAD is served by GET's endpoint."""

    def __init__(self) -> None:
        self._routes: dict[bytes, dict[bytes, Endpoint]] = {}

    def add(self, method: str, path: str, endpoint: Endpoint) -> None:
        """Register one endpoint."""
        methods = self._routes.setdefault(path.encode(), {})
        methods[method.encode()] = endpoint
        if method == "GET":
            methods[b"HEAD"] = endpoint

    def __call__(self, request: Request) -> "Response | asyncio.Future[Response]":
        """Answer one request."""
        methods = self._routes.get(request.path)
        if methods is None:
            return error(404, "no such path; GET /v2/models/{name} describes the model")
        endpoint = methods.get(request.method)
        if endpoint is None:
            allowed = b", ".join(sorted(methods))
            return error(405, f"this path takes {allowed.decode()}", ((b"Allow", allowed),))
        return endpoint(request)


class App:
    """The model server without its listening sockets. `clock` gives seconds, for durations; `random` draws what is handed on."""

    def __init__(self, model_name: str, version: str, clock: Callable[[], float], random: Random) -> None:
        self.phase = Phase.STARTING
        self.serving = Router()
        self.metrics = Router()
        self._name = model_name
        self._server_version = version
        self._clock = clock
        self._model: Model | None = None
        self._counters: Counters | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._pending = 0
        self._arms = Arms(self._infer, random, clock)
        self._told_to_close = False
        self._infer_paths: set[bytes] = set()
        self._add_routes()

    def _add_routes(self) -> None:
        add = self.serving.add
        add("GET", "/v2", lambda _: ok({"name": "modelcycle", "version": self._server_version, "extensions": []}))
        add("GET", "/v2/health/live", lambda _: ok({"live": True}))
        add("GET", "/v2/health/ready", self._ready)
        self._add_model_routes(f"/v2/models/{self._name}", self._arms.infer)
        self.metrics.add("GET", "/metrics", self._exposition)
        self.metrics.add("GET", PROFILE_PATH, self._profile)

    def _add_model_routes(self, base: str, infer: Endpoint) -> None:
        self.serving.add("GET", base, self._describe)
        self.serving.add("GET", f"{base}/ready", self._model_ready)
        self.serving.add("POST", f"{base}/infer", infer)
        self._infer_paths.add(f"{base}/infer".encode())

    def start_serving(self, model: Model, counters: Counters) -> None:
        """The model is verified and warm, and every series exists: become ready."""
        self._model = model
        self._counters = counters
        # Who names a version asks for this model: no other revision can answer for it.
        self._add_model_routes(f"/v2/models/{self._name}/versions/{model.version}", self._infer)
        if self.phase is Phase.STARTING:
            self.phase = Phase.READY

    def start_drain(self) -> None:
        """Not ready from now on; requests are still answered."""
        self.phase = Phase.DRAINING

    def apply(self, traffic: Traffic) -> None:
        """Hand on what the annotation says from the next request on, while draining too."""
        self._arms.apply(traffic)
        self._told_to_close = traffic.close

    def close(self) -> None:
        """Wait for the runs under way."""
        self._arms.close()
        self._executor.shutdown()

    def refused(self, request: Request, response: Response) -> None:
        """Count an inference request that the HTTP layer answered by itself."""
        if self._counters is not None and request.path in self._infer_paths:
            self._counters.count_request(response.status)

    # Endpoints.

    def _ready(self, _: Request) -> Response:
        ready = self.phase is Phase.READY
        return Response(200 if ready else 503, orjson.dumps({"ready": ready, "phase": self.phase.value}))

    def _model_ready(self, _: Request) -> Response:
        ready = self.phase is Phase.READY
        return Response(200 if ready else 503, orjson.dumps({"name": self._name, "ready": ready}))

    def _describe(self, _: Request) -> Response:
        if self._model is None:
            return _starting()
        return Response(200, oip.encode_model(self._name, self._model.version, self._model.signature))

    def _exposition(self, _: Request) -> Response:
        if self._counters is None:
            return _starting()
        self._counters.closing = self._told_to_close or self.phase is Phase.DRAINING
        return Response(200, self._counters.exposition() + self._arms.counters.exposition(), TEXT)

    def _profile(self, _: Request) -> Response:
        if self._model is None:
            return _starting()
        return Response(200, self._model.profile_json)

    def _infer(self, request: Request) -> "Response | asyncio.Future[Response]":
        model, counters = self._model, self._counters
        if model is None or counters is None:
            return _starting()
        received = self._clock()
        try:
            asked = oip.parse_infer(request.body, _header_length(request), model.signature)
        except oip.BadInput as bad:
            counters.count_request(400)
            return error(400, str(bad))
        answered = partial(self._answered, model, counters, asked, received)
        if model.expected_seconds(len(asked.rows)) <= INLINE_SECONDS:
            return answered(_run(model, asked.rows))
        if self._pending >= MAX_PENDING:
            counters.count_request(503)
            return error(503, "too many large requests are waiting", RETRY_AFTER)
        return self._run_aside(model, asked.rows, answered)

    def _run_aside(
        self, model: Model, rows: oip.Rows, answered: Callable[["oip.Outputs | Exception"], Response]
    ) -> "asyncio.Future[Response]":
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Response] = loop.create_future()

        def finish(run: "asyncio.Future[oip.Outputs | Exception]") -> None:
            self._pending -= 1
            response = answered(run.result())
            if not result.done():
                result.set_result(response)

        self._pending += 1
        loop.run_in_executor(self._executor, _run, model, rows).add_done_callback(finish)
        return result

    def _answered(
        self,
        model: Model,
        counters: Counters,
        asked: oip.InferRequest,
        received: float,
        outputs: "oip.Outputs | Exception",
    ) -> Response:
        response = self._judge(model, asked, outputs)
        if response.status == 200 and not isinstance(outputs, Exception):
            try:
                counters.count_rows(asked.rows, outputs)
            except ProfileError:
                log.error("the model's answer is not in its profile", extra={"rows": len(asked.rows)})
                response = error(500, "the model's answer is not one its profile knows")
        counters.count_request(response.status)
        counters.observe_duration(self._clock() - received)
        return response

    def _judge(self, model: Model, asked: oip.InferRequest, outputs: "oip.Outputs | Exception") -> Response:
        if isinstance(outputs, Exception):
            log.error("the model run raised", extra={"exception": type(outputs).__name__, "rows": len(asked.rows)})
            return error(500, "the model could not answer this request")
        if all(values.dtype.kind != "f" or bool(np.isfinite(values).all()) for values in outputs.values()):
            return _good(oip.encode_answer(self._name, model.version, asked, outputs, model.signature))
        log.error("the model's answer is not finite", extra={"rows": len(asked.rows)})
        return error(500, "the model's answer is not a finite number")


def _run(model: Model, rows: oip.Rows) -> "oip.Outputs | Exception":
    try:
        return model.run(rows)
    except Exception as failure:
        return failure


def _header_length(request: Request) -> int | None:
    """How many bytes of the body are JSON, when tensors follow it."""
    text = request.headers.get(_HEADER_LENGTH)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 10 or int(text) > len(request.body):
        raise oip.BadInput(oip.HEADER_LENGTH, "expected the number of bytes of the JSON that the body begins with")
    return int(text)


def _good(encoded: oip.Encoded) -> Response:
    if encoded.header_length is None:
        return Response(200, encoded.body)
    length = (oip.HEADER_LENGTH.encode(), b"%d" % encoded.header_length)
    return Response(200, encoded.body, BINARY, (length,))


def _starting() -> Response:
    return error(503, "the model is being verified and loaded", RETRY_AFTER)
