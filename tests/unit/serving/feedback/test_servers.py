"""Serving processes with one key: any pod counts the labels of any other's answers, through a canary and a rotation too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from modelcycle_bundle import cardinality, metric_names
from modelcycle_bundle.metric_table import TABLE
from modelcycle_bundle.traffic import SHARE_DENOMINATOR
from modelcycle_serving import model as models
from modelcycle_serving.feedback.tokens import Forged, Key, opened
from unit.serving import peers, rig
from unit.serving.feedback.desk import KEY, OTHER_KEY

ROW = rig.matrix([[1.0, 2.0, 3.0]])


def start(bundle: Path, folder: Path, revision: str, *flags: str) -> peers.Stable:
    """A ready pod of a revision that looks for its key in `folder`/key."""
    traffic = folder / f"{revision}-traffic.json"
    traffic.write_text("")
    flags = ("--traffic-file", str(traffic), "--feedback-key-file", str(folder / "key"), *flags)
    server = rig.start(bundle, *flags, environment={"MODELCYCLE_REVISION": revision})
    return peers.Stable(server, traffic, server.wait_for("ready")["digest"])


class Pods:
    """Two revisions of one ModelDeployment."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        self.key_file = folder / "key"
        self.key_file.write_text(KEY)
        self.stable, self.canary = (start(bundle, folder, name, "--latency-slo", "0.075") for name in ("r1", "r2"))


@pytest.fixture(scope="module")
def pods(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    started = Pods(bundles["classes"], tmp_path_factory.mktemp("feedback"))
    with started.stable, started.canary:
        yield started


def post(pod: peers.Stable, token: str, labels: list[Any]) -> rig.Answer:
    raw = orjson.dumps({"feedback": [{"token": token, "labels": labels}]})
    with pod.server.client() as client:
        client.send(b"POST /v2/feedback HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw)
        return client.answer()


def infer(pod: peers.Stable, body: Any = ROW) -> Any:
    with pod.server.client() as client:
        return client.infer(body).json


def signed_by(token: str, key: Key) -> bool:
    try:
        opened(token, (key,))
    except Forged:
        return False
    return True


def labelled(pod: peers.Stable) -> dict[tuple[str, str, str], float]:
    """Counts above 0 by revision, rollout and outcome."""
    found: dict[tuple[str, str, str], float] = {}
    for labels, value in pod.server.samples()[metric_names.LABELS].items():
        named = dict(labels)
        key = (named["revision"], named["rollout"], named["outcome"])
        found[key] = found.get(key, 0) + value
    return {key: value for key, value in found.items() if value}


def added(after: dict[Any, float], before: dict[Any, float]) -> dict[Any, float]:
    return {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)}


def test_any_pod_counts_the_label_of_another_s_answer_once(pods: Pods) -> None:
    answer = infer(pods.stable)
    token, label = answer["parameters"]["feedback_token"], answer["outputs"][0]["data"][0]
    before = labelled(pods.canary)
    assert post(pods.canary, token, [label]).json == {"counted": 1, "refused": []}
    assert post(pods.canary, token, [label]).status == 409
    assert added(labelled(pods.canary), before) == {("r1", "", "correct"): 1}
    assert post(pods.stable, token, [label]).status == 200, "another pod cannot know: at most once a pod"


def test_each_request_has_its_own_token_for_all_its_rows(pods: Pods) -> None:
    answers = [infer(pods.stable, rig.matrix([[1.0, 2.0, 3.0]] * rows)) for rows in (1, 5, 5)]
    tokens = [answer["parameters"]["feedback_token"] for answer in answers]
    assert len(set(tokens)) == 3
    assert post(pods.stable, tokens[1], [1] * 5).json["counted"] == 5
    assert post(pods.stable, tokens[2], [1] * 4).status == 400


def test_answers_of_requests_sent_together_carry_their_own_tokens(pods: Pods) -> None:
    """One run of the model answers them all: rows must not get mixed up between tokens."""
    rows = rig.TABLE[:40].tolist()
    before = labelled(pods.stable)
    with pods.stable.server.client() as client:
        client.send(b"".join(rig.infer_request(rig.matrix(rows[at : at + 1 + at % 3])) for at in range(0, 36, 3)))
        answers = [client.answer().json for _ in range(0, 36, 3)]
    for answer in answers:
        labels = answer["outputs"][0]["data"]
        assert post(pods.stable, answer["parameters"]["feedback_token"], labels).status == 200
    assert added(labelled(pods.stable), before) == {("r1", "", "correct"): sum(1 + at % 3 for at in range(0, 36, 3))}


def test_a_binary_answer_carries_it_too(pods: Pods) -> None:
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in ("label", "probabilities")]
    with pods.stable.server.client() as client:
        answer = client.infer({**ROW, "outputs": wanted})
    head = orjson.loads(answer.body[: int(answer.headers["inference-header-content-length"])])
    assert post(pods.stable, head["parameters"]["feedback_token"], [1]).status == 200


