"""What the server and the model say about themselves, and a first request that works.

Owns the protocol's two metadata objects.
"""

from typing import Any, Final
from urllib.parse import quote

import orjson

from modelcycle_serving.oip.messages import INPUT, OutputSpec, Signature

SERVER: Final = "modelcycle"
EXTENSIONS: Final = ("binary_tensor_data",)
PLATFORM: Final = "onnx_onnxv1"


def model_path(model_name: str) -> str:
    """Where the model is, in a URL. What a name may not hold there is percent-encoded, as clients do it."""
    return f"/v2/models/{quote(model_name, safe='')}"


def encode_server(server_version: str) -> bytes:
    """The metadata of the server, with the extensions it speaks."""
    return orjson.dumps({"name": SERVER, "version": server_version, "extensions": EXTENSIONS})


def encode_model(model_name: str, version: str, signature: Signature) -> bytes:
    """The metadata of the model: the whole-matrix input, its columns' names, and the outputs.

    `needed` is there where the model does without some of the columns, or has them in another order.
    """
    needed = {} if signature.columns is None else {"needed": list(signature.features)}
    inputs = [
        {
            "name": INPUT,
            "datatype": "FP32",
            "shape": [-1, len(signature.inputs)],
            "parameters": {"features": list(signature.inputs), **needed},
        }
    ]
    outputs = [_describe(output) for output in signature.outputs]
    return orjson.dumps(
        {"name": model_name, "versions": [version], "platform": PLATFORM, "inputs": inputs, "outputs": outputs}
    )


def _describe(output: OutputSpec) -> dict[str, Any]:
    plain = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
    return {**plain, "parameters": {output.columns_are: list(output.columns)}} if output.columns else plain


def example(signature: Signature) -> dict[str, Any]:
    """A valid first request: one row of zeros."""
    width = len(signature.inputs)
    return {"inputs": [{"name": INPUT, "shape": [1, width], "datatype": "FP32", "data": [0] * width}]}


def example_request(signature: Signature) -> bytes:
    """The body of `example`."""
    return orjson.dumps(example(signature))
