"""Copies of requests: compared, counted, bounded, and felt by nobody. A real process in front of a peer."""

import json
import threading
import time

import numpy as np
import pytest

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.traffic import MARKER, SHARE_DENOMINATOR, Traffic
from modelcycle_serving import shadow as shadows
from unit.serving import peers, rig
from unit.serving.peers import Peer, Stable, answer, say

ALL = SHARE_DENOMINATOR
ROW = rig.matrix([[1.0, 2.0, 3.0]])
DROPPED = names.SHADOW_DROPPED


def copy(stable: Stable, canary: Peer, shadow: int, share: int = 0, timeout: float = 20.0) -> None:
    stable.tell(Traffic(stable.rollout(), 0, share, canary.target, timeout, shadow=shadow))


def ask(stable: Stable, requests: int = 1, body: object = ROW, *headers: str) -> list[rig.Answer]:
    with stable.server.client() as client:
        answers = []
        for _ in range(requests):
            client.send(rig.infer_request(body, *headers))
            answers.append(client.answer())
    return answers


def copies(stable: Stable, number: int) -> dict[str, int]:
    """What became of `number` copies, once all are accounted for."""

    def counted() -> dict[str, int]:
        return {outcome: int(n) for outcome, n in stable.series(names.SHADOW_REQUESTS, "outcome").items()}

    peers.until(lambda: sum(counted().values()) >= number)
    return counted()


def own_answer(stable: Stable) -> bytes:
    stable.tell(Traffic())
    return ask(stable)[0].body


def another(body: bytes, **outputs: list[object]) -> bytes:
    """The same answer with other data in some outputs."""
    plain = json.loads(body)
    for output in plain["outputs"]:
        output["data"] = outputs.get(output["name"], output["data"])
    return json.dumps(plain).encode()


def test_share_is_copied_exactly_and_the_client_gets_this_pods_answer_delivery_12(stable: Stable) -> None:
    own = own_answer(stable)
    with Peer(say(answer(own))) as canary:
        copy(stable, canary, 2500)
        assert {each.body for each in ask(stable, 200)} == {own}
        found = copies(stable, 49)
        assert set(found) == {"agree"}
        assert abs(found["agree"] - 50) <= 1
        assert len(canary.asked) == found["agree"]
        assert f"{MARKER}: {stable.applied.rollout}\r\n".encode() in canary.asked[0].head
    assert stable.arms() == {}, "a copy is no evidence"


def test_all_series_are_there_at_zero_before_the_first_copy(stable: Stable) -> None:
    with Peer(say(answer())) as canary:
        copy(stable, canary, 1)
        samples = stable.server.samples()
    rollout = stable.applied.rollout
    found = {
        dict(labels)["outcome"]: n for labels, n in samples[names.SHADOW_REQUESTS].items() if rollout in str(labels)
    }
    assert found == dict.fromkeys(names.SHADOW_OUTCOMES, 0)
    assert samples[f"{names.SHADOW_DIFFERENCE}_count"][(("rollout", rollout),)] == 0


def test_labels_that_differ_are_counted_with_the_largest_difference_delivery_12(stable: Stable) -> None:
    own = own_answer(stable)
    label, (low, high) = (each["data"] for each in json.loads(own)["outputs"])
    far = another(own, label=[1 - label[0]], probabilities=[high, low])
    near = another(own, probabilities=[low + 0.03, high - 0.03])
    for body, outcome, difference in ((far, "differ", abs(high - low)), (near, "agree", 0.03)):
        with Peer(say(answer(body))) as canary:
            copy(stable, canary, ALL)
            ask(stable, 3)
            assert copies(stable, 3) == {outcome: 3}
        [total] = stable.series(f"{names.SHADOW_DIFFERENCE}_sum").values()
        assert total == pytest.approx(3 * difference, rel=1e-4)


@pytest.mark.parametrize(
    ("behave", "outcome"),
    [
        (say(answer(b"{}", "500 Internal Server Error")), "failed"),
        (say(answer(b"{}", "400 Bad Request")), "refused"),
        (say(answer(b"[]")), "failed"),
        (say(answer(b'{"outputs":[{"name":1}]}')), "failed"),
        (say(answer(b"\xff", "200 OK", "Inference-Header-Content-Length: x")), "failed"),
        (peers.reset, "failed"),
        (peers.hang, "late"),
    ],
    ids=["500", "400", "no answer", "no outputs", "no length", "reset", "hang"],
)
def test_copy_that_comes_to_nothing_is_counted_and_felt_by_nobody_delivery_12(
    stable: Stable, behave: peers.Behaviour, outcome: str
) -> None:
    # A busy machine must not make any of the others late.
    timeout = 1.0 if outcome == names.OUTCOME_LATE else 30.0
    with Peer(behave) as canary:
        copy(stable, canary, ALL, timeout=timeout)
        assert {each.json["model_version"] for each in ask(stable, 3)} == {stable.version}
        assert copies(stable, 3) == {outcome: 3}


