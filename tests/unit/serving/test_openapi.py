"""The OpenAPI document: valid by a validator nobody here wrote, and true: what it shows is answered, and as it says."""

import json
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from modelcycle_serving import model as models
from modelcycle_serving import openapi
from modelcycle_serving.app import App
from modelcycle_serving.counters import Counters
from modelcycle_serving.explain.service import Explanations
from modelcycle_serving.openapi import Described
from unit.serving import rig


@pytest.fixture(scope="module")
def document(server: rig.Server) -> dict[str, Any]:
    with server.client() as client:
        answer = client.get("/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    parsed: dict[str, Any] = answer.json
    return parsed


def check(instance: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """Validate against a schema that refers to the document's components."""
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(instance)


@pytest.mark.parametrize("name", ["classes", "names", "values"])
def test_document_of_every_kind_of_model_is_valid(bundles: dict[str, Path], name: str) -> None:
    served = Described("infer", 'my "model"/ü', models.load(bundles[name], None).signature, "")
    made = json.loads(openapi.encode(served, (), "abc", "1.0"))
    validate(made, cls=OpenAPIV31SpecValidator)
    assert "/v2/models/my%20%22model%22%2F%C3%BC/infer" in made["paths"]


def test_document_of_the_server_is_valid(document: dict[str, Any]) -> None:
    validate(document, cls=OpenAPIV31SpecValidator)
    assert document["openapi"].startswith("3.1")


def test_it_lists_what_the_router_knows(document: dict[str, Any], bundles: dict[str, Path]) -> None:
    model = models.load(bundles["classes"], None)
    app = App("model", "1", lambda: 0.0, Random(1))
    explanations = Explanations("model", model, bundles["classes"])
    app.start_serving(model, Counters(model, "", "p", 0.0), explanations=explanations)
    known = {
        (path.decode(), method.decode().lower())
        for path, methods in app.serving._routes.items()
        for method in methods
        if method != b"HEAD"
    }
    app.close()
    listed = {(path, method) for path, operations in document["paths"].items() for method in operations}
    assert listed == known


def test_every_get_it_lists_is_answered_as_it_says(document: dict[str, Any], client: rig.Client) -> None:
    listed = [path for path, operations in document["paths"].items() if "get" in operations]
    assert listed
    for path in listed:
        answer = client.get(path)
        assert answer.status == 200, path
        response = document["paths"][path]["get"]["responses"]["200"]
        check(answer.json, response["content"]["application/json"]["schema"], document)


def test_every_example_it_shows_is_answered_as_it_says(document: dict[str, Any], client: rig.Client) -> None:
    posts = {
        path: operations["post"]
        for path, operations in document["paths"].items()
        if path.endswith(("/infer", "/explain"))
    }
    assert len(posts) == 5
    for path, operation in posts.items():
        content = operation["requestBody"]["content"]["application/json"]
        assert set(content["examples"]) == {"matrix", "columns"}
        for example in content["examples"].values():
            check(example["value"], content["schema"], document)
            body = json.dumps(example["value"]).encode()
            head = f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n"
            client.send(head.encode() + body)
            answer = client.answer()
            assert answer.status == 200
            check(answer.json, operation["responses"]["200"]["content"]["application/json"]["schema"], document)
            assert {"label"} < {each["name"] for each in answer.json["outputs"]}


def test_its_schemas_refuse_what_the_server_refuses(document: dict[str, Any], client: rig.Client) -> None:
    schema = {"$ref": "#/components/schemas/InferRequest"}
    good = rig.matrix([[1, 2, 3]])
    check(good, schema, document)
    check(client.infer({}).json, {"$ref": "#/components/schemas/Error"}, document)
    for name, value in (("name", "other"), ("datatype", "FP31"), ("shape", "3"), ("data", 5)):
        bad = {"inputs": [{**good["inputs"][0], name: value}]}
        assert client.infer(bad).status == 400
        with pytest.raises(jsonschema.ValidationError):
            check(bad, schema, document)
