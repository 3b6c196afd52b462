"""What NVIDIA's tritonclient makes of a server: run in an environment of its own, prints one JSON object.

Usage: python triton.py PORT MODEL VERSION, rows as a JSON matrix on stdin. Nothing is asserted here.
"""

import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


def infer(client: Any, model: str, tensors: list[tuple[str, Any, str]], *, binary: bool, **more: Any) -> dict[str, Any]:
    """Outputs by name as lists of numbers, float32 ones widened exactly."""
    inputs = []
    for name, values, datatype in tensors:
        each = triton.InferInput(name, list(values.shape), datatype)
        each.set_data_from_numpy(values, binary_data=binary)
        inputs.append(each)
    result = client.infer(model, inputs, **more)
    response = result.get_response()
    outputs = {each["name"]: result.as_numpy(each["name"]).tolist() for each in response["outputs"]}
    behind = [each["name"] for each in response["outputs"] if "binary_data_size" in each.get("parameters", {})]
    return {"id": response.get("id"), "version": response["model_version"], "outputs": outputs, "behind": behind}


def refusal(client: Any, model: str, tensors: list[tuple[str, Any, str]]) -> list[str]:
    """Status and message of a request that is refused."""
    try:
        infer(client, model, tensors, binary=True)
    except InferenceServerException as refused:
        return [refused.status(), refused.message()]
    return []


def main() -> None:
    port, model, version = sys.argv[1:]
    rows = np.array(json.load(sys.stdin), dtype=np.float32)
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    features = client.get_model_metadata(model)["inputs"][0]["parameters"]["features"]
    matrix = [("input", rows, "FP32")]
    columns = [(name, rows[:, [at]].astype(np.float64), "FP64") for at, name in enumerate(features)]
    chosen = [
        triton.InferRequestedOutput("probabilities", binary_data=True),
        triton.InferRequestedOutput("label", binary_data=False),
    ]
    json.dump(
        {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(model),
            "version_ready": client.is_model_ready(model, version),
            "other_ready": client.is_model_ready("other"),
            "server": client.get_server_metadata(),
            "model": client.get_model_metadata(model),
            "binary": infer(client, model, matrix, binary=True, request_id="7"),
            "json": infer(client, model, matrix, binary=False),
            "columns": infer(client, model, columns, binary=True, model_version=version),
            "chosen": infer(client, model, matrix, binary=True, outputs=chosen),
            "half": infer(client, model, [("input", rows.astype(np.float16), "FP16")], binary=True),
            "refused": refusal(client, model, [("inputs", rows, "FP32")]),
            "text": refusal(client, model, [("input", rows.astype(np.bytes_), "BYTES")]),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
