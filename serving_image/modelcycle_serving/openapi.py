"""The OpenAPI 3.1 document of the serving port, made from the model's signature: real names, a request that works.

Owns which route has which bodies and answers; the routes themselves are the router's. Kept true by tests that compare
it with the router, send its examples and check the answers against its schemas (tests/unit/serving/test_openapi.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from modelcycle_serving.feedback import PATH as FEEDBACK_PATH
from modelcycle_serving.oip import HEADER_LENGTH, Signature, example, model_path
from modelcycle_serving.openapi_schemas import Object, ref, schemas

OPENAPI: Final = "3.1.0"
JSON: Final = "application/json"
BYTE_STREAM: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Described:
    """A model as clients see it. `verb` names its operations and schemas."""

    verb: str
    name: str
    signature: Signature
    summary: str


def encode(served: Described, others: tuple[Described, ...], version: str, server_version: str) -> bytes:
    """The document of a server: the model it serves, and those beside it that answer about the same features."""
    paths: dict[str, Any] = {
        "/v2": {"get": _get("server", "Server metadata and protocol extensions", "ServerMetadata")},
        "/v2/health/live": {"get": _get("live", "Whether the process runs", "Live")},
        "/v2/health/ready": {"get": _get("ready", "Whether the model answers", "Ready", "Ready")},
        "/openapi.json": {"get": _get("openapi", "This document", "Document", "Error")},
        FEEDBACK_PATH: {"post": _feedback()},
    }
    for model in (served, *others):
        base = model_path(model.name)
        paths |= _of_model(base, model, "")
        paths |= _of_model(f"{base}/versions/{version}", model, "Version")
    for model in others:
        paths[f"{model_path(served.name)}/{model.verb}"] = {"post": _infer(model, "")}
    return orjson.dumps(
        {
            "openapi": OPENAPI,
            "info": {
                "title": f"Model {served.name}",
                "version": version,
                "description": f"Open Inference Protocol v2 with binary tensors, by modelcycle {server_version}.",
            },
            "paths": paths,
            "components": {"schemas": schemas({model.verb: model.signature for model in (served, *others)})},
        }
    )


def _of_model(base: str, model: Described, suffix: str) -> Mapping[str, Object]:
    verb = model.verb
    return {
        base: {"get": _get(f"{verb}Model{suffix}", "What the model takes and gives", "ModelMetadata", "Error")},
        f"{base}/ready": {"get": _get(f"{verb}Ready{suffix}", "Whether it answers", "ModelReady", "ModelReady")},
        f"{base}/infer": {"post": _infer(model, f"Infer{suffix}")},
    }


def _get(operation: str, summary: str, schema: str, unready: str | None = None) -> Object:
    responses = {"200": _content("The answer", schema)}
    if unready is not None:
        responses["503"] = _content("Not ready", unready)
    return {"operationId": operation, "summary": summary, "responses": responses}


def _infer(model: Described, suffix: str) -> Object:
    verb = model.verb.capitalize()
    length = {
        "name": HEADER_LENGTH,
        "in": "header",
        "required": False,
        "schema": {"type": "integer", "minimum": 0},
        "description": "Bytes of the body that are JSON, when binary tensors follow it.",
    }
    answer: dict[str, Any] = _content("Outputs in the order asked for", f"{verb}Answer")
    answer["content"][BYTE_STREAM] = {"schema": {}}
    answer["headers"] = {
        HEADER_LENGTH: {"schema": {"type": "integer"}, "description": "Set when binary tensors follow the JSON."}
    }
    examples = {
        "matrix": {"summary": "All features in one tensor", "value": example(model.signature)},
        "columns": {"summary": "One tensor per feature", "value": _by_feature(model.signature)},
    }
    return {
        "operationId": f"{model.verb}{suffix}",
        "summary": model.summary,
        "parameters": [length],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": ref(f"{verb}Request"), "examples": examples},
                BYTE_STREAM: {"schema": {}},
            },
        },
        "responses": {
            "200": answer,
            "400": _content("The error names the field at fault", "Error"),
            "401": _content("The server asks for a bearer token", "Error"),
            "413": _content("The body is too large", "Error"),
            "500": _content("The model failed on these rows", "Error"),
            "503": _content("Starting, or too busy; Retry-After says when to come again", "Error"),
        },
    }


def _by_feature(signature: Signature) -> Object:
    return {
        "inputs": [{"name": name, "shape": [1], "datatype": "FP32", "data": [0]} for name in signature.features],
        "outputs": [{"name": name} for name in signature.output_names],
    }


def _feedback() -> Object:
    entry = {"feedback": [{"token": "(parameters.feedback_token of an answer)", "labels": [1]}]}
    return {
        "operationId": "feedback",
        "summary": "Labels of earlier answers, counted and not kept",
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ref("Feedback"), "examples": {"one": {"value": entry}}}},
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
    return {"description": description, "content": {JSON: {"schema": ref(schema)}}}
