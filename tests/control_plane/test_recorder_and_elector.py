"""Events and the Lease on the real API server: what its validation accepts, the fake cannot say."""

import time
from datetime import UTC, datetime

from fakes.engine import CountingObserver
from modelcycle.engine.elector import Elector, Move
from modelcycle.engine.plan import Emit, EventType
from modelcycle.engine.recorder import SAME_EVENT_SECONDS, EventRecorder
from modelcycle.kube.client import RestKube
from modelcycle.kube.kinds import EVENT, EXPERIMENT


class Later:
    """A monotonic clock that can be turned forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


async def test_a_repeated_event_becomes_a_series(rest_kube: RestKube, namespace: str) -> None:
    observer, clock = CountingObserver(), Later()
    event = Emit(EXPERIMENT, namespace, "exp", "u1", EventType.WARNING, "TrialFailed", "RunTrial", "Trial 3 failed")
    for _ in range(3):
        recorder = EventRecorder(rest_kube, "pod-1", observer, clock=lambda: datetime.now(UTC), monotonic=clock)
        await recorder.emit(event)
        clock.ahead += SAME_EVENT_SECONDS
    (live,) = await rest_kube.list(EVENT, namespace)
    assert live["series"]["count"] == 3
    assert live["regarding"]["name"] == "exp"
    assert not observer.counts


async def test_a_lease_is_taken_renewed_released_and_taken_over(rest_kube: RestKube, namespace: str) -> None:
    clock = Later()
    first = Elector(rest_kube, namespace, "op", "first", clock)
    second = Elector(rest_kube, namespace, "op", "second", clock)
    assert await first.step() is Move.ACQUIRE
    assert await second.step() is Move.WAIT
    clock.ahead += 6
    assert await first.step() is Move.RENEW
    await first.release()
    assert await second.step() is Move.ACQUIRE
    assert second.leading.is_set()