def test_nobody_at_the_target(stable: Stable) -> None:
    gone = Peer(say(answer()))
    gone.close()
    copy(stable, gone, ALL)
    ask(stable, 3)
    assert copies(stable, 3) == {"unreached": 3}


def test_copies_are_bounded_those_above_are_dropped_and_requests_go_on_meanwhile(stable: Stable) -> None:
    """Answers of the pod do not wait for copies: 300 come while none of those was answered."""
    released = threading.Event()
    own = own_answer(stable)

    def wait(connection: object, asked: peers.Asked) -> None:
        released.wait(60)
        say(answer(own))(connection, asked)  # type: ignore[arg-type]

    with Peer(wait) as canary:
        copy(stable, canary, ALL, timeout=60.0)
        assert {each.body for each in ask(stable, 300)} == {own}
        dropped = copies(stable, 300 - shadows.LIMITS.connections)
        assert dropped == {DROPPED: 300 - shadows.LIMITS.connections}
        released.set()
        assert copies(stable, 300) == {DROPPED: 300 - shadows.LIMITS.connections, "agree": shadows.LIMITS.connections}


def test_memory_held_for_copies_is_bounded(stable: Stable) -> None:
    padded = json.dumps({**ROW, "padding": "x" * (shadows.MAX_HELD // 4)}).encode()
    with Peer(peers.hang) as canary:
        copy(stable, canary, ALL, timeout=2.0)
        assert {each.status for each in ask(stable, 8, padded)} == {200}
        found = copies(stable, 8)
    assert found == {DROPPED: 5, "late": 3}


def test_answer_too_large_to_be_compared_is_not_copied(stable: Stable) -> None:
    many = rig.matrix([[1.0, 2.0, 3.0]] * (shadows.MAX_ANSWER // 8))
    with Peer(say(answer())) as canary:
        copy(stable, canary, ALL)
        [got] = ask(stable, 1, many)
        assert len(got.body) > shadows.MAX_ANSWER
        assert copies(stable, 1) == {DROPPED: 1}
        assert canary.asked == []


def test_only_what_this_pod_answered_well_by_the_models_name_is_copied(stable: Stable) -> None:
    with Peer(say(answer())) as canary:
        copy(stable, canary, ALL)
        ask(stable, 3, {"inputs": []})
        ask(stable, 3, ROW, f"{MARKER}: {stable.applied.rollout}")
        with stable.server.client() as client:
            raw = rig.infer_request(ROW).replace(b"/model/infer", f"/model/versions/{stable.version}/infer".encode())
            client.send(raw)
            assert client.answer().status == 200
        ask(stable)
        copies(stable, 1)
        assert len(canary.asked) == 1


def test_with_a_share_too_the_rest_is_copied(stable: Stable) -> None:
    with Peer(say(answer())) as canary:
        copy(stable, canary, ALL, share=5000)
        ask(stable, 40)
        arms = stable.arms()
        assert sum(copies(stable, arms["stable ok"]).values()) == arms["stable ok"]
        assert len(canary.asked) == 40


def test_copies_end_with_their_annotation(stable: Stable) -> None:
    with Peer(say(answer())) as canary:
        copy(stable, canary, ALL)
        ask(stable)
        copies(stable, 1)
        stable.tell(Traffic(stable.applied.rollout, 0, 0, canary.target))
        peers.until(lambda: canary.ended(0))
        ask(stable, 5)
        time.sleep(0.05)
        assert len(canary.asked) == 1


def test_binary_answers_are_compared_too(stable: Stable) -> None:
    """Of a client that asks for tensors as bytes."""
    wanted = {**ROW, "outputs": [{"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": True}}]}
    stable.tell(Traffic())
    [own] = ask(stable, 1, wanted)
    length = int(own.headers["inference-header-content-length"])
    low, high = np.frombuffer(own.body[length:], "<f4")
    moved = own.body[:length] + np.array([low + 0.02, high - 0.02], "<f4").tobytes()
    with Peer(say(answer(moved, "200 OK", f"Inference-Header-Content-Length: {length}"))) as canary:
        copy(stable, canary, ALL)
        assert ask(stable, 1, wanted)[0].body == own.body
        assert copies(stable, 1) == {"agree": 1}
    [total] = stable.series(f"{names.SHADOW_DIFFERENCE}_sum").values()
    assert total == pytest.approx(0.02, rel=1e-3)
