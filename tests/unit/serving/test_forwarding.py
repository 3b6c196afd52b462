"""A serving process hands requests on to peers that answer, fail, hang, lie or are gone.

Users are always answered, and every request is counted once.
"""

import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelcycle_bundle import metric_names
from modelcycle_bundle.metric_names import KEPT_ROLLOUTS
from modelcycle_bundle.traffic import MARKER, SHARE_DENOMINATOR
from modelcycle_serving.upstream import PoolLimits
from unit.serving import peers, rig
from unit.serving.peers import ANSWER, DEPLOYMENT, Peer, Stable, answer, say, say_and_close

ALL = SHARE_DENOMINATOR
ROW = rig.matrix([[1.0, 2.0, 3.0]])


def versions(stable: Stable, requests: int) -> list[str]:
    """Who answered each of these requests; every one is a 200."""
    with stable.server.client() as client:
        answers = [client.infer(ROW) for _ in range(requests)]
    assert {each.status for each in answers} == {200}
    return [each.json["model_version"] for each in answers]


def test_share_is_handed_on_exactly_and_both_arms_are_counted_delivery_4(stable: Stable) -> None:
    with Peer(say(answer())) as canary:
        stable.hand_on(canary.target, 2500)
        answered = Counter(versions(stable, 400))
        assert abs(answered["canary"] - 100) <= 1
        assert stable.arms() == {"canary ok": answered["canary"], "stable ok": answered[stable.version]}
        assert len(canary.asked) == answered["canary"]
        assert canary.connections <= PoolLimits().spread, "connections are kept"


def test_rollout_begins_with_every_series_at_zero_and_only_the_last_few_stay(stable: Stable) -> None:
    with Peer(say(answer())) as canary:
        stable.hand_on(canary.target, 5000)
        versions(stable, 2)
        for _ in range(KEPT_ROLLOUTS):
            stable.hand_on(canary.target, 0)
    series = stable.server.samples()[metric_names.ARM_REQUESTS]
    wanted = {(arm, outcome) for arm, outcomes in metric_names.ARM_OUTCOMES.items() for outcome in outcomes}
    assert {(dict(labels)["arm"], dict(labels)["outcome"]) for labels in series} == wanted
    assert len({dict(labels)["rollout"] for labels in series}) == KEPT_ROLLOUTS
    assert set(series.values()) == {0}


def test_rollout_that_somebody_else_interrupted_goes_on_where_it_was(stable: Stable) -> None:
    rollout = stable.rollout()
    with Peer(say(answer())) as canary:
        stable.hand_on(canary.target, ALL, rollout)
        versions(stable, 5)
        stable.hand_on(canary.target, 0)
        stable.hand_on(canary.target, ALL, rollout)
        versions(stable, 3)
    assert stable.arms() == {"canary ok": 8}


def test_bad_answers_that_this_pod_made_good_are_counted_apart(stable: Stable) -> None:
    with Peer(say(answer(status="500 Internal Server Error"))) as canary:
        stable.hand_on(canary.target, ALL)
        assert set(versions(stable, 4)) == {stable.version}
    rescued = stable.server.samples()[metric_names.ARM_RESCUED]
    assert {dict(labels)["rollout"]: value for labels, value in rescued.items()}[stable.applied.rollout] == 4


def test_applied_annotation_is_exported_and_nothing_is_counted_at_share_0(stable: Stable) -> None:
    rollout = stable.rollout()
    with Peer(say(answer())) as canary:
        stable.hand_on(canary.target, 5000, rollout)
        assert len(versions(stable, 10)) == sum(stable.arms().values())
        assert list(stable.server.samples()[metric_names.TRAFFIC_SHARE].items()) == [((("rollout", rollout),), 0.5)]
        stable.hand_on("", 0, rollout)
        assert set(versions(stable, 10)) == {stable.version}
        assert sum(stable.arms().values()) == 10
        assert list(stable.server.samples()[metric_names.TRAFFIC_SHARE].items()) == [((("rollout", rollout),), 0)]


def test_series_outlive_an_annotation_that_is_taken_away(stable: Stable) -> None:
    rollout = stable.rollout()
    with Peer(say(answer())) as canary:
        stable.hand_on(canary.target, ALL, rollout)
        versions(stable, 5)
        stable.write("")
        stable.until_seq(0)
        assert stable.arms() == {"canary ok": 5}
        stable.hand_on(canary.target, ALL, rollout)
        assert stable.arms() == {"canary ok": 5}


