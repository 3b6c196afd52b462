"""Open Inference Protocol v2 with the binary tensor extension: request bodies to float32 rows, answers to bytes.

Owns the protocol's shapes and its error texts. Pure: no sockets, no session, no clock. An error names the field at
fault and what was expected there; it never quotes what the client sent. Called by one thread only: the quick reader
reuses its buffers.
"""

from modelcycle_serving.oip.answer import encode_answer
from modelcycle_serving.oip.batch_answers import BatchAnswers
from modelcycle_serving.oip.messages import (
    HEADER_LENGTH,
    INPUT,
    BadInput,
    Encoded,
    InferRequest,
    Outputs,
    OutputSpec,
    Rows,
    Signature,
    Wanted,
)
from modelcycle_serving.oip.metadata import encode_model, encode_server, example, example_request, model_path
from modelcycle_serving.oip.request import parse_infer

__all__ = [
    "HEADER_LENGTH",
    "INPUT",
    "BadInput",
    "BatchAnswers",
    "Encoded",
    "InferRequest",
    "OutputSpec",
    "Outputs",
    "Rows",
    "Signature",
    "Wanted",
    "encode_answer",
    "encode_model",
    "encode_server",
    "example",
    "example_request",
    "model_path",
    "parse_infer",
]
