"""Explanations as a model of their own beside the served one: `{name}-explain`, which any client of the protocol can ask.

Owns its paths, its limits, its counter and the form of its answers. Runs on the event loop and only waits there: the work is done in
`process`. An explanation is no prediction: it is counted here and nowhere else, answered by this pod's own model and never handed on.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from modelcycle_bundle.bins import ClassBins
from modelcycle_bundle.metric_names import EXPLANATION_CODES, EXPLANATIONS
from modelcycle_bundle.outputs import LABEL_NAME
from modelcycle_serving import oip
from modelcycle_serving.bodies import good, header_length
from modelcycle_serving.explain import frames
from modelcycle_serving.explain.process import ExplainingProcess, TooSlow
from modelcycle_serving.exposition import described, labelled
from modelcycle_serving.logs import log
from modelcycle_serving.messages import RETRY_AFTER, Handler, Reply, Request, Response, problem
from modelcycle_serving.model import Model

if TYPE_CHECKING:
    from modelcycle_serving.openapi import Described

MAX_ROWS: Final = 64
"""Rows of one request."""
MAX_WAITING: Final = 8
"""Requests under way; above it the answer is 503."""
SUFFIX: Final = "-explain"


class Explanations:
    """The sibling model of `model_name`."""

    def __init__(self, model_name: str, model: Model, bundle: Path) -> None:
        self._served: Final = model_name
        self._name: Final = model_name + SUFFIX
        self._signature: Final = _signature(model)
        self._model: Final = model
        self._labels: Final = _labels(model)
        self._counts: Final = dict.fromkeys(map(int, EXPLANATION_CODES), 0)
        self._process: Final = ExplainingProcess(bundle, model.digest)
        self._under_way: Final[set[asyncio.Task[Response]]] = set()

    def routes(self) -> Iterator[tuple[str, str, Handler]]:
        """(method, path, handler) of all that is answered here."""
        base = oip.model_path(self._name)
        for path in (base, f"{base}/versions/{self._model.version}"):
            yield "GET", path, self._describe
            yield "GET", f"{path}/ready", self._ready
            yield "POST", f"{path}/infer", self._infer
        yield "POST", f"{oip.model_path(self._served)}/explain", self._infer

    def described(self) -> "Described":
        """What the OpenAPI document says of it."""
        from modelcycle_serving.openapi import Described

        return Described(
            "explain", self._name, self._signature, "Contributions of the features, by this pod's own model"
        )

    def exposition(self) -> bytes:
        """Prometheus text format 0.0.4."""
        samples = (f"{EXPLANATIONS}{labelled({'code': str(code)})} {count}" for code, count in self._counts.items())
        return ("\n".join([*described(EXPLANATIONS), *samples]) + "\n").encode()

    def close(self) -> None:
        """End the process; explanations under way are lost with it."""
        for task in self._under_way:
            task.cancel()
        self._process.kill()

    def _ready(self, _: Request) -> Response:
        return Response(200, orjson.dumps({"name": self._name, "ready": True}))

    def _describe(self, _: Request) -> Response:
        return Response(200, oip.encode_model(self._name, self._model.version, self._signature))

    def _infer(self, request: Request) -> Reply:
        try:
            asked = oip.parse_infer(request.body, header_length(request), self._signature)
            if len(asked.rows) > MAX_ROWS:
                raise oip.BadInput("inputs", f"at most {MAX_ROWS} rows can be explained in one request")
        except oip.BadInput as bad:
            return self._counted(problem(400, str(bad)))
        if len(self._under_way) >= MAX_WAITING:
            return self._counted(problem(503, "too many explanations are waiting", RETRY_AFTER))
        task = asyncio.get_running_loop().create_task(self._explain(asked))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _explain(self, asked: oip.InferRequest) -> Response:
        try:
            answer = await self._process.explain(asked.rows)
        except TooSlow:
            log.error("an explanation took too long", extra={"rows": len(asked.rows)})
            return self._counted(problem(503, "no explanation within the time limit; ask for fewer rows", RETRY_AFTER))
        except (frames.Failed, OSError) as error:
            log.error("explaining failed", extra={"kind": str(error), "rows": len(asked.rows)})
            return self._counted(problem(500, "these rows could not be explained"))
        if not np.isfinite(answer.contributions).all():
            log.error("an explanation is not finite", extra={"rows": len(asked.rows)})
            return self._counted(problem(500, "the explanation is not a finite number"))
        about = {"method": answer.method, "space": answer.space}
        outputs = self._outputs(answer)
        encoded = oip.encode_answer(self._name, self._model.version, asked, outputs, self._signature, about)
        return self._counted(good(encoded))

    def _outputs(self, answer: frames.Explained) -> oip.Outputs:
        outputs: dict[str, NDArray[Any]] = {
            "score": answer.score,
            "base_value": answer.base,
            "contributions": answer.contributions,
        }
        if self._labels is not None:
            outputs[LABEL_NAME] = self._labels[answer.explained]
        return outputs

    def _counted(self, response: Response) -> Response:
        self._counts[response.status] += 1
        return response


def _signature(model: Model) -> oip.Signature:
    features = model.signature.features
    label = [output for output in model.signature.outputs if output.name == LABEL_NAME]
    outputs = (
        *label,
        oip.OutputSpec("score", "FP64", (-1,)),
        oip.OutputSpec("base_value", "FP64", (-1,)),
        oip.OutputSpec("contributions", "FP64", (-1, len(features)), features, "features"),
    )
    return oip.Signature(features, outputs, model.signature.accepts_missing, model.signature.inputs)


def _labels(model: Model) -> NDArray[Any] | None:
    """The classes in the model's order and type; None for a regression."""
    if not isinstance(model.profile.output, ClassBins):
        return None
    datatype = next(output.datatype for output in model.signature.outputs if output.name == LABEL_NAME)
    names = model.profile.output.classes
    return np.array([int(name) for name in names]) if datatype == "INT64" else np.array(names, dtype=object)