def test_request_is_made_anew_with_the_body_as_it_came(stable: Stable) -> None:
    body = b' {"inputs": [ {"name":"input","shape":[1,3],"datatype":"FP32","data":[1,2,3e0]} ]}\n'
    sent = ("Content-Type: application/json; charset=utf-8", "Authorization: secret", f"{MARKER}: abc")
    with Peer(say(answer())) as canary, stable.server.client() as client:
        stable.hand_on(canary.target, ALL)
        client.send(rig.infer_request(body, *sent))
        assert client.answer().body == ANSWER
        [asked] = canary.asked
    assert asked.body == body
    lines = asked.head.decode().split("\r\n")
    assert lines[0] == "POST /v2/models/model/infer HTTP/1.1"
    assert sorted(lines[1:-2]) == sorted(
        [
            f"Host: {canary.target}",
            f"{MARKER}: {stable.applied.rollout}",
            f"Content-Length: {len(body)}",
            "content-type: application/json; charset=utf-8",
        ]
    )


def test_only_inference_by_the_models_name_is_handed_on(stable: Stable) -> None:
    with Peer(say(answer())) as canary, stable.server.client() as client:
        stable.hand_on(canary.target, ALL)
        assert client.get("/v2/health/ready").status == 200
        assert client.get("/v2/models/model").json["versions"] == [stable.version]
        raw = rig.infer_request(ROW)
        client.send(raw.replace(b"/model/infer", f"/model/versions/{stable.version}/infer".encode()))
        assert client.answer().json["model_version"] == stable.version
        assert canary.asked == []
        assert stable.arms() == {}


def test_marked_request_is_answered_here_whatever_the_rollout_and_not_counted(stable: Stable) -> None:
    with Peer(say(answer())) as canary, stable.server.client() as client:
        stable.hand_on(canary.target, ALL)
        for marker in (stable.applied.rollout, f"{DEPLOYMENT}-ffffffff"):
            client.send(rig.infer_request(ROW, f"{MARKER}: {marker}"))
            assert client.answer().json["model_version"] == stable.version
        for marker in ("ddeeff-00000001", "", "x" * 500):
            client.send(rig.infer_request(ROW, f"{MARKER.title()}: {marker}"))
            assert client.answer().body == ANSWER
        assert len(canary.asked) == 3
        assert stable.arms() == {"canary ok": 3}


