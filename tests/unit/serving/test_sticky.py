"""Who meets the canary by key, whom a test asks, and who waits too briefly to be handed on: a real process in front of a peer."""

import pytest

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.traffic import MARKER, SHARE_DENOMINATOR, TEST_HEADER, Traffic
from modelcycle_serving.split import place
from unit.serving import peers, rig
from unit.serving.peers import ANSWER, Peer, Stable, answer, say

ALL = SHARE_DENOMINATOR
ROW = rig.matrix([[1.0, 2.0, 3.0]])
USERS = [f"user-{number}" for number in range(300)]


def traffic(stable: Stable, canary: Peer, share: int, rollout: str = "", timeout: float = 20.0) -> Traffic:
    return Traffic(rollout or stable.rollout(), 0, share, canary.target, timeout)


def ask(stable: Stable, *headers: str) -> rig.Answer:
    with stable.server.client() as client:
        client.send(rig.infer_request(ROW, *headers))
        return client.answer()


def met(stable: Stable, header: str = "X-User") -> set[str]:
    """The users whom the canary answers."""
    found = set()
    with stable.server.client() as client:
        for user in USERS:
            client.send(rig.infer_request(ROW, f"{header}: {user}"))
            if client.answer().body == ANSWER:
                found.add(user)
    return found


def test_users_stick_to_their_arm_as_the_share_grows_and_are_the_ones_of_the_hash(stable: Stable) -> None:
    with Peer(say(answer())) as canary:
        rollout, before = stable.rollout(), set[str]()
        for share in (500, 2000, 5000):
            told = traffic(stable, canary, share, rollout)
            stable.tell(Traffic(rollout, 0, share, told.target, told.timeout, sticky="x-user"))
            now = met(stable)
            assert now == {user for user in USERS if place(rollout.encode(), user.encode()) < share}
            assert before < now
            assert met(stable) == now, "the same again"
            before = now
        drawn = stable.series(names.ARM_DRAWN, "by", "arm")
        realised = list(stable.series(names.TRAFFIC_REALISED).values())
    assert set(drawn) == {"key canary", "key stable"}
    assert sum(drawn.values()) == 6 * len(USERS)
    assert realised == pytest.approx([len(now) / len(USERS)], rel=1e-5)


def test_another_rollout_draws_other_users(stable: Stable) -> None:
    found = []
    with Peer(say(answer())) as canary:
        for _ in range(2):
            stable.tell(Traffic(stable.rollout(), 0, 3000, canary.target, 20.0, sticky="x-user"))
            found.append(met(stable))
    assert found[0] - found[1]
    assert found[1] - found[0]


def test_requests_without_a_key_get_the_exact_share_beside_those_with_one(stable: Stable) -> None:
    with Peer(say(answer())) as canary:
        stable.tell(Traffic(stable.rollout(), 0, 2500, canary.target, 20.0, sticky="x-user"))
        with stable.server.client() as client:
            for at in range(200):
                client.send(rig.infer_request(ROW, "X-User:" if at % 2 else "X-Other: user-1"))
                client.answer()
                client.send(rig.infer_request(ROW, "x-user: user-1"))
                client.answer()
        drawn = stable.series(names.ARM_DRAWN, "by", "arm")
    assert abs(drawn["share canary"] - 50) <= 1
    assert drawn["share canary"] + drawn["share stable"] == 200
    assert len({each for each in drawn if each.startswith("key")}) == 1, "one user, one arm"


def test_header_without_a_rollout_that_sticks_is_no_key(stable: Stable) -> None:
    with Peer(say(answer())) as canary:
        stable.tell(traffic(stable, canary, 5000))
        assert met(stable)
        drawn = stable.series(names.ARM_DRAWN, "by", "arm")
    assert abs(drawn["share canary"] - drawn["share stable"]) <= 2
    assert set(drawn) == {"share canary", "share stable"}


def test_a_test_picks_its_arm_is_told_which_and_is_no_evidence_delivery_11(stable: Stable) -> None:
    with Peer(say(answer())) as canary:
        stable.tell(Traffic(stable.rollout(), 0, 1, canary.target, 20.0, test_header=True))
        for arm, version in (("canary", "canary"), ("stable", stable.version)):
            got = [ask(stable, f"{TEST_HEADER.title()}: {arm}") for _ in range(5)]
            assert {each.json["model_version"] for each in got} == {version}
            assert {each.headers[TEST_HEADER] for each in got} == {arm}
        assert stable.arms() == {}
        assert stable.series(names.ARM_DRAWN, "by", "arm") == {}
        refused = ask(stable, f"{TEST_HEADER}: both")
        assert (refused.status, refused.json["error"]) == (400, "x-modelcycle-arm: expected canary or stable")
        assert TEST_HEADER not in ask(stable).headers


def test_a_test_of_a_canary_that_fails_gets_stables_answer_and_sees_it(stable: Stable) -> None:
    with Peer(peers.reset) as canary:
        stable.tell(Traffic(stable.rollout(), 0, 1, canary.target, 20.0, test_header=True))
        got = ask(stable, f"{TEST_HEADER}: canary")
    assert (got.status, got.json["model_version"], got.headers[TEST_HEADER]) == (200, stable.version, "stable")
    assert stable.arms() == {}


def test_header_of_tests_does_nothing_until_it_is_let(stable: Stable) -> None:
    with Peer(say(answer())) as canary:
        stable.tell(traffic(stable, canary, ALL))
        got = [ask(stable, f"{TEST_HEADER}: {arm}") for arm in ("stable", "both", "canary")]
    assert {each.body for each in got} == {ANSWER}
    assert not any(TEST_HEADER in each.headers for each in got)
    assert stable.arms() == {"canary ok": 3}


def test_a_test_does_not_send_a_marked_request_round(stable: Stable) -> None:
    with Peer(say(answer())) as canary:
        stable.tell(Traffic(stable.rollout(), 0, ALL, canary.target, 20.0, test_header=True))
        got = ask(stable, f"{TEST_HEADER}: canary", f"{MARKER}: {stable.applied.rollout}")
        assert got.json["model_version"] == stable.version
        assert canary.asked == []


@pytest.mark.parametrize(
    ("value", "is_handed_on"),
    [("1049", False), ("1", False), ("1050", True), ("15000", True), ("0", True), ("soon", True), ("-1", True)],
)
def test_client_that_waits_no_longer_than_the_hop_may_take_is_answered_here_and_for_no_arm(
    stable: Stable, value: str, *, is_handed_on: bool
) -> None:
    with Peer(say(answer())) as canary:
        stable.tell(traffic(stable, canary, ALL, timeout=1.0))
        got = ask(stable, f"X-Envoy-Expected-Rq-Timeout-Ms: {value}")
    assert (got.body == ANSWER) is is_handed_on
    assert stable.arms() == ({"canary ok": 1} if is_handed_on else {})
    assert sum(stable.series(names.ARM_EXEMPT).values()) == (not is_handed_on)
