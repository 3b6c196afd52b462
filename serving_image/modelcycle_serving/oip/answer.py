"""Answers to bytes: JSON, with tensors behind it where the client asked for binary ones.

Owns their form. Rounds nothing: a float32 in JSON is the shortest text that reads back as the same float32.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson
from numpy.typing import NDArray

from modelcycle_serving.oip.datatypes import BYTES, to_bytes
from modelcycle_serving.oip.head import SIZE
from modelcycle_serving.oip.messages import Encoded, InferRequest, Outputs, Signature

_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY


def encode_answer(
    model_name: str,
    version: str,
    request: InferRequest,
    outputs: Outputs,
    signature: Signature,
    parameters: Mapping[str, Any] | None = None,
) -> Encoded:
    """The body of a 200: the wanted outputs in the order they were asked for, flat and row-major. `parameters` is the
    answer's own object."""
    opening, datatypes = _constant(model_name, version, signature)
    pieces = begun(opening, request, parameters)
    separator = b',"outputs":['
    tensors: list[bytes] = []
    for wanted in request.outputs:
        values, datatype = outputs[wanted.name], datatypes[wanted.name]
        pieces += (separator, _about(wanted.name, datatype, values.shape))
        if wanted.binary:
            tensors.append(to_bytes(values, datatype))
            pieces.append(b',"parameters":{"%b":%d}}' % (SIZE.encode(), len(tensors[-1])))
        else:
            pieces += (b',"data":', _json(values, datatype), b"}")
        separator = b","
    pieces.append(b"]}")
    if not tensors:
        return Encoded(b"".join(pieces))
    header_length = sum(map(len, pieces))
    return Encoded(b"".join((*pieces, *tensors)), header_length)


def begun(opening: bytes, request: InferRequest, parameters: Mapping[str, Any] | None) -> list[bytes]:
    """The pieces of an answer before its outputs; `opening` is the model's."""
    pieces = [opening]
    if request.request_id is not None:
        pieces += (b',"id":', orjson.dumps(request.request_id))
    if parameters:
        pieces += (b',"parameters":', orjson.dumps(parameters))
    return pieces


def opening_of(model_name: str, version: str) -> bytes:
    """How every answer of a model begins."""
    return orjson.dumps({"model_name": model_name, "model_version": version}).removesuffix(b"}")


def _json(values: NDArray[Any], datatype: str) -> bytes:
    flat = values.reshape(-1)
    if datatype == BYTES:
        return orjson.dumps(flat.tolist())
    return orjson.dumps(flat if flat.flags.c_contiguous else flat.copy(), option=_NUMPY)


@lru_cache(16)
def _constant(model_name: str, version: str, signature: Signature) -> tuple[bytes, Mapping[str, str]]:
    """How every answer of a model begins, and the datatypes of its outputs."""
    return opening_of(model_name, version), {output.name: output.datatype for output in signature.outputs}


@lru_cache(256)
def _about(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    return orjson.dumps({"name": name, "datatype": datatype, "shape": shape}).removesuffix(b"}")
