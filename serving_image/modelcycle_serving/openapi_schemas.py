"""The schemas of the OpenAPI document: what each body looks like, with the model's real names.

Owns the components section; which route has which body is said in `openapi`.
"""

from collections.abc import Mapping
from typing import Any, Final

from modelcycle_serving.oip import INPUT, OutputSpec, Signature
from modelcycle_serving.oip.datatypes import BYTES, NUMERIC
from modelcycle_serving.oip.head import ALL_BINARY, BINARY, SIZE

Object = Mapping[str, Any]


def ref(schema: str) -> Object:
    """A reference to a component."""
    return {"$ref": f"#/components/schemas/{schema}"}


def _object(required: tuple[str, ...], **properties: Any) -> Object:
    return {"type": "object", "required": list(required), "properties": properties}


def _array(kind: str) -> Object:
    return {"type": "array", "items": {"type": kind}}


_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}
_LIST_OF_TEXT: Final = {"type": "array", "items": _TEXT}


def schemas(models: Mapping[str, Signature]) -> Object:
    """The components: those of the protocol, and request and answer of each model by its verb."""
    served = next(iter(models.values()))
    return {
        "Document": {"type": "object"},
        "Error": _object(("error",), error=_TEXT),
        "Live": _object(("live",), live=_FLAG),
        "Ready": _object(("ready",), ready=_FLAG, phase=_TEXT),
        "ModelReady": _object(("name", "ready"), name=_TEXT, ready=_FLAG),
        "ServerMetadata": _object(
            ("name", "version", "extensions"), name=_TEXT, version=_TEXT, extensions=_LIST_OF_TEXT
        ),
        "TensorMetadata": _object(
            ("name", "datatype", "shape"),
            name=_TEXT,
            datatype=_TEXT,
            shape=_array("integer"),
            parameters={"type": "object"},
        ),
        "ModelMetadata": _object(
            ("name", "versions", "platform", "inputs", "outputs"),
            name=_TEXT,
            versions=_LIST_OF_TEXT,
            platform=_TEXT,
            inputs={"type": "array", "items": ref("TensorMetadata")},
            outputs={"type": "array", "items": ref("TensorMetadata")},
        ),
        "RequestInput": _request_input(served),
        **{
            name: schema for verb, each in models.items() for name, schema in _of_model(verb.capitalize(), each).items()
        },
        **_feedback_schemas(),
    }


def _of_model(verb: str, signature: Signature) -> Object:
    return {
        f"{verb}Output": _object(
            ("name",),
            name={"enum": list(signature.output_names)},
            parameters=_object((), **{BINARY: {**_FLAG, "description": "Send it behind the JSON."}}),
        ),
        f"{verb}Request": _object(
            ("inputs",),
            id={**_TEXT, "description": "Comes back in the answer."},
            parameters=_object((), **{ALL_BINARY: {**_FLAG, "description": "Send all outputs behind the JSON."}}),
            inputs={"type": "array", "minItems": 1, "items": ref("RequestInput")},
            outputs={"type": "array", "items": ref(f"{verb}Output")},
        ),
        f"{verb}Answer": _object(
            ("model_name", "model_version", "outputs"),
            model_name=_TEXT,
            model_version=_TEXT,
            id=_TEXT,
            parameters=_object((), feedback_token={**_TEXT, "description": "To post labels with later."}),
            outputs={"type": "array", "items": {"oneOf": [_answer_output(each) for each in signature.outputs]}},
        ),
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
    whole = f"[N, {len(signature.inputs)}]"
    return _object(
        ("name", "datatype", "shape"),
        name={
            "enum": [INPUT, *signature.inputs],
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
    if output.columns:
        described["description"] = f"Columns: {', '.join(output.columns)}"
    return described
