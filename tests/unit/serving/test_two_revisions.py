"""Two serving processes of one ModelDeployment under load.

Changes of the share, deaths and drains lose no request and send none in circles.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import pytest

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.traffic import SHARE_DENOMINATOR, Traffic
from unit.serving import peers, rig

ALL = SHARE_DENOMINATOR
ROW = rig.matrix([[1.0, 2.0, 3.0]])
FAST = ("--drain-idle", "0.4", "--drain-settle", "2.5", "--drain-timeout", "20")


class Pair:
    """Two revisions, each able to hand on to the other."""

    def __init__(self, old: peers.Stable, new: peers.Stable) -> None:
        self.old = old
        self.new = new

    @staticmethod
    def target(of: peers.Stable) -> str:
        return f"127.0.0.1:{of.server.http_port}"


@pytest.fixture
def pair(bundles: dict[str, Path], tmp_path: Path) -> Iterator[Pair]:
    with (
        peers.start(bundles["classes"], tmp_path, *FAST) as old,
        peers.start(bundles["names"], tmp_path, *FAST) as new,
    ):
        yield Pair(old, new)


def loaded(server: rig.Server, clients: int) -> tuple[list[rig.Loader], threading.Event]:
    """Clients that send one request after the other until the event."""
    until = threading.Event()
    loaders = [rig.Loader(server, until, ROW) for _ in range(clients)]
    for loader in loaders:
        loader.start()
    return loaders, until


def ended(loaders: list[rig.Loader], until: threading.Event) -> Counter[str]:
    """Who answered how often; no request failed."""
    until.set()
    for loader in loaders:
        loader.join()
    assert [loader.failures for loader in loaders] == [[]] * len(loaders)
    assert {status for loader in loaders for status in loader.statuses} == {200}
    return Counter(version for loader in loaders for version in loader.versions)


def answered_here(stable: peers.Stable) -> int:
    return int(rig.answered(stable.server.samples(), "200"))


def test_two_pods_that_hand_on_to_each_other_never_loop(pair: Pair) -> None:
    """Each has heard of another rollout: what one hands on, the other answers."""
    pair.old.hand_on(pair.target(pair.new), ALL)
    pair.new.rollouts = iter([77])
    pair.new.hand_on(pair.target(pair.old), ALL)
    for asked, answering in ((pair.old, pair.new), (pair.new, pair.old)):
        with asked.server.client() as client:
            assert {client.infer(ROW).json["model_version"] for _ in range(20)} == {answering.version}
        assert asked.arms() == {"canary ok": 20}
    assert answered_here(pair.old) == answered_here(pair.new) == 20


def test_two_pods_that_copy_to_each_other_under_load_answer_themselves_and_never_loop(pair: Pair) -> None:
    """The models are the same but for the names of their classes."""
    for each, other in ((pair.old, pair.new), (pair.new, pair.old)):
        each.tell(Traffic(each.rollout(), 0, 0, pair.target(other), 20.0, shadow=ALL))
    loaders, until = loaded(pair.old.server, 4)
    peers.until(lambda: answered_here(pair.new) > 200)
    by = ended(loaders, until)
    assert set(by) == {pair.old.version}
    peers.until(lambda: sum(pair.old.series(names.SHADOW_REQUESTS, "outcome").values()) == by.total())
    found = pair.old.series(names.SHADOW_REQUESTS, "outcome")
    assert set(found) <= {names.SHADOW_DIFFER, names.SHADOW_DROPPED}
    assert answered_here(pair.new) == found[names.SHADOW_DIFFER]
    assert answered_here(pair.old) == by.total()
    assert pair.new.series(names.SHADOW_REQUESTS, "outcome") == {}
    assert sum(pair.old.series(f"{names.SHADOW_DIFFERENCE}_sum").values()) < 1e-3


def test_pod_that_hands_on_to_itself_answers(pair: Pair) -> None:
    pair.old.hand_on(pair.target(pair.old), ALL)
    with pair.old.server.client() as client:
        assert client.infer(ROW).status == 200
    assert pair.old.arms() == {"canary ok": 1}


def test_changes_of_share_target_and_close_under_load_lose_no_request_and_no_count(pair: Pair) -> None:
    rollout = pair.old.rollout()
    new = pair.target(pair.new)
    with peers.Peer(peers.say(peers.answer())) as third:
        pair.old.hand_on(new, 5000, rollout)
        loaders, until = loaded(pair.old.server, 6)
        for share, target, close in islice(
            cycle([(ALL, new, False), (500, third.target, True), (9000, new, True)]), 24
        ):
            pair.old.hand_on(target, share, rollout, close=close)
        by = ended(loaders, until)
        arms = pair.old.arms()
    assert set(by) == {pair.old.version, pair.new.version, "canary"}
    assert arms == {"canary ok": by[pair.new.version] + by["canary"], "stable ok": by[pair.old.version]}
    assert answered_here(pair.old) == by[pair.old.version]
    assert answered_here(pair.new) == by[pair.new.version]
    assert len(third.asked) == by["canary"]


def test_canary_killed_under_load_is_seen_in_counts_only(pair: Pair) -> None:
    pair.old.hand_on(pair.target(pair.new), 5000, timeout=1.0)
    loaders, until = loaded(pair.old.server, 6)
    peers.until(lambda: pair.old.arms().get("canary ok", 0) > 200)
    pair.new.server.process.kill()
    peers.until(lambda: pair.old.arms().get("canary unreached", 0) > 200)
    by = ended(loaders, until)
    arms = pair.old.arms()
    assert set(arms) <= {"canary ok", "canary failed", "canary late", "canary unreached", "stable ok"}
    assert sum(arms.values()) == by.total()
    assert arms["canary ok"] == by[pair.new.version]
    assert abs(arms["stable ok"] - by.total() / 2) <= 1, "what the canary failed is not counted for stable"


def test_canary_that_drains_fails_nothing(pair: Pair) -> None:
    pair.old.hand_on(pair.target(pair.new), ALL)
    loaders, until = loaded(pair.old.server, 6)
    peers.until(lambda: pair.old.arms().get("canary ok", 0) > 200)
    pair.new.server.terminate()
    pair.new.server.wait_for("draining")
    pair.old.hand_on("", 0, pair.old.applied.rollout)
    by = ended(loaders, until)
    assert pair.new.server.end() == 0
    assert pair.old.arms() == {"canary ok": by[pair.new.version]}


def test_draining_pod_goes_on_handing_on_and_loses_nothing(pair: Pair) -> None:
    pair.old.hand_on(pair.target(pair.new), ALL)
    loaders, until = loaded(pair.old.server, 6)
    peers.until(lambda: pair.old.arms().get("canary ok", 0) > 200)
    pair.old.server.terminate()
    pair.old.server.wait_for("draining")
    before = answered_here(pair.new)
    peers.until(lambda: answered_here(pair.new) > before + 20)
    by = ended(loaders, until)
    assert set(by) == {pair.new.version}
    assert pair.old.server.end() == 0
    assert pair.old.server.log[-1]["connections_cut"] == 0


def test_restarted_process_applies_its_annotation_before_the_first_request(
    pair: Pair, bundles: dict[str, Path]
) -> None:
    pair.old.hand_on(pair.target(pair.new), ALL)
    with rig.serving(bundles["classes"], "--traffic-file", str(pair.old.file)) as again, again.client() as client:
        assert client.infer(ROW).json["model_version"] == pair.new.version
    log = [line["message"] for line in again.log]
    assert log.index("traffic") < log.index("ready")