FAILING = {
    "status 500": say(answer(b'{"error":"x"}', "500 Internal Server Error")),
    "status 503": say(answer(b'{"error":"x"}', "503 Service Unavailable")),
    "redirect": say(answer(b"", "302 Found", "Location: /")),
    "no content": say(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "upgrade": say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nxx"),
    "reset": peers.reset,
    "closed without a word": say_and_close(b""),
    "closed within the answer": say_and_close(answer()[:-3]),
    "half-closed within the answer": peers.half_close,
    "no length": say_and_close(b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER),
    "not HTTP": say(b"\x16\x03\x01\x02\x00\x01\x00"),
    "not a status": say(b"HTTP/1.1 banana OK\r\n\r\n"),
    "two lengths": say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    "bad chunk": say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "endless head": say(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000),
    "endless interim answers": say(b"HTTP/1.1 100 Continue\r\n\r\n" * 3000),
}


@pytest.mark.parametrize("name", FAILING)
def test_failing_canary_is_counted_and_stable_answers(stable: Stable, name: str) -> None:
    before = stable.open_files()
    with Peer(FAILING[name]) as canary:
        stable.hand_on(canary.target, ALL, timeout=20)
        requests = rig.answered(stable.server.samples(), "200")
        assert set(versions(stable, 8)) == {stable.version}
        assert stable.arms() == {"canary failed": 8}
        after = rig.answered(stable.server.samples(), "200")
        assert after - requests == 8, "the process that answers in the end is the one that counts"
    stable.hand_on("", 0)
    assert stable.open_files() <= before + 1 + PoolLimits().spread


def test_nobody_at_the_target_says_nothing_of_the_model_and_stable_answers(stable: Stable) -> None:
    gone = Peer(say(answer()))
    gone.close()
    stable.hand_on(gone.target, ALL, timeout=20)
    assert set(versions(stable, 8)) == {stable.version}
    assert stable.arms() == {"canary unreached": 8}


ENDLESS = {
    "a length": (b"Content-Length: 99999999999\r\n\r\n", b"a" * 1_000_000),
    "tiny chunks": (b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\naa\r\n" * 100_000),
    "a trailer": (b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"a" * 1_000_000),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_answer_without_an_end_is_cut_at_its_bound(stable: Stable, kind: str) -> None:
    head, piece = ENDLESS[kind]

    def endless(connection: socket.socket, asked: peers.Asked) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head)
        while True:
            connection.sendall(piece)

    before = stable.memory()
    with Peer(endless) as canary:
        stable.hand_on(canary.target, ALL, timeout=60)
        assert set(versions(stable, 2)) == {stable.version}
        assert stable.arms() == {"canary failed": 2}
    assert stable.memory() - before < 3 * PoolLimits().answer


@pytest.mark.parametrize("behave", [peers.hang, peers.drip], ids=["hanging", "dripping"])
def test_late_canary_is_counted_and_its_connection_is_never_used_again(stable: Stable, behave: peers.Behaviour) -> None:
    with Peer(behave) as canary:
        stable.hand_on(canary.target, ALL, timeout=0.1)
        assert set(versions(stable, 5)) == {stable.version}
        assert stable.arms() == {"canary late": 5}
        assert {asked.at for asked in canary.asked} <= {0}
        canary.behave = say(answer())
        stable.hand_on(canary.target, ALL)
        assert set(versions(stable, 5)) == {"canary"}


@pytest.mark.parametrize("timeout", [0.2, 20.0])
def test_nobody_who_accepts_a_connection_is_no_answer_of_the_model_delivery_48(stable: Stable, timeout: float) -> None:
    """So does a Service without pods look once the kernel has said no a few times: silent."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        address = deaf.getsockname()
        filling = [socket.socket() for _ in range(4)]
        for each in filling:
            each.setblocking(False)
            each.connect_ex(address)
        before = stable.open_files()
        stable.hand_on(f"127.0.0.1:{address[1]}", ALL, timeout=timeout)
        assert set(versions(stable, 3)) == {stable.version}
        assert stable.arms() == {"canary unreached": 3}
        assert stable.open_files() <= before + 1 + PoolLimits().spread
        for each in filling:
            each.close()


def test_4xx_that_stable_accepts_is_a_refusal(stable: Stable) -> None:
    with Peer(say(answer(b'{"error":"canary"}', "400 Bad Request"))) as canary:
        stable.hand_on(canary.target, ALL)
        assert set(versions(stable, 5)) == {stable.version}
        assert stable.arms() == {"canary refused": 5}
        assert any(asked.at for asked in canary.asked), "a 4xx spoils no connection"


def test_4xx_by_both_is_the_clients_mistake_and_stable_words_it(stable: Stable) -> None:
    with Peer(say(answer(b'{"error":"canary"}', "400 Bad Request"))) as canary, stable.server.client() as client:
        stable.hand_on(canary.target, 5000)
        answers = [client.infer({"inputs": []}) for _ in range(10)]
        assert {each.status for each in answers} == {400}
        assert all("inputs" in each.json["error"] for each in answers)
        arms = stable.arms()
        assert set(arms) == {"canary client", "stable client"}
        assert sum(arms.values()) == 10


def test_stale_connection_is_no_failure_of_the_canary(stable: Stable) -> None:
    """The peer closes a kept connection just when, or before, the next request arrives on it."""

    def once(connection: socket.socket, asked: peers.Asked) -> None:
        if asked.at:
            connection.close()
        else:
            connection.sendall(answer())

    for behave in (once, say_and_close(answer())):
        with Peer(behave) as canary:
            stable.hand_on(canary.target, ALL, timeout=20)
            assert set(versions(stable, 30)) == {"canary"}
            assert stable.arms() == {"canary ok": 30}


def test_connections_to_a_former_target_are_ended(stable: Stable) -> None:
    with Peer(say(answer())) as one, Peer(say(answer())) as other:
        stable.hand_on(one.target, ALL)
        versions(stable, 3)
        stable.hand_on(other.target, ALL)
        peers.until(lambda: one.ended(0), seconds=PoolLimits().idle / 2)
        versions(stable, 3)
        stable.hand_on("", 0)
        peers.until(lambda: other.ended(0), seconds=PoolLimits().idle / 2)


@pytest.mark.parametrize(
    "raw",
    [
        answer(ANSWER, "200 OK", "Connection: close"),
        answer() + answer(b'{"model_version":"smuggled"}'),
        answer() + answer()[:-5],
        answer() + b"\x00garbage",
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(ANSWER), ANSWER),
    ],
    ids=["close", "one answer too many", "half an answer too many", "garbage behind", "interim", "chunked"],
)
def test_unusual_answers_are_answers_and_never_another_requests(stable: Stable, raw: bytes) -> None:
    with Peer(say(raw)) as canary:
        stable.hand_on(canary.target, ALL, timeout=20)
        assert versions(stable, 6) == ["canary"] * 6
        assert stable.arms() == {"canary ok": 6}


def test_content_type_of_the_canary_travels_to_the_client(stable: Stable) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/csv\r\nX-Other: 1\r\n\r\nab"
    with Peer(say(raw)) as canary, stable.server.client() as client:
        stable.hand_on(canary.target, ALL)
        got = client.infer(ROW)
        assert (got.body, got.headers["content-type"], got.headers.get("x-other")) == (b"ab", "text/csv", None)


def test_pipelined_requests_keep_their_order_across_arms(stable: Stable) -> None:
    def echo(connection: socket.socket, asked: peers.Asked) -> None:
        connection.sendall(
            answer(b'{"model_version":"canary","id":"%b"}' % asked.body.split(b'"id": "')[1].split(b'"')[0])
        )

    with Peer(echo) as canary, stable.server.client() as client:
        stable.hand_on(canary.target, 5000)
        client.send(b"".join(rig.infer_request({**ROW, "id": str(at)}) for at in range(200)))
        answers = [client.answer().json for _ in range(200)]
        assert [each["id"] for each in answers] == [str(at) for at in range(200)]
        assert {each["model_version"] for each in answers} == {"canary", stable.version}


def test_clients_that_leave_are_counted_all_the_same(stable: Stable) -> None:
    released = threading.Event()

    def wait(connection: socket.socket, asked: peers.Asked) -> None:
        released.wait(20)
        connection.sendall(answer())

    with Peer(wait) as canary:
        stable.hand_on(canary.target, ALL, timeout=20)
        with stable.server.client() as client:
            client.send(rig.infer_request(ROW))
            peers.until(lambda: len(canary.asked) == 1)
        released.set()
        peers.until(lambda: stable.arms() == {"canary ok": 1})


def test_hanging_canary_under_a_flood_delays_nobody_beyond_the_timeout_and_holds_bounded_memory(stable: Stable) -> None:
    clients = 400
    before_files, before = stable.open_files(), stable.memory()
    with Peer(peers.hang) as canary:
        stable.hand_on(canary.target, ALL, timeout=1.0)

        def one(_: int) -> int:
            with stable.server.client() as client:
                return client.infer(rig.matrix([[1.0, 2.0, 3.0]] * 500)).status

        with ThreadPoolExecutor(clients) as pool:
            assert list(pool.map(one, range(clients))) == [200] * clients
        arms = stable.arms()
        assert sum(arms.values()) == clients
        # A flood can fill the queue of connections that wait to be accepted: then nobody is reached.
        assert set(arms) <= {"canary late", "canary unreached", "canary crowded"}
        assert arms["canary late"] + arms.get("canary unreached", 0) >= PoolLimits().connections
        assert arms["canary late"] >= len(canary.asked)
        assert stable.memory() - before < 100 * 1024**2
    peers.until(lambda: stable.open_files() <= before_files + 1 + PoolLimits().spread)


def test_close_mode_ends_connections_and_stays_ready(stable: Stable) -> None:
    with Peer(say(answer())) as canary:
        for share in (0, 5000):
            stable.hand_on(canary.target, share, close=True)
            for _ in range(4):
                with stable.server.client() as client:
                    got = client.infer(ROW)
                    assert (got.status, got.headers["connection"]) == (200, "close")
                    assert client.is_closed()
            with stable.server.client() as client:
                ready = client.get("/v2/health/ready")
                assert (ready.status, ready.headers["connection"]) == (200, "close")
            assert list(stable.server.samples()[metric_names.DRAINING].values()) == [1]
        stable.hand_on("", 0)
        with stable.server.client() as client:
            assert [client.infer(ROW).headers.get("connection") for _ in range(3)] == [None] * 3
        assert list(stable.server.samples()[metric_names.DRAINING].values()) == [0]
