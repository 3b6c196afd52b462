"""Events: names, series, rate; never a failed plan."""

from datetime import UTC, datetime, timedelta

import pytest

from fakes.engine import CountingObserver
from fakes.memory_kube import MemoryKube
from modelcycle.engine.plan import Emit, EventType
from modelcycle.engine.recorder import BURST, SAME_EVENT_SECONDS, EventRecorder, event_name
from modelcycle.kube.errors import Forbidden
from modelcycle.kube.kinds import EVENT, EXPERIMENT


def said(note: str = "Trial 3 failed", uid: str = "u1") -> Emit:
    return Emit(EXPERIMENT, "ns", "exp", uid, EventType.WARNING, "TrialFailed", "RunTrial", note)


class Bench:
    """A recorder with a clock that is turned by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.kube = MemoryKube()
        self.observer = CountingObserver()
        self.recorder = self.started()

    def started(self) -> EventRecorder:
        return EventRecorder(
            self.kube,
            "pod-1",
            self.observer,
            clock=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds),
            monotonic=lambda: self.seconds,
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_an_event_names_its_object_and_says_why(bench: Bench) -> None:
    await bench.recorder.emit(said())
    (event,) = bench.kube.find(EVENT, "ns")
    assert event["regarding"]["uid"] == "u1"
    assert (event["type"], event["reason"], event["action"]) == ("Warning", "TrialFailed", "RunTrial")
    assert event["eventTime"] == "2026-01-01T00:00:00.000000Z"


async def test_the_same_event_within_a_minute_is_written_once(bench: Bench) -> None:
    await bench.recorder.emit(said())
    await bench.recorder.emit(said())
    assert len(bench.kube.writes) == 1
    assert bench.observer.counts["dropped rate"] == 1


async def test_a_repeat_becomes_a_series_even_after_a_restart(bench: Bench) -> None:
    await bench.recorder.emit(said())
    bench.seconds += SAME_EVENT_SECONDS
    await bench.recorder.emit(said())
    bench.seconds += 5
    await bench.started().emit(said())
    (event,) = bench.kube.find(EVENT, "ns")
    assert event["series"] == {"count": 3, "lastObservedTime": "2026-01-01T00:01:05.000000Z"}
    assert event["eventTime"] == "2026-01-01T00:00:00.000000Z"


async def test_one_noisy_object_cannot_flood_and_others_still_speak_engineering_77(bench: Bench) -> None:
    for number in range(100):
        await bench.recorder.emit(said(f"note {number}"))
    await bench.recorder.emit(said("other", uid="u2"))
    assert len(bench.kube.find(EVENT, "ns")) == BURST + 1


async def test_a_refused_event_fails_nothing_engineering_31(bench: Bench) -> None:
    def hook(call: object) -> None:
        raise Forbidden("namespace is being terminated", status=403)

    bench.kube.before_write = hook
    await bench.recorder.emit(said())
    assert bench.observer.counts["dropped refused"] == 1


async def test_a_long_note_is_cut(bench: Bench) -> None:
    await bench.recorder.emit(said("x" * 5000))
    (event,) = bench.kube.find(EVENT, "ns")
    assert len(event["note"]) == 1024


def test_names_differ_by_object_reason_and_note_and_fit() -> None:
    long = Emit(EXPERIMENT, "ns", "e" * 253, "u", EventType.NORMAL, "R", "A", "n")
    assert event_name(said()) == event_name(said())
    assert len({event_name(said()), event_name(said("x")), event_name(said(uid="u2"))}) == 3
    assert len(event_name(long)) <= 253
