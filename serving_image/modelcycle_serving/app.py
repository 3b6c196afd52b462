"""The paths of the two ports and what each answers.

Owns routing and readiness: which phase the process is in, and who answers what. Runs no model and never logs a payload's values.
"""

from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Final

import orjson

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.metric_names import PROFILE_PATH
from modelcycle_bundle.traffic import Traffic
from modelcycle_serving import oip
from modelcycle_serving.arms import Arms
from modelcycle_serving.counters import Counters
from modelcycle_serving.explain.service import Explanations
from modelcycle_serving.exposition import negotiated
from modelcycle_serving.feedback import PATH as FEEDBACK_PATH
from modelcycle_serving.inference import Inference, arm_of
from modelcycle_serving.messages import RETRY_AFTER, Handler, Reply, Request, Response, problem
from modelcycle_serving.model import Model
from modelcycle_serving.tls import Tls

if TYPE_CHECKING:
    from modelcycle_serving.feedback.service import Feedback


_BINS_HEADER: Final = names.BINS_HEADER.encode()
_BINS_NONE: Final = names.BINS_NONE.encode()


class Phase(StrEnum):
    """Where the process is in its life."""

    STARTING = "starting"
    """Ports are bound, the bundle is being checked. Live, not ready."""
    READY = "ready"
    """Verified, golden answers reproduced, warmed up."""
    DRAINING = "draining"
    """Told to stop: not ready, but every request that arrives is answered."""


class Router:
    """Exact paths to endpoints by method. HEAD is served by GET's endpoint."""

    def __init__(self) -> None:
        self._routes: dict[bytes, dict[bytes, Handler]] = {}

    def add(self, method: str, path: str, endpoint: Handler) -> None:
        """Register one endpoint."""
        methods = self._routes.setdefault(path.encode(), {})
        methods[method.encode()] = endpoint
        if method == "GET":
            methods[b"HEAD"] = endpoint

    def __call__(self, request: Request) -> Reply:
        """Answer one request."""
        methods = self._routes.get(request.path)
        if methods is None:
            return problem(404, "no such path or model; GET /openapi.json lists what there is")
        endpoint = methods.get(request.method)
        if endpoint is None:
            allowed = b", ".join(sorted(methods))
            return problem(405, f"this path takes {allowed.decode()}", ((b"Allow", allowed),))
        return endpoint(request)


class App:
    """The model server without its listening sockets. `clock` gives seconds, for durations; `random` draws what is handed on."""

    def __init__(
        self, model_name: str, version: str, clock: Callable[[], float], random: Random, tls: Tls | None = None
    ) -> None:
        self.phase = Phase.STARTING
        self.serving = Router()
        self.metrics = Router()
        self._name = model_name
        self._server_version = version
        self._clock = clock
        self._model: Model | None = None
        self._counters: Counters | None = None
        self._inference: Inference | None = None
        self._feedback: Feedback | None = None
        self._explanations: Explanations | None = None
        self._traffic = Traffic()
        self._arms = Arms(self._infer, random, clock, tls)
        self._told_to_close = False
        self._infer_paths: set[bytes] = set()
        self._add_routes()

    def _add_routes(self) -> None:
        add = self.serving.add
        add("GET", "/v2", lambda _: Response(200, oip.encode_server(self._server_version)))
        add("GET", "/openapi.json", self._openapi)
        add("GET", "/v2/health/live", lambda _: Response(200, b'{"live":true}'))
        add("GET", "/v2/health/ready", self._ready)
        self._add_model_routes(oip.model_path(self._name), self._arms.infer)
        add("POST", FEEDBACK_PATH, self._label)
        self.metrics.add("GET", "/metrics", self._exposition)
        self.metrics.add("GET", PROFILE_PATH, self._profile)

    def _add_model_routes(self, base: str, infer: Handler) -> None:
        self.serving.add("GET", base, self._describe)
        self.serving.add("GET", f"{base}/ready", self._model_ready)
        self.serving.add("POST", f"{base}/infer", infer)
        self._infer_paths.add(f"{base}/infer".encode())

    def start_serving(
        self,
        model: Model,
        counters: Counters,
        feedback: "Feedback | None" = None,
        explanations: Explanations | None = None,
    ) -> None:
        """The model is verified and warm, and every series exists: become ready."""
        self._model = model
        self._counters = counters
        self._feedback = feedback
        if feedback is not None:
            feedback.apply(self._traffic)
        self._inference = Inference(self._name, model, counters, feedback, self._clock)
        # Who names a version asks for this model: no other revision can answer for it.
        self._add_model_routes(f"{oip.model_path(self._name)}/versions/{model.version}", self._infer)
        self._explanations = explanations
        for method, path, handler in () if explanations is None else explanations.routes():
            self.serving.add(method, path, handler)
        if self.phase is Phase.STARTING:
            self.phase = Phase.READY

    def start_drain(self) -> None:
        """Not ready from now on; requests are still answered."""
        self.phase = Phase.DRAINING

    def apply(self, traffic: Traffic) -> None:
        """Hand on what the annotation says from the next request on, while draining too."""
        self._traffic = traffic
        self._arms.apply(traffic)
        if self._feedback is not None:
            self._feedback.apply(traffic)
        self._told_to_close = traffic.close

    def look(self) -> None:
        """The event loop is turning: to be called every BEAT_SECONDS."""
        self._arms.beat()

    def close(self) -> None:
        """Wait for the runs under way."""
        self._arms.close()
        if self._explanations is not None:
            self._explanations.close()
        if self._inference is not None:
            self._inference.close()

    def refused(self, request: Request, response: Response) -> None:
        """Count an inference request that the HTTP layer answered by itself."""
        if self._counters is not None and request.path in self._infer_paths:
            self._counters.count_request(response.status, arm_of(request))

    # Handlers.

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

    def _openapi(self, _: Request) -> Response:
        if self._model is None:
            return _starting()
        # Few ask, and every start would wait for it.
        from modelcycle_serving import openapi

        served = openapi.Described(
            "infer", self._name, self._model.signature, "Predictions; split while a share is applied"
        )
        others = () if self._explanations is None else (self._explanations.described(),)
        return Response(200, openapi.encode(served, others, self._model.version, self._server_version))

    def _label(self, request: Request) -> Response:
        if self._model is None:
            return _starting()
        if self._feedback is None:
            return problem(404, "feedback is off: start the server with --feedback-key-file to take labels")
        return self._feedback.endpoint(request)

    def _exposition(self, request: Request) -> Response:
        if self._counters is None or self._inference is None:
            return _starting()
        self._inference.settle_counts()
        self._counters.closing = self._told_to_close or self.phase is Phase.DRAINING
        without = request.headers.get(_BINS_HEADER) == _BINS_NONE
        own = self._counters.exposition_without_bins() if without else self._counters.exposition()
        page = own + self._arms.counters.exposition()
        if self._feedback is not None:
            page += self._feedback.endpoint.exposition()
        if self._explanations is not None:
            page += self._explanations.exposition()
        return Response(200, *negotiated(page, request.headers.get(b"accept")))

    def _profile(self, _: Request) -> Response:
        if self._model is None:
            return _starting()
        return Response(200, self._model.profile_json)

    def _infer(self, request: Request) -> Reply:
        return _starting() if self._inference is None else self._inference(request)


def _starting() -> Response:
    return problem(503, "the model is being verified and loaded", RETRY_AFTER)
