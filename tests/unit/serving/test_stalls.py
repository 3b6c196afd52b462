"""A pod that stands still: what came meanwhile is late where it is stable's own, and never blamed on the canary."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from modelcycle_bundle.traffic import SHARE_DENOMINATOR
from unit.serving import peers, rig
from unit.serving.peers import Peer, Stable

TIMEOUT = 0.3
STILL = 1.5
ROW = rig.matrix([[1.0, 2.0, 3.0]])


@contextmanager
def standing_still(stable: Stable) -> Iterator[None]:
    os.kill(stable.server.process.pid, signal.SIGSTOP)
    try:
        yield
        time.sleep(STILL)
    finally:
        os.kill(stable.server.process.pid, signal.SIGCONT)


def test_requests_that_came_while_stables_pod_stood_still_are_late(stable: Stable) -> None:
    with Peer(peers.say(peers.answer())) as canary, ExitStack() as opened:
        clients = [opened.enter_context(stable.server.client()) for _ in range(40)]
        stable.hand_on(canary.target, 1, timeout=TIMEOUT)
        with standing_still(stable):
            for client in clients:
                client.send(rig.infer_request(ROW))
        assert [client.answer().status for client in clients] == [200] * 40
        arms = stable.arms()
        # Four of five moments of the stall are further back than the timeout; chance leaves no less than a quarter of them.
        assert arms["stable late"] >= 10


def test_answer_that_came_while_the_asking_pod_stood_still_is_not_called_late(stable: Stable) -> None:
    released = threading.Event()

    def wait(connection: socket.socket, asked: peers.Asked) -> None:
        released.wait(20)
        connection.sendall(peers.answer())

    with Peer(wait) as canary:
        stable.hand_on(canary.target, SHARE_DENOMINATOR, timeout=2.0)
        with stable.server.client() as client:
            client.send(rig.infer_request(ROW))
            peers.until(lambda: len(canary.asked) == 1)
            with standing_still(stable):
                released.set()
                time.sleep(STILL)
            assert client.answer().body == peers.ANSWER
        peers.until(lambda: stable.arms() == {"canary crowded": 1})
