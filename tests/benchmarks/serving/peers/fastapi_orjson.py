"""FastAPI + onnxruntime with everything left out that FastAPI does for its users: raw body, orjson both ways, no validation.

What a person writes who has profiled the first one; it refuses nothing and explains nothing. Shown beside the peers. MODEL is the path of
an ONNX file.
"""

import os

import numpy as np
import onnxruntime
import orjson
from fastapi import FastAPI, Request, Response

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


@app.get("/v2/models/{name}/ready")
async def ready(name: str) -> dict[str, bool]:
    """The session is loaded before the first connection is taken."""
    return {"ready": True}


@app.post("/v2/models/{name}/infer")
async def infer(name: str, request: Request) -> Response:
    """Answer one request."""
    asked = orjson.loads(await request.body())["inputs"][0]
    rows = np.array(asked["data"], dtype=np.float32).reshape(asked["shape"])
    label, probabilities = session.run(["label", "probabilities"], {"input": rows})
    answer = {
        "model_name": name,
        "outputs": [
            {"name": "label", "shape": label.shape, "datatype": "INT64", "data": label},
            {
                "name": "probabilities",
                "shape": probabilities.shape,
                "datatype": "FP32",
                "data": probabilities.ravel(),
            },
        ],
    }
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
