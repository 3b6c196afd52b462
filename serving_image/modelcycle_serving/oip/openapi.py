"""The OpenAPI 3.1 document of the serving port, made from the model's signature: real names, a request that works.

Owns what the document says; the routes themselves are the router's. Kept true by tests that send its examples and check
the answers against its schemas (tests/unit/serving/test_openapi.py).
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from modelcycle_serving.oip.datatypes import BYTES, NUMERIC
from modelcycle_serving.oip.head import ALL_BINARY, BINARY, SIZE
from modelcycle_serving.oip.messages import HEADER_LENGTH, INPUT, OutputSpec, Signature
from modelcycle_serving.oip.metadata import example, model_path

OPENAPI: Final = "3.1.0"
JSON: Final = "application/json"
BYTE_STREAM: Final = "application/octet-stream"
Object = Mapping[str, Any]


def encode_openapi(model_name: str, version: str, server_version: str, signature: Signature) -> bytes:
    """The document, for one model of one version."""
    base = model_path(model_name)
    pinned = f"{base}/versions/{version}"
    paths: dict[str, Any] = {
        "/v2": {"get": _get("server", "Server metadata and protocol extensions", "ServerMetadata")},
        "/v2/health/live": {"get": _get("live", "Whether the process runs", "Live")},
        "/v2/health/ready": {"get": _get("ready", "Whether the model answers", "Ready", 503)},
        base: {"get": _get("model", "What the model takes and gives", "ModelMetadata", 503)},
        f"{base}/ready": {"get": _get("modelReady", "Whether the model answers", "ModelReady", 503)},
        f"{base}/infer": {
            "post": _infer("infer", "Predictions; a canary may give them while a share is applied", signature)
        },
        pinned: {"get": _get("modelVersion", "What this version takes and gives", "ModelMetadata", 503)},
        f"{pinned}/ready": {"get": _get("modelVersionReady", "Whether this version answers", "ModelReady", 503)},
        f"{pinned}/infer": {"post": _infer("inferVersion", "Predictions of this version only", signature)},
        "/v2/feedback": {"post": _feedback()},
    }
    protocol = f"Open Inference Protocol v2 with the binary tensor extension, by modelcycle {server_version}."
    return orjson.dumps(
        {
            "openapi": OPENAPI,
            "info": {
                "title": f"Model {model_name}",
                "version": version,
                "description": protocol,
            },
            "paths": paths,
            "components": {"schemas": _schemas(signature)},
        }
    )


def _get(operation: str, summary: str, schema: str, unready: int | None = None) -> Object:
    responses = {"200": _content("The answer", schema)}
    if unready is not None:
        # The readiness routes say the same at 503; the others give the error object.
        responses[str(unready)] = _content("Not ready", schema if schema in ("Ready", "ModelReady") else "Error")
    return {"operationId": operation, "summary": summary, "responses": responses}


def _infer(operation: str, summary: str, signature: Signature) -> Object:
    length = {
        "name": HEADER_LENGTH,
        "in": "header",
        "required": False,
        "schema": {"type": "integer", "minimum": 0},
        "description": "Bytes of the body that are JSON, when binary tensors follow it.",
    }
    answer: dict[str, Any] = dict(_content("Outputs in the order asked for", "InferAnswer"))
    answer["content"][BYTE_STREAM] = {"schema": {}}
    answer["headers"] = {
        HEADER_LENGTH: {"schema": {"type": "integer"}, "description": "Set when binary tensors follow the JSON."}
    }
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [length],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": _ref("InferRequest"),
                    "examples": {
                        "matrix": {"summary": "All features in one tensor", "value": example(signature)},
                        "columns": {"summary": "One tensor per feature", "value": _by_feature(signature)},
                    },
                },
                BYTE_STREAM: {"schema": {}},
            },
        },
        "responses": {
            "200": answer,
            "400": _content("The error names the field at fault", "Error"),
            "413": _content("The body is too large", "Error"),
            "503": _content("Starting, or too busy; Retry-After says when to come again", "Error"),
        },
    }


def _feedback() -> Object:
    entry = {"feedback": [{"token": "(parameters.feedback_token of an answer)", "labels": [1]}]}
    return {
        "operationId": "feedback",
        "summary": "Labels of earlier answers, counted and not kept",
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": _ref("Feedback"), "examples": {"one": {"value": entry}}}},
        },
        "responses": {
            "200": _content("All were counted", "FeedbackAnswer"),
            "400": _content("A label, their number or the body does not fit", "FeedbackAnswer"),
            "401": _content("A token is forged or too old", "FeedbackAnswer"),
            "404": _content("Feedback is off", "Error"),
            "409": _content("A label was counted already, or may have been", "FeedbackAnswer"),
            "413": _content("The body is too large", "Error"),
            "503": _content("Starting", "Error"),
        },
    }


def _content(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": _ref(schema)}}}


def _ref(schema: str) -> Object:
    return {"$ref": f"#/components/schemas/{schema}"}


def _by_feature(signature: Signature) -> Object:
    return {
        "inputs": [{"name": name, "shape": [1], "datatype": "FP32", "data": [0]} for name in signature.features],
        "outputs": [{"name": name} for name in signature.output_names],
    }


def _object(required: tuple[str, ...], **properties: Any) -> Object:
    return {"type": "object", "required": list(required), "properties": properties}


_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}
_LIST_OF_TEXT: Final = {"type": "array", "items": _TEXT}


def _schemas(signature: Signature) -> Object:
    tensor = _object(
        ("name", "datatype", "shape"),
        name=_TEXT,
        datatype=_TEXT,
        shape=_array("integer"),
        parameters={"type": "object"},
    )
    return {
        "Error": _object(("error",), error=_TEXT),
        "Live": _object(("live",), live=_FLAG),
        "Ready": _object(("ready",), ready=_FLAG, phase=_TEXT),
        "ModelReady": _object(("name", "ready"), name=_TEXT, ready=_FLAG),
        "ServerMetadata": _object(
            ("name", "version", "extensions"), name=_TEXT, version=_TEXT, extensions=_LIST_OF_TEXT
        ),
        "TensorMetadata": tensor,
        "ModelMetadata": _object(
            ("name", "versions", "platform", "inputs", "outputs"),
            name=_TEXT,
            versions=_LIST_OF_TEXT,
            platform=_TEXT,
            inputs={"type": "array", "items": _ref("TensorMetadata")},
            outputs={"type": "array", "items": _ref("TensorMetadata")},
        ),
        "RequestInput": _request_input(signature),
        "RequestOutput": _object(
            ("name",),
            name={"enum": list(signature.output_names)},
            parameters=_object((), **{BINARY: {**_FLAG, "description": "Send it behind the JSON."}}),
        ),
        "InferRequest": _object(
            ("inputs",),
            id={**_TEXT, "description": "Comes back in the answer."},
            parameters=_object((), **{ALL_BINARY: {**_FLAG, "description": "Send all outputs behind the JSON."}}),
            inputs={"type": "array", "minItems": 1, "items": _ref("RequestInput")},
            outputs={"type": "array", "items": _ref("RequestOutput")},
        ),
        "InferAnswer": _object(
            ("model_name", "model_version", "outputs"),
            model_name=_TEXT,
            model_version=_TEXT,
            id=_TEXT,
            parameters=_object((), feedback_token={**_TEXT, "description": "To post labels with later."}),
            outputs={"type": "array", "items": {"oneOf": [_answer_output(each) for each in signature.outputs]}},
        ),
        **_feedback_schemas(),
    }


def _feedback_schemas() -> Object:
    label = {"type": ["string", "number", "boolean", "null"], "description": "null: not known yet"}
    entry = _object(
        ("token", "labels"),
        token={**_TEXT, "description": "parameters.feedback_token of an answer."},
        labels={"type": "array", "items": label, "description": "One for each row of the answer, in order."},
    )
    refused = _object(("entry", "reason", "error"), entry={"type": "integer"}, reason=_TEXT, error=_TEXT)
    return {
        "Feedback": _object(("feedback",), feedback={"type": "array", "minItems": 1, "items": entry}),
        "FeedbackAnswer": _object(
            (),
            counted={"type": "integer", "description": "Labels."},
            refused={"type": "array", "items": refused, "description": "The first of the refused entries."},
            refused_entries={"type": "integer"},
            error={**_TEXT, "description": "What is wrong with the first refused entry."},
        ),
    }


def _request_input(signature: Signature) -> Object:
    missing = "a missing value is null" if signature.accepts_missing else "values may not be missing"
    whole = f"[N, {len(signature.features)}]"
    return _object(
        ("name", "datatype", "shape"),
        name={
            "enum": [INPUT, *signature.features],
            "description": f"{INPUT} for all features in one {whole} tensor, or a feature's name each.",
        },
        datatype={"enum": sorted(NUMERIC)},
        shape={**_array("integer"), "description": "[N, F], or [N] for one feature; N is at least 1."},
        data={
            "type": "array",
            "description": f"Row-major, flat or nested by rows; {missing}. Absent for binary tensors.",
        },
        parameters=_object((), **{SIZE: {"type": "integer", "description": "Bytes of the tensor behind the JSON."}}),
    )


def _answer_output(output: OutputSpec) -> Object:
    kind = "string" if output.datatype == BYTES else "integer" if output.datatype == "INT64" else "number"
    described: dict[str, Any] = dict(
        _object(
            ("name", "datatype", "shape"),
            name={"const": output.name},
            datatype={"const": output.datatype},
            shape=_array("integer"),
            data=_array(kind),
            parameters=_object((), **{SIZE: {"type": "integer"}}),
        )
    )
    if output.classes:
        described["description"] = f"Columns: {', '.join(output.classes)}"
    return described


def _array(kind: str) -> Object:
    return {"type": "array", "items": {"type": kind}}
