"""Inference over the wire, against onnxruntime asked directly, and what is counted for it."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelcycle_bundle import layout, metric_names
from modelcycle_serving import model as models
from modelcycle_serving.counters import Counters
from unit.serving import rig


def expected(bundle: Path, rows: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(bundle / layout.MODEL_DIR / layout.MODEL_FILE)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": rows}), strict=True))


def test_answers_equal_onnxruntime_to_the_bit(client: rig.Client, bundles: dict[str, Path]) -> None:
    outputs = {each["name"]: each for each in client.infer(rig.matrix(rig.TABLE.tolist())).json["outputs"]}
    wanted = expected(bundles["classes"], rig.TABLE)
    assert outputs["label"]["data"] == wanted["label"].tolist()
    assert outputs["probabilities"]["shape"] == [400, 2]
    got = np.array(outputs["probabilities"]["data"], dtype=np.float32)
    assert got.tobytes() == wanted["probabilities"].tobytes()


@pytest.mark.parametrize(("name", "outputs"), [("names", ["label", "probabilities"]), ("values", ["prediction"])])
def test_string_labels_and_regressions_are_answered(bundles: dict[str, Path], name: str, outputs: list[str]) -> None:
    model = models.load(bundles[name], None)
    answers = model.run(rig.TABLE[:5])
    assert list(model.signature.output_names) == outputs
    for output, values in expected(bundles[name], rig.TABLE[:5]).items():
        assert answers[output].tolist() == values.tolist()
    counters = Counters(model, "r", "p", 1.0)
    counters.count_rows(rig.TABLE[:5], answers)
    families = {each.name: each for each in text_string_to_metric_families(counters.exposition().decode())}
    assert sum(sample.value for sample in families["modelcycle_prediction"].samples) == 5


def test_metadata_names_columns_and_classes(client: rig.Client) -> None:
    metadata = client.get("/v2/models/model").json
    assert metadata["inputs"][0]["parameters"]["features"] == list(rig.FEATURES)
    assert metadata["outputs"][1]["parameters"]["classes"] == ["0", "1"]
    version = metadata["versions"][0]
    assert client.get(f"/v2/models/model/versions/{version}/ready").json == {"name": "model", "ready": True}


def test_missing_value_that_the_model_cannot_take_is_the_clients_error(client: rig.Client) -> None:
    answer = client.infer(rig.matrix([[1.0, None, 3.0]]))
    assert (answer.status, "height" in answer.json["error"]) == (400, True)


@pytest.mark.parametrize("padding", range(4))
def test_binary_tensors_are_answered_in_kind(client: rig.Client, bundles: dict[str, Path], padding: int) -> None:
    rows = rig.TABLE[:5]
    about = {"name": "input", "shape": [5, 3], "datatype": "FP32", "parameters": {"binary_data_size": rows.nbytes}}
    text = json.dumps({"inputs": [about], "parameters": {"binary_data_output": True}}).encode() + b" " * padding
    client.send(rig.infer_request(text + rows.tobytes(), f"Inference-Header-Content-Length: {len(text)}"))
    answer = client.answer()
    assert (answer.status, answer.headers["content-type"]) == (200, "application/octet-stream")
    length = int(answer.headers["inference-header-content-length"])
    sizes = [each["parameters"]["binary_data_size"] for each in json.loads(answer.body[:length])["outputs"]]
    wanted = expected(bundles["classes"], rows)
    assert answer.body[length:] == wanted["label"].tobytes() + wanted["probabilities"].tobytes()
    assert sizes == [wanted["label"].nbytes, wanted["probabilities"].nbytes]


@pytest.mark.parametrize("length", ["x", "-1", "", "1" * 5000, "3"])
def test_length_that_the_body_does_not_have_is_refused_by_name(client: rig.Client, length: str) -> None:
    client.send(rig.infer_request(b"{}", f"Inference-Header-Content-Length: {length}"))
    answer = client.answer()
    assert (answer.status, answer.json["error"].split(":")[0]) == (400, "Inference-Header-Content-Length")


def test_unknown_models_and_versions_are_not_found(client: rig.Client) -> None:
    for path in ("/v2/models/other", "/v2/models/other/ready", "/v2/models/model/versions/0", "/v2/models"):
        answer = client.get(path)
        assert (answer.status, "/openapi.json" in answer.json["error"]) == (404, True)


def signalling_nan() -> bytes:
    head = {"name": "input", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
    text = json.dumps({"inputs": [head]}).encode()
    return rig.infer_request(text + b"\x01\x00\xa0\x7f" * 3, f"Inference-Header-Content-Length: {len(text)}")


def test_number_out_of_range_is_refused_without_a_warning(bundles: dict[str, Path]) -> None:
    environment = {"PYTHONWARNINGS": "error::RuntimeWarning"}
    with rig.serving(bundles["classes"], environment=environment) as strict, strict.client() as client:
        client.send(signalling_nan())
        assert client.answer().json["error"].startswith("inputs: the model gives no answer where")
        for number in (b"1e39", b"1e200", b"-1e308"):
            body = json.dumps(rig.matrix([[1, 73519, 3]])).encode().replace(b"73519", number)
            answer = client.infer(body)
            assert (answer.status, answer.json["error"].split(":")[0]) == (400, "inputs[0].data[1]")


def test_what_the_model_takes_can_be_compared_between_pods(server: rig.Server, bundles: dict[str, Path]) -> None:
    [labels] = server.samples()["modelcycle_model_info"]
    names = json.dumps(list(rig.FEATURES), separators=(",", ":"))
    assert dict(labels)["inputs"] == hashlib.sha256(names.encode()).hexdigest()[:12]
    assert dict(labels)["missing"] == "refused"
    model = models.load(bundles["classes"], None)
    gaps = replace(model, signature=replace(model.signature, accepts_missing=True))
    assert 'missing="accepted"' in Counters(gaps, "r", "p", 1.0).exposition().decode()


def test_profile_is_given_byte_for_byte(server: rig.Server, bundles: dict[str, Path]) -> None:
    with rig.Client(server.metrics_port) as client:
        answer = client.get(metric_names.PROFILE_PATH)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.body == (bundles["classes"] / layout.MODEL_DIR / layout.PROFILE_FILE).read_bytes()
    with server.client() as client:
        assert client.get(metric_names.PROFILE_PATH).status == 404


def test_labels_survive_odd_feature_names(server: rig.Server) -> None:
    assert set(rig.feature_sums(server.samples())) == set(rig.FEATURES)


def test_counts_are_exact_under_concurrent_clients(server: rig.Server) -> None:
    before = server.samples()

    def load(seed: int) -> tuple[int, int, int]:
        random = np.random.default_rng(seed)
        rows = refused = 0
        with server.client() as client:
            for _ in range(60):
                size = int(random.integers(1, 9))
                batch = random.normal(size=(size, 3)).round(3).tolist()
                if random.random() < 0.2:
                    batch[0][0] = "x"
                status = client.infer(rig.matrix(batch)).status
                rows += size if status == 200 else 0
                refused += status == 400
        return rows, refused, 60 - refused

    with ThreadPoolExecutor(8) as pool:
        totals = np.array(list(pool.map(load, range(8)))).sum(axis=0)
    after = server.samples()

    def grown(name: str, **labels: str) -> float:
        key = tuple(sorted(labels.items()))
        return after[name][key] - before[name][key]

    assert grown("modelcycle_rows_total") == totals[0]
    assert [rig.answered(after, code) - rig.answered(before, code) for code in ("400", "200")] == [totals[1], totals[2]]
    assert grown("modelcycle_request_duration_seconds_count") == totals[2]
    sums_before, sums_after = rig.feature_sums(before), rig.feature_sums(after)
    assert {name: sums_after[name] - sums_before[name] for name in sums_after} == dict.fromkeys(rig.FEATURES, totals[0])
    predicted = [sum(each["modelcycle_prediction_total"].values()) for each in (before, after)]
    assert predicted[1] - predicted[0] == totals[0]


def test_marker_that_names_no_rollout_changes_no_count(server: rig.Server) -> None:
    before = server.samples()["modelcycle_requests_total"]
    with server.client() as client:
        for marker in ("x", "", "aabbcc-0000000", "\xe9" * 15, "aabbcc-00000001"):
            client.send(rig.infer_request(rig.matrix([[1.0, 2.0, 3.0]]), f"x-modelcycle-forwarded: {marker}"))
            assert client.answer().status == 200
    after = server.samples()["modelcycle_requests_total"]
    counted = {
        dict(labels)["arm"]: after[labels] - before[labels] for labels in after if after[labels] != before[labels]
    }
    assert counted == {"stable": 4, "canary": 1}


def test_http_refusals_of_inference_requests_are_counted(server: rig.Server) -> None:
    before = server.samples()["modelcycle_requests_total"]
    with server.client() as client:
        assert client.infer(b" " * 70000).status == 413
    after = server.samples()["modelcycle_requests_total"]
    assert {labels: after[labels] - before[labels] for labels in after if after[labels] != before[labels]} == {
        (("arm", "stable"), ("code", "413"), ("revision", "r1")): 1
    }
