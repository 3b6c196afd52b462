"""What is counted when this pod's own model fails or is slow, and when rollouts change while a request is under way. In process."""

import asyncio
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from modelcycle_bundle import metric_names
from modelcycle_bundle.traffic import SHARE_DENOMINATOR, Traffic
from modelcycle_serving import model as models
from modelcycle_serving.app import App
from modelcycle_serving.arms import BEAT_SECONDS
from modelcycle_serving.counters import Counters
from modelcycle_serving.messages import Request, Response
from modelcycle_serving.oip import Outputs, Rows
from modelcycle_serving.upstream import PoolLimits
from unit.serving import peers, rig
from unit.serving.peers import Peer, answer, say

ONE, TWO = "aabbcc-00000001", "aabbcc-00000002"
BODY = json.dumps(rig.matrix([[1, 2, 3]])).encode()


class Bench:
    """An App around a real model with its `run` replaced; `seconds` is what the App expects a run to take, `takes` what one
    takes by the bench's clock."""

    def __init__(
        self, bundle: Path, run: Callable[[Rows], Outputs] | None = None, seconds: float = 0.0, takes: float = 0.0
    ) -> None:
        model = models.load(bundle, None)
        self.now = 0.0

        def slowly(rows: Rows) -> Outputs:
            self.now += takes
            return model.run(rows)

        self.app = App("m", "1", lambda: self.now, Random(1))
        self.app.start_serving(replace(model, run=run or slowly, seconds_base=seconds), Counters(model, "", "p", 0.0))

    async def ask(self, *headers: tuple[bytes, bytes]) -> Response:
        request = Request(method=b"POST", path=b"/v2/models/m/infer", headers=dict(headers), body=BODY)
        got = self.app.serving(request)
        return got if isinstance(got, Response) else await got

    def rescued(self) -> int:
        """Bad answers of the canary that stable made good in time, of rollout ONE."""
        got = self.app.metrics(Request(method=b"GET", path=b"/metrics"))
        assert isinstance(got, Response)
        found = re.search(rf'{metric_names.ARM_RESCUED}{{rollout="{ONE}"}} (\d+)', got.body.decode())
        assert found
        return int(found[1])

    def counts(self) -> dict[str, str]:
        """Arms and status codes with a count: the labels' text -> value."""
        got = self.app.metrics(Request(method=b"GET", path=b"/metrics"))
        assert isinstance(got, Response)
        lines = [line.rpartition(" ") for line in got.body.decode().splitlines()]
        kept = (metric_names.ARM_REQUESTS, metric_names.REQUESTS)
        return {
            re.sub(r'(requests{code="\d+")[^}]*', r"\1", name.replace("modelcycle_", "").replace("_total", "")): value
            for name, _, value in lines
            if name.startswith(kept) and value != "0"
        }


def arm(arm_name: str, outcome: str, rollout: str = ONE) -> str:
    return f'arm_requests{{rollout="{rollout}",arm="{arm_name}",outcome="{outcome}"}}'


def all_to(peer: Peer, rollout: str = ONE, share: int = SHARE_DENOMINATOR) -> Traffic:
    return Traffic(rollout, 1, share, peer.target, 20.0)


def broken(rows: Rows) -> Outputs:
    raise RuntimeError("no answer")


async def test_user_gets_stables_own_failure_and_it_is_not_counted_for_stable(bundles: dict[str, Path]) -> None:
    bench = Bench(bundles["classes"], broken)
    with Peer(say(answer(b"{}", "500 Internal Server Error"))) as canary:
        bench.app.apply(all_to(canary))
        got = await bench.ask()
        assert (got.status, json.loads(got.body)) == (500, {"error": "the model could not answer this request"})
        assert bench.counts() == {arm("canary", "failed"): "1", 'requests{code="500"}': "1"}
    bench.app.close()


async def test_4xx_is_no_evidence_against_the_canary_when_stable_fails(bundles: dict[str, Path]) -> None:
    bench = Bench(bundles["classes"], broken)
    with Peer(say(answer(b"{}", "400 Bad Request"))) as canary:
        bench.app.apply(all_to(canary))
        assert (await bench.ask()).status == 500
        assert bench.counts() == {arm("canary", "client"): "1", 'requests{code="500"}': "1"}
    bench.app.close()


async def test_stables_failures_are_counted_where_it_was_to_answer(bundles: dict[str, Path]) -> None:
    bench = Bench(bundles["classes"], broken)
    with Peer(say(answer())) as canary:
        bench.app.apply(all_to(canary, share=5000))
        statuses = [(await bench.ask()).status for _ in range(20)]
        assert abs(statuses.count(500) - 10) <= 1
        assert bench.counts() == {
            arm("stable", "failed"): str(statuses.count(500)),
            arm("canary", "ok"): str(statuses.count(200)),
            'requests{code="500"}': str(statuses.count(500)),
        }
    bench.app.close()


async def test_long_runs_are_counted_for_the_rollout_they_arrived_in(bundles: dict[str, Path]) -> None:
    gate = threading.Event()
    right = models.load(bundles["classes"], None).run(rig.TABLE[:1])

    def slow(rows: Rows) -> Outputs:
        gate.wait(20)
        return right

    bench = Bench(bundles["classes"], slow, seconds=1.0)
    with Peer(say(answer(b"{}", "500 Internal Server Error"))) as canary:
        bench.app.apply(all_to(canary, share=1))
        waiting = [asyncio.ensure_future(bench.ask()) for _ in range(3)]
        await asyncio.sleep(0)
        bench.app.apply(replace(all_to(canary), share=0))
        assert bench.counts() == {}
        gate.set()
        assert [each.status for each in await asyncio.gather(*waiting)] == [200] * 3
        assert bench.counts() == {arm("stable", "ok"): "3", 'requests{code="200"}': "3"}
    bench.app.close()


