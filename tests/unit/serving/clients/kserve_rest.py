"""What KServe's client library makes of a server: run in an environment of its own, prints one JSON object.

Usage: python kserve_rest.py PORT MODEL, rows as a JSON matrix on stdin. Nothing is asserted here.
"""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from httpx import HTTPStatusError
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def asked(model: str, rows: Any, *, binary: bool, name: str = "input", **more: Any) -> Any:
    """A request of the library, its values in JSON or behind it."""
    tensor = InferInput(name, list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    return InferRequest(model, [tensor], request_id="7", **more)


def outputs(response: Any) -> dict[str, Any]:
    """Outputs by name."""
    return {each.name: each.as_numpy().tolist() for each in response.outputs}


async def main() -> None:
    port, model = sys.argv[1:]
    rows = np.array(json.load(sys.stdin), dtype=np.float32)
    url = f"http://127.0.0.1:{port}"
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    wanted = [RequestedOutput("probabilities", {"binary_data": True}), RequestedOutput("label", {"binary_data": False})]
    in_json = await client.infer(url, asked(model, rows, binary=False), model_name=model)
    answers = {
        "binary": await client.infer(url, asked(model, rows, binary=True), model_name=model),
        "both": await client.infer(
            url, asked(model, rows, binary=True, parameters={"binary_data_output": True}), model_name=model
        ),
        "chosen": await client.infer(url, asked(model, rows, binary=False, request_outputs=wanted), model_name=model),
    }
    refused: list[Any] = []
    try:
        await client.infer(url, asked(model, rows, binary=True, name="inputs"), model_name=model)
    except HTTPStatusError as error:
        refused = [error.response.status_code, error.response.json()["error"]]
    json.dump(
        {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": await client.is_model_ready(url, model),
            "id": in_json.id,
            "model": in_json.model_name,
            "json": outputs(in_json),
            **{name: outputs(answer) for name, answer in answers.items()},
            "refused": refused,
        },
        sys.stdout,
    )
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
