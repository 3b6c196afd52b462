"""A canary of three pods behind a Service: every pod gets its part, and one that hangs takes no more than what its connections hold."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from modelcycle_bundle.traffic import SHARE_DENOMINATOR
from modelcycle_serving.upstream import PoolLimits
from unit.serving import peers, rig

ALL = SHARE_DENOMINATOR
ROW = rig.matrix([[1.0, 2.0, 3.0]])


@pytest.fixture
def pods(bundles: dict[str, Path]) -> Iterator[list[rig.Server]]:
    with ExitStack() as stack:
        started = [stack.enter_context(rig.start(bundles["names"])) for _ in range(3)]
        for each in started:
            each.wait_for("ready")
        yield started


def answered(pod: rig.Server) -> int:
    return int(sum(pod.samples()["modelcycle_requests_total"].values()))


def ask(stable: peers.Stable, requests: int) -> None:
    with stable.server.client() as client:
        assert {client.infer(ROW).status for _ in range(requests)} == {200}


def test_one_client_after_the_other_reaches_every_pod(stable: peers.Stable, pods: list[rig.Server]) -> None:
    with peers.Service([pod.http_port for pod in pods], Random(3)) as service:
        stable.hand_on(service.target, ALL)
        ask(stable, 1200)
        counts = [answered(pod) for pod in pods]
    assert sum(counts) == 1200
    assert stable.arms() == {"canary ok": 1200}
    # Connections are drawn, requests go round them: of 16 a pod has 1 to 11 but once in 1,500 draws, and this draw is fixed.
    assert min(counts) > 1200 / 16 / 2, counts


def test_pod_that_hangs_takes_what_its_connections_hold_and_nothing_more_delivery_49(
    stable: peers.Stable, pods: list[rig.Server]
) -> None:
    with peers.Service([pod.http_port for pod in pods], Random(3)) as service:
        stable.hand_on(service.target, ALL, timeout=0.4)
        ask(stable, 200)
        # The kernel goes on accepting connections for it, as a network that swallows packets would not even do.
        pods[0].process.send_signal(signal.SIGSTOP)
        try:
            ask(stable, 600)
        finally:
            pods[0].process.send_signal(signal.SIGCONT)
    arms = Counter(stable.arms())
    assert set(arms) <= {"canary ok", "canary late"}
    assert arms.total() == 800
    # Each of its connections is late once. Those opened instead are its own again in one case of three.
    assert 0 < arms["canary late"] <= 2 * PoolLimits().spread, arms