async def test_request_of_a_rollout_that_is_over_is_counted_for_its_own_and_not_for_the_next(
    bundles: dict[str, Path],
) -> None:
    release = threading.Event()

    def wait(connection: socket.socket, asked: peers.Asked) -> None:
        release.wait(20)
        connection.sendall(answer())

    bench = Bench(bundles["classes"])
    with Peer(wait) as canary, Peer(say(answer())) as other:
        bench.app.apply(all_to(canary))
        waiting = asyncio.ensure_future(bench.ask())
        async with asyncio.timeout(20):
            while not canary.asked:  # noqa: ASYNC110 - a thread tells nobody
                await asyncio.sleep(0.01)
        bench.app.apply(all_to(other, TWO))
        release.set()
        assert (await waiting).status == 200
        assert bench.counts() == {arm("canary", "ok"): "1"}
        await bench.ask()
        assert bench.counts() == {arm("canary", "ok"): "1", arm("canary", "ok", TWO): "1"}
    bench.app.close()


async def test_header_that_says_how_to_read_the_body_is_handed_on(bundles: dict[str, Path]) -> None:
    bench = Bench(bundles["classes"])
    with Peer(say(answer())) as canary:
        bench.app.apply(all_to(canary))
        await bench.ask((b"inference-header-content-length", b"12"), (b"cookie", b"x"))
        assert b"inference-header-content-length: 12\r\n" in canary.asked[0].head
        assert b"cookie" not in canary.asked[0].head
    bench.app.close()


async def test_first_failure_of_a_kind_is_logged_once_a_rollout_without_payload(
    bundles: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(bundles["classes"])
    with Peer(say(answer(b"secret-7311", "500 Internal Server Error"))) as canary:
        for rollout in (ONE, TWO):
            bench.app.apply(all_to(canary, rollout))
            for _ in range(3):
                await bench.ask()
    assert [vars(record)["detail"] for record in caplog.records] == ["status 500"] * 2
    assert "7311" not in str([vars(record) for record in caplog.records])
    bench.app.close()


@pytest.mark.parametrize(("seconds", "outcome"), [(19.0, "ok"), (21.0, "late")])
async def test_stables_answer_after_the_canary_timeout_is_delivered_and_counted_late(
    bundles: dict[str, Path], seconds: float, outcome: str
) -> None:
    bench = Bench(bundles["classes"], takes=seconds)
    with Peer(say(answer())) as canary:
        bench.app.apply(all_to(canary, share=1))
        assert [(await bench.ask()).status for _ in range(3)] == [200] * 3
        assert bench.counts() == {arm("stable", outcome): "3", 'requests{code="200"}': "3"}
    bench.app.close()


async def test_stable_that_is_as_late_to_the_canarys_late_request_rescues_nothing(bundles: dict[str, Path]) -> None:
    for takes, rescued in ((0.0, 1), (1.0, 0)):
        bench = Bench(bundles["classes"], takes=takes)
        with Peer(peers.hang) as canary:
            bench.app.apply(replace(all_to(canary), timeout=0.2))
            assert (await bench.ask()).status == 200
            assert bench.counts() == {arm("canary", "late"): "1", 'requests{code="200"}': "1"}
            assert bench.rescued() == rescued
        bench.app.close()


async def test_request_without_room_on_the_way_to_the_canary_counts_for_neither_arm(bundles: dict[str, Path]) -> None:
    bench = Bench(bundles["classes"])
    most = PoolLimits().connections
    with Peer(peers.hang) as canary:
        bench.app.apply(all_to(canary))
        waiting = [asyncio.ensure_future(bench.ask()) for _ in range(most + 5)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        assert bench.counts() == {arm("canary", "crowded"): "5", 'requests{code="200"}': "5"}
    assert [each.status for each in await asyncio.gather(*waiting)] == [200] * (most + 5)
    bench.app.close()


async def test_answer_that_lay_in_a_pod_that_stood_still_counts_for_neither_arm(bundles: dict[str, Path]) -> None:
    bench = Bench(bundles["classes"])

    def stall(connection: socket.socket, asked: peers.Asked) -> None:
        bench.now += 21.0
        connection.sendall(answer())

    with Peer(stall) as canary:
        bench.app.apply(all_to(canary))
        assert (await bench.ask()).body == peers.ANSWER
        assert bench.counts() == {arm("canary", "crowded"): "1"}
    bench.app.close()


async def test_requests_that_waited_behind_a_stall_of_stables_pod_can_be_late(bundles: dict[str, Path]) -> None:
    bench = Bench(bundles["classes"])
    with Peer(say(answer())) as canary:
        bench.app.apply(all_to(canary, share=1))
        bench.app.look()
        bench.now += 40.0 + BEAT_SECONDS / 2
        for _ in range(400):
            await bench.ask()
        late = int(bench.counts()[arm("stable", "late")])
        assert 150 < late < 250  # of a stall of twice the timeout the first half makes late
        bench.app.look()
        await bench.ask()
        assert bench.counts()[arm("stable", "ok")] == str(401 - late)
    bench.app.close()
