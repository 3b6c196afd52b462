"""The answers of many requests that one run of the model gave: written in one pass, then cut apart.

Owns the cutting; what an answer looks like is for `encode_answer` to say, to whose bytes each of these is equal
(tests/properties/test_batch_answers.py). A request that wants anything unusual is left to it.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson
from numpy.typing import NDArray

from modelcycle_serving.oip.answer import begun, encode_answer, opening_of
from modelcycle_serving.oip.datatypes import BYTES
from modelcycle_serving.oip.messages import Encoded, InferRequest, Outputs, Signature, Wanted

_END: Final = b"]}]}"
_FEW_ROWS: Final = 8
"""Of a request: up to so many it is cheaper to cut an answer out of the text of all than to write it by itself."""


class BatchAnswers:
    """The writer of one model's answers."""

    def __init__(self, model_name: str, version: str, signature: Signature) -> None:
        self._model: Final = (model_name, version)
        self._signature: Final = signature
        self._opening: Final = opening_of(model_name, version)
        self._ordinary: Final = tuple(Wanted(name) for name in signature.output_names)
        self._seen = self._ordinary
        """The last tuple found equal to the ordinary one: requests of one head share theirs, and `is` is cheaper."""

    def encode(
        self, requests: Sequence[InferRequest], outputs: Outputs, parameters: Sequence[Mapping[str, Any]] = ()
    ) -> list[Encoded]:
        """The bodies of the 200s. `outputs` holds the rows of all requests, one request's after the other's.

        `parameters` are the answers' own objects, one for each request; none at all when it is empty.
        """
        parameters = parameters or ({},) * len(requests)
        rows = sum(len(request.rows) for request in requests)
        if len(requests) > 1 and rows <= _FEW_ROWS * len(requests):
            return self._cut(requests, outputs, parameters)
        answers: list[Encoded] = []
        start = 0
        for request, own in zip(requests, parameters, strict=True):
            end = start + len(request.rows)
            answers.append(self._written(request, outputs, start, end, own))
            start = end
        return answers

    def _written(
        self, request: InferRequest, outputs: Outputs, start: int, end: int, parameters: Mapping[str, Any]
    ) -> Encoded:
        own = {name: values[start:end] for name, values in outputs.items()}
        return encode_answer(*self._model, request, own, self._signature, parameters)

    def _cut(
        self, requests: Sequence[InferRequest], outputs: Outputs, parameters: Sequence[Mapping[str, Any]]
    ) -> list[Encoded]:
        specs = self._signature.outputs
        texts = [_row_texts(outputs[spec.name], spec.datatype) for spec in specs]
        widths = tuple((spec.name, spec.datatype, outputs[spec.name].shape[1:]) for spec in specs)
        answers: list[Encoded] = []
        start = 0
        for request, own in zip(requests, parameters, strict=True):
            end = start + len(request.rows)
            if request.outputs is self._seen or self._is_ordinary(request):
                pieces = begun(self._opening, request, own)
                for before, rows in zip(_befores(widths, end - start), texts, strict=True):
                    pieces += (before, rows[start] if end - start == 1 else b",".join(rows[start:end]))
                pieces.append(_END)
                answers.append(Encoded(b"".join(pieces)))
            else:
                answers.append(self._written(request, outputs, start, end, own))
            start = end
        return answers

    def _is_ordinary(self, request: InferRequest) -> bool:
        if request.outputs != self._ordinary:
            return False
        self._seen = request.outputs
        return True


@lru_cache(256)
def _befores(widths: tuple[tuple[str, str, tuple[int, ...]], ...], rows: int) -> tuple[bytes, ...]:
    """What stands before the values of each output in the answer to so many rows, from the end of the one before on."""
    befores: list[bytes] = []
    for name, datatype, width in widths:
        about = orjson.dumps({"name": name, "datatype": datatype, "shape": (rows, *width)}).removesuffix(b"}")
        befores.append(b"%b%b" % (b"]}," if befores else b',"outputs":[', about + b',"data":['))
    return tuple(befores)


def _row_texts(values: NDArray[Any], datatype: str) -> list[bytes]:
    """Each row's values as they stand in a JSON list, without its brackets."""
    if datatype == BYTES:
        return [orjson.dumps(row.reshape(-1).tolist())[1:-1] for row in values.reshape(len(values), -1)]
    text = orjson.dumps(values if values.flags.c_contiguous else values.copy(), option=orjson.OPT_SERIALIZE_NUMPY)
    if values.ndim == 1:
        return text[1:-1].split(b",")
    if values.ndim == 2:
        return text[2:-2].split(b"],[")
    return _row_texts(values.reshape(len(values), -1), datatype)
