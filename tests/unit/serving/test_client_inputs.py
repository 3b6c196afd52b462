"""A model that needs a part of what clients send, or all in another order, reads the right columns however they come, or refuses."""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelcycle_bundle import client_inputs
from modelcycle_bundle.traffic import SHARE_DENOMINATOR
from unit.serving import peers, rig

ROWS = [[0.5, -1.25, 2.0], [3.0, 0.0, -0.5]]
"""As clients send them: in the order of FEATURES."""
NEEDS = {"fewer in another order": (2, 0), "another order": (1, 2, 0), "one": (1,)}


def told(names: Sequence[str]) -> dict[str, str]:
    """The environment of pods that are told what clients send."""
    return {client_inputs.ENVIRONMENT: client_inputs.to_text(names)}


def columns(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> dict[str, Any]:
    """A body with one tensor a column."""
    tensors = [
        {"name": name, "shape": [len(rows)], "datatype": "FP32", "data": [row[at] for row in rows]}
        for at, name in enumerate(names)
    ]
    return {"inputs": tensors}


@pytest.fixture(scope="module", params=list(NEEDS.values()), ids=list(NEEDS))
def needs(request: pytest.FixtureRequest) -> tuple[int, ...]:
    found: tuple[int, ...] = request.param
    return found


@pytest.fixture(scope="module")
def bundle(needs: tuple[int, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subset")
    rig.write_bundle(folder, rig.classifier(["no", "yes"], needs), needs)
    return folder


@pytest.fixture(scope="module")
def plain(bundle: Path) -> Iterator[rig.Server]:
    """The model alone, which knows its own names only."""
    with rig.serving(bundle) as running:
        yield running


@pytest.fixture(scope="module")
def canary(bundle: Path) -> Iterator[rig.Server]:
    with rig.serving(bundle, environment=told(rig.FEATURES)) as running:
        yield running


def expected(plain: rig.Server, needs: tuple[int, ...], rows: Sequence[Sequence[Any]] = ROWS) -> Any:
    """What the model answers to its own columns, asked by their names."""
    own = [[row[at] for at in needs] for row in rows]
    with plain.client() as client:
        answer = client.infer(columns(own, [rig.FEATURES[at] for at in needs]))
    assert answer.status == 200, answer.body
    return answer.json["outputs"]


def bodies(rows: Sequence[Sequence[Any]] = ROWS) -> Iterator[bytes]:
    """All ways of asking with these rows: one tensor flat, nested and in bytes, one tensor a column in any order."""
    flat = [value for row in rows for value in row]
    for data in (flat, rows):
        tensor = {"name": "input", "shape": [len(rows), 3], "datatype": "FP32", "data": data}
        yield rig.infer_request({"inputs": [tensor]})
        yield rig.infer_request(json.dumps({"inputs": [tensor]}, indent=1).encode())
    values = np.array(rows, dtype=np.float32)
    whole = {"name": "input", "shape": [len(rows), 3], "datatype": "FP32", "parameters": {"binary_data_size": 24}}
    yield in_bytes([(whole, values.tobytes())])
    for order in itertools.permutations(range(3)):
        names = [rig.FEATURES[at] for at in order]
        yield rig.infer_request(columns([[row[at] for at in order] for row in rows], names))
        parts = [
            (
                {"name": rig.FEATURES[at], "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
                values[:, at].tobytes(),
            )
            for at in order
        ]
        yield in_bytes(parts)


def in_bytes(tensors: list[tuple[dict[str, Any], bytes]]) -> bytes:
    text = json.dumps({"inputs": [about for about, _ in tensors]}).encode()
    raw = text + b"".join(data for _, data in tensors)
    return rig.infer_request(raw, f"Inference-Header-Content-Length: {len(text)}")


def test_every_way_of_asking_gets_the_answer_to_the_right_columns(
    plain: rig.Server, canary: rig.Server, needs: tuple[int, ...]
) -> None:
    wanted = expected(plain, needs)
    with canary.client() as client:
        for raw in bodies():
            client.send(raw)
            answer = client.answer()
            assert (answer.status, answer.json.get("outputs")) == (200, wanted), answer.body


def test_canary_answers_through_the_pod_where_a_request_arrives_as_it_does_directly(
    plain: rig.Server, canary: rig.Server, stable: peers.Stable, needs: tuple[int, ...]
) -> None:
    stable.hand_on(f"127.0.0.1:{canary.http_port}", SHARE_DENOMINATOR)
    wanted, asked = expected(plain, needs), list(bodies())
    with stable.server.client() as client:
        for raw in asked:
            client.send(raw)
            answer = client.answer()
            assert (answer.status, answer.json.get("outputs")) == (200, wanted), answer.body
    assert stable.arms() == {"canary ok": len(asked)}


def test_single_tensor_in_the_models_own_order_is_no_request_of_a_pod_that_was_told(
    canary: rig.Server, needs: tuple[int, ...]
) -> None:
    if len(needs) == len(rig.FEATURES):
        return  # as wide as what clients send, it is read in their order: the tests above
    with canary.client() as client:
        answer = client.infer(rig.matrix([[1.0] * len(needs)]))
    assert (answer.status, answer.json["error"]) == (400, "inputs[0].shape: expected [N, 3] with N from 1 to 174762")


def test_name_that_no_arm_knows_is_refused_with_its_place(canary: rig.Server) -> None:
    body = columns([[*ROWS[0], 1.0]], [*rig.FEATURES, "heigth"])
    with canary.client() as client:
        answer = client.infer(body)
    assert answer.status == 400
    assert answer.json["error"].startswith("inputs[3].name: ")


def test_input_that_the_model_needs_may_not_be_missing_and_others_may(
    canary: rig.Server, plain: rig.Server, needs: tuple[int, ...]
) -> None:
    with canary.client() as client:
        for at, name in enumerate(rig.FEATURES):
            left = [other for other in range(3) if other != at]
            answer = client.infer(columns([[row[o] for o in left] for row in ROWS], [rig.FEATURES[o] for o in left]))
            if at in needs:
                assert answer.json == {"error": f"inputs: feature {name} is missing (1 of {len(needs)} missing)"}
            else:
                assert answer.json["outputs"] == expected(plain, needs)


def test_gap_in_a_column_that_the_model_does_not_read_is_none(
    canary: rig.Server, plain: rig.Server, needs: tuple[int, ...]
) -> None:
    for at, name in enumerate(rig.FEATURES):
        gap: list[list[Any]] = [list(row) for row in ROWS]
        gap[1][at] = None
        with canary.client() as client:
            answer = client.infer(rig.matrix(gap))
        if at in needs:
            assert (answer.status, name in answer.json["error"]) == (400, True)
        else:
            assert answer.json["outputs"] == expected(plain, needs)


def test_pod_says_what_it_takes_and_what_it_needs(
    canary: rig.Server, stable: peers.Stable, needs: tuple[int, ...]
) -> None:
    own = [rig.FEATURES[at] for at in needs]
    with canary.client() as client:
        [described] = client.get("/v2/models/model").json["inputs"]
        schema = json.dumps(client.get("/openapi.json").json)
    assert described["shape"] == [-1, 3]
    assert described["parameters"] == {"features": list(rig.FEATURES), "needed": own}
    assert "[N, 3]" in schema
    [[labels], [of_stable]] = [each.samples()["modelcycle_model_inputs"] for each in (canary, stable.server)]
    assert said(labels) == {"takes": rig.FEATURES, "needs": tuple(own)}
    assert said(of_stable) == {"takes": rig.FEATURES, "needs": ()}
    [[info], [info_of_stable]] = [each.samples()["modelcycle_model_info"] for each in (canary, stable.server)]
    assert dict(info)["inputs"] == dict(info_of_stable)["inputs"], "equal hashes take equal requests"


def said(labels: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Names that one series holds."""
    return {name: client_inputs.parse(text) for name, text in labels if name != "part"}


def test_explanations_read_the_same_columns(canary: rig.Server, plain: rig.Server, needs: tuple[int, ...]) -> None:
    def explained(server: rig.Server, body: dict[str, Any]) -> Any:
        raw = rig.infer_request(body).replace(b"/infer HTTP", b"/explain HTTP")
        with server.client() as client:
            client.send(raw)
            answer = client.answer()
        assert answer.status == 200, answer.body
        return answer.json["outputs"]

    own = columns([[row[at] for at in needs] for row in ROWS], [rig.FEATURES[at] for at in needs])
    assert explained(canary, rig.matrix(ROWS)) == explained(plain, own)


def test_model_that_needs_more_than_clients_send_goes_by_its_own_names(bundles: dict[str, Path]) -> None:
    with rig.start(bundles["classes"], environment=told(rig.FEATURES[:2])) as server:
        server.wait_for("ready")
        assert [line["lacking"] for line in server.log if "lacking" in line] == [1]
        [labels] = server.samples()["modelcycle_model_inputs"]
        assert client_inputs.parse(dict(labels)["takes"]) == rig.FEATURES
        with server.client() as client:
            assert client.infer(rig.matrix(ROWS)).status == 200


@pytest.mark.parametrize("text", ["width", "[]", "[1]", '["a","a"]', "{}"])
def test_text_that_is_no_list_of_names_starts_no_server(text: str, bundles: dict[str, Path]) -> None:
    with pytest.raises(AssertionError, match="ended without"):
        rig.start(bundles["classes"], environment={client_inputs.ENVIRONMENT: text})
