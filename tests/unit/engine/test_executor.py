"""The executor: order, stopping, status chains, and what each error means."""

from typing import Any

import pytest

from fakes.engine import KeepingRecorder
from fakes.faults import RaiseAt, Verb, Write, conflict
from fakes.memory_kube import MemoryKube
from modelcycle.engine.executor import SLOW_RETRY_SECONDS, Executor, Result, outcome_of
from modelcycle.engine.plan import Apply, Create, Delete, Emit, EventType, Plan, WriteStatus
from modelcycle.kube import errors
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT

EVENT = Emit(EXPERIMENT, "ns", "e", "u", EventType.NORMAL, "Tested", "Test", "note")


def child(name: str, value: str = "1") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns"}, "data": {"a": value}}


def status(version: str, value: int, previous: int | None = None) -> WriteStatus:
    before = {} if previous is None else {"n": previous}
    return WriteStatus(EXPERIMENT, "ns", "e", version, {"n": value}, before)


@pytest.fixture
def kube() -> MemoryKube:
    return MemoryKube()


@pytest.fixture
def version(kube: MemoryKube) -> str:
    made = kube.seed(EXPERIMENT, "ns", {"metadata": {"name": "e"}, "spec": {}})
    return str(made["metadata"]["resourceVersion"])


async def run(kube: MemoryKube, *actions: Any, requeue_after: float | None = None) -> Any:
    return await Executor(kube, KeepingRecorder()).run(Plan(actions, requeue_after))


async def test_actions_run_in_order_and_the_plan_says_when_to_look_again(kube: MemoryKube, version: str) -> None:
    outcome = await run(kube, status(version, 1), Create(CONFIG_MAP, child("a")), requeue_after=30)
    assert (outcome.result, outcome.retry_after) == (Result.SUCCESS, 30)
    assert [w.verb for w in kube.writes] == ["apply_status", "create"]


async def test_status_writes_of_one_plan_build_on_each_other(kube: MemoryKube, version: str) -> None:
    outcome = await run(kube, status(version, 1), Create(CONFIG_MAP, child("a")), status(version, 2))
    assert outcome.result is Result.SUCCESS
    live = kube.read(EXPERIMENT, "ns", "e")
    assert live is not None
    assert live["status"] == {"n": 2}


async def test_an_equal_status_is_not_written_engineering_79(kube: MemoryKube, version: str) -> None:
    await run(kube, status(version, 1, previous=1))
    assert kube.writes == []


async def test_a_status_that_goes_back_within_a_plan_is_written(kube: MemoryKube, version: str) -> None:
    await run(kube, status(version, 1, previous=0), status(version, 0, previous=0))
    live = kube.read(EXPERIMENT, "ns", "e")
    assert live is not None
    assert live["status"] == {"n": 0}


async def test_nothing_runs_after_the_first_failure_engineering_23(kube: MemoryKube) -> None:
    kube.before_write = RaiseAt(0, conflict)
    outcome = await run(kube, Create(CONFIG_MAP, child("a")), Create(CONFIG_MAP, child("b")))
    assert outcome.result is Result.OBSERVE_AGAIN
    assert kube.find(CONFIG_MAP) == []


async def test_apply_carries_the_uid_that_was_seen(kube: MemoryKube) -> None:
    kube.seed(CONFIG_MAP, "ns", child("a"))
    outcome = await run(kube, Apply(CONFIG_MAP, child("a", "2"), uid="of-a-predecessor"))
    assert outcome.result is Result.OBSERVE_AGAIN
    (live,) = kube.find(CONFIG_MAP)
    assert live["data"] == {"a": "1"}


async def test_delete_spares_a_successor(kube: MemoryKube) -> None:
    kube.seed(CONFIG_MAP, "ns", child("a"))
    outcome = await run(kube, Delete(CONFIG_MAP, "ns", "a", uid="of-a-predecessor"))
    assert outcome.result is Result.OBSERVE_AGAIN
    assert len(kube.find(CONFIG_MAP)) == 1


async def test_events_reach_the_recorder(kube: MemoryKube) -> None:
    recorder = KeepingRecorder()
    await Executor(kube, recorder).run(Plan((EVENT,)))
    assert recorder.events == [EVENT]


@pytest.mark.parametrize(
    ("failing", "said"),
    [(Verb.APPLY_STATUS, 0), (Verb.CREATE, 1)],
    ids=["a status that was not written says nothing", "nobody decides anew what a written status says"],
)
async def test_events_are_about_the_status_that_was_written(
    kube: MemoryKube, version: str, failing: Verb, said: int
) -> None:
    def fail(write: Write) -> None:
        if write.verb is failing:
            raise errors.Unavailable("away")

    kube.before_write = fail
    recorder = KeepingRecorder()
    plan = Plan((status(version, 1), Create(CONFIG_MAP, child("a")), EVENT))
    assert (await Executor(kube, recorder).run(plan)).result is Result.BACKOFF
    assert recorder.events == [EVENT] * said


async def test_event_of_a_status_still_to_come_waits_for_it(kube: MemoryKube, version: str) -> None:
    kube.before_write = RaiseAt(1, conflict)
    recorder = KeepingRecorder()
    actions = (status(version, 1), Create(CONFIG_MAP, child("a")), status(version, 2), EVENT)
    await Executor(kube, recorder).run(Plan(actions))
    assert recorder.events == []


@pytest.mark.parametrize(
    ("error", "result", "seconds"),
    [
        (errors.Conflict("x"), Result.OBSERVE_AGAIN, None),
        (errors.AlreadyExists("x"), Result.OBSERVE_AGAIN, None),
        (errors.NotFound("x"), Result.OBSERVE_AGAIN, None),
        (errors.Throttled("x", retry_after=7.0), Result.BACKOFF, 7.0),
        (errors.Throttled("x"), Result.BACKOFF, None),
        (errors.Unavailable("x"), Result.BACKOFF, None),
        (errors.Forbidden("x"), Result.REFUSED, SLOW_RETRY_SECONDS),
        (errors.Invalid("x"), Result.REFUSED, SLOW_RETRY_SECONDS),
    ],
)
def test_what_each_error_means(error: errors.ApiError, result: Result, seconds: float | None) -> None:
    outcome = outcome_of(error)
    assert (outcome.result, outcome.retry_after) == (result, seconds)
