"""FastAPI + onnxruntime as FastAPI's own documentation teaches it: pydantic models in and out, validated by FastAPI.

A peer of the benchmark, fair to itself: an async endpoint (no thread hop), single-threaded session, run by uvicorn with uvloop, httptools
and no access log. MODEL is the path of an ONNX file.
"""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


class Input(BaseModel):
    """One tensor asked for."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class InferRequest(BaseModel):
    """The protocol's request."""

    id: str | None = None
    inputs: list[Input]


class Output(BaseModel):
    """One tensor answered."""

    name: str
    shape: list[int]
    datatype: str
    data: list[int] | list[float]


class InferResponse(BaseModel):
    """The protocol's answer."""

    model_name: str
    id: str | None = None
    outputs: list[Output]


@app.get("/v2/models/{name}/ready")
async def ready(name: str) -> dict[str, bool]:
    """The session is loaded before the first connection is taken."""
    return {"ready": True}


@app.post("/v2/models/{name}/infer")
async def infer(name: str, request: InferRequest) -> InferResponse:
    """Answer one request."""
    asked = request.inputs[0]
    rows = np.array(asked.data, dtype=np.float32).reshape(asked.shape)
    label, probabilities = session.run(["label", "probabilities"], {"input": rows})
    return InferResponse(
        model_name=name,
        id=request.id,
        outputs=[
            Output(name="label", shape=list(label.shape), datatype="INT64", data=label.tolist()),
            Output(
                name="probabilities",
                shape=list(probabilities.shape),
                datatype="FP32",
                data=probabilities.ravel().tolist(),
            ),
        ],
    )
