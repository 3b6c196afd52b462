"""A service that is slow in both arms, on the real thing: each pod stands still for a moment again and again, and no canary goes for it."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

import pytest

from canary_ground import Ground, Line, Steps, canary, counted, eventually, rejections
from demo.kubectl import describe, is_current, is_stalled
from processes import servers_of

pytestmark = pytest.mark.timeout(900)
TIMEOUT: Final = "250ms"
STILL: Final = 0.3
"""Seconds for which a pod stands still: some of what is under way then is late, the rest only slow."""
BETWEEN: Final = 0.6
"""Mean seconds between."""
ROLLOUTS: Final = 5
ANSWERS: Final = 150
"""Of each canary: with its late answers alone as evidence, far more than a rollback takes."""
HELD: Steps = ({"setWeight": 50}, {"pause": {}})


@contextmanager
def faltering(pods: Sequence[str]) -> Iterator[None]:
    """The servers of these pods, by uid, each stand still at moments of their own, for the length of the block."""
    ended = threading.Event()

    def falter(pid: int, chance: random.Random) -> None:
        while not ended.wait(chance.expovariate(1 / BETWEEN)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                try:
                    time.sleep(STILL)
                finally:
                    os.kill(pid, signal.SIGCONT)

    pids = [pid for uid in pods for pid in servers_of(uid)]
    assert len(pids) >= len(pods), "no server process of a pod is seen from here"
    threads = [threading.Thread(target=falter, args=(pid, random.Random(at))) for at, pid in enumerate(pids)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def uids(line: Line, revision: str) -> list[str]:
    return [str(pod["metadata"]["uid"]) for pod in line.pods(revision)]


def _none(line: Line, revision: str) -> bool:
    return not line.pods(revision)


def test_service_that_is_slow_in_both_arms_keeps_five_canaries_of_five(ground: Ground) -> None:
    line = ground.line("slow", 2)
    line.serve(ground.usual, traffic={"canaryTimeout": TIMEOUT})
    stable = line.wait(is_current)["status"]["stable"]["revision"]
    line.load()
    late = {"canary": 0, "stable": 0}
    for _ in range(ROLLOUTS):
        line.ask(ground.equal, steps=HELD, traffic={"canaryTimeout": TIMEOUT})
        shared = line.wait(lambda o: is_stalled(o) or canary(o).get("weight", {}).get("applied") == "50")
        assert not is_stalled(shared), describe(shared)
        new = str(canary(shared)["revision"])
        with faltering([*uids(line, stable), *uids(line, new)]):
            seen = line.wait(lambda o: is_stalled(o) or counted(o)[0] >= ANSWERS)
        assert not is_stalled(seen), describe(seen)
        assert not rejections(seen)
        errors = seen["status"]["analysis"]["metrics"][0]
        late = {arm: late[arm] + int(errors[arm]["events"]) for arm in late}
        line.ask(ground.usual, traffic={"canaryTimeout": TIMEOUT})
        line.ended()
        eventually(partial(_none, line, new), "the last canary's pods are gone")
    everything, _ = line.clients.stop()
    assert everything.failed == 0, everything
    # It was slow, in both arms: a rollback would have been possible.
    assert min(late.values()) > ROLLOUTS, late