def test_the_canary_s_answers_come_back_to_stable_as_the_canary_s(pods: Pods) -> None:
    """32 of research: answers of the rollout alone, by the revision that gave them."""
    early = infer(pods.stable)["parameters"]["feedback_token"]
    requests = pods.canary.server.samples()[metric_names.REQUESTS]
    before = labelled(pods.stable)
    rollout = pods.stable.rollout()
    pods.stable.hand_on(f"127.0.0.1:{pods.canary.server.http_port}", SHARE_DENOMINATOR // 2, rollout)
    tokens = [infer(pods.stable)["parameters"]["feedback_token"] for _ in range(20)]
    for token in (early, *tokens):
        assert post(pods.stable, token, [1]).status == 200
    grown = added(labelled(pods.stable), before)
    pods.stable.hand_on("", 0, rollout)
    assert {key[:2]: value for key, value in grown.items()} == {
        ("r1", ""): 1,
        ("r1", rollout): 10,
        ("r2", rollout): 10,
    }
    arms = added(pods.canary.server.samples()[metric_names.REQUESTS], requests)
    assert arms == {(("arm", "canary"), ("code", "200"), ("revision", "r2")): 10}


def test_a_key_is_rotated_while_serving(pods: Pods) -> None:
    token = infer(pods.stable)["parameters"]["feedback_token"]
    peers.swap(pods.key_file, f"{OTHER_KEY}\n")
    stranger = Key(OTHER_KEY.encode())

    def changed() -> bool:
        for pod, other in ((pods.stable, pods.canary), (pods.canary, pods.stable)):
            answer = infer(pod)["parameters"]["feedback_token"]
            if not signed_by(answer, stranger) or post(other, answer, [1]).status != 200:
                return False
        return True

    peers.until(changed)
    assert post(pods.stable, token, [1]).status == 200, "what the last key signed is still accepted"


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_all_series_are_there_before_readiness_and_as_many_as_foretold(
    bundles: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    (tmp_path / "key").write_text(KEY)
    with start(bundles[kind], tmp_path, "r1") as pod, rig.Client(pod.server.metrics_port) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: t\r\nAccept: application/openmetrics-text\r\n\r\n")
        text = client.answer().body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
    found = {}
    for name, metric in TABLE.items():
        family = families.get(name.removesuffix("_total"))
        if family is not None and family.samples:
            found[name] = len(family.samples)
            assert {label for sample in family.samples for label in sample.labels} - {"le"} == set(metric.labels)
    profile = models.load(bundles[kind], None).profile
    foretold = {**cardinality.served(profile), **cardinality.feedback(profile, 1)}
    assert found == {name: count for name, count in foretold.items() if count}


def test_off_is_said_in_words(server: rig.Server) -> None:
    with server.client() as client:
        client.send(b"POST /v2/feedback HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}")
        answer = client.answer()
        assert (answer.status, answer.json["error"].split(":")[0]) == (404, "feedback is off")
        assert "parameters" not in client.infer(ROW).json
    assert not set(server.samples()) & {metric_names.LABELS, metric_names.FEEDBACK}


def test_a_file_that_is_not_there_yet_turns_feedback_on_when_it_comes(bundles: dict[str, Path], tmp_path: Path) -> None:
    """A Secret may be made after the pod that mounts it. What is posted stays out of the log, and so does the key."""
    with start(bundles["classes"], tmp_path, "r1", "--drain-settle", "0", "--drain-idle", "0.1") as pod:
        assert "parameters" not in infer(pod)
        peers.swap(tmp_path / "key", KEY)
        peers.until(lambda: "parameters" in infer(pod))
        token = infer(pod)["parameters"]["feedback_token"]
        assert post(pod, token, ["a label of a client"]).status == 400
        assert post(pod, "a token of a client", [1]).status == 401
        assert post(pod, token, [1]).status == 200
        pod.server.terminate()
        assert pod.server.end() == 0
        log = str(pod.server.log)
        assert "feedback keys" in log
        assert not [said for said in (KEY, token, "of a client") if said in log]


def test_the_openapi_document_says_what_is_posted_and_answered(pods: Pods) -> None:
    with pods.stable.server.client() as client:
        document = client.get("/openapi.json").json
    operation = document["paths"]["/v2/feedback"]["post"]
    token = infer(pods.stable)["parameters"]["feedback_token"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    cases: list[tuple[str, list[Any], int]] = [
        (token, [1, 1], 400),
        (token, [1], 200),
        (token, [None], 400),
        (token, [1], 409),
        ("x", ["a"], 401),
    ]
    for sent, labels, status in cases:
        body = {"feedback": [{"token": sent, "labels": labels}]}
        answer = post(pods.stable, sent, labels)
        assert answer.status == status
        answered = operation["responses"][str(status)]["content"]["application/json"]["schema"]
        for instance, of in ((body, schema), (answer.json, answered)):
            jsonschema.Draft202012Validator({**of, "components": document["components"]}).validate(instance)


def test_the_latency_objective_is_a_bound_of_the_page(pods: Pods) -> None:
    buckets = pods.stable.server.samples()[f"{metric_names.DURATION}_bucket"]
    assert (("le", "0.075"),) in buckets
