"""The work queue, at its edges; the invariants are in tests/properties/test_engine_workqueue.py."""

import asyncio

import pytest

from fakes.engine import CountingObserver
from modelcycle.engine.plan import Key
from modelcycle.engine.workqueue import FIRST_BACKOFF, LONGEST_BACKOFF, KeyQueue, WorkQueue, backoff

A, B = Key("Experiment", "ns", "a"), Key("Experiment", "ns", "b")


def full() -> float:
    return 0.0


def test_a_key_added_twice_is_taken_once_engineering_15() -> None:
    queue = KeyQueue()
    queue.add(A)
    queue.add(A)
    assert (queue.take(), queue.take()) == (A, None)


def test_a_key_added_while_worked_on_is_not_taken_before_done() -> None:
    queue = KeyQueue()
    queue.add(A)
    queue.take()
    queue.add(A)
    assert queue.take() is None
    queue.done(A)
    assert queue.take() == A


def test_keys_are_taken_in_the_order_of_their_adding() -> None:
    queue = KeyQueue()
    for key in (B, A):
        queue.add(key)
    assert (queue.take(), queue.take()) == (B, A)


def test_a_busy_key_goes_behind_those_that_waited() -> None:
    queue = KeyQueue()
    queue.add(A)
    queue.take()
    queue.add(A)
    queue.add(B)
    queue.done(A)
    assert (queue.take(), queue.take()) == (B, A)


def test_of_two_moments_the_earlier_one_counts() -> None:
    queue = KeyQueue()
    queue.add_at(A, 10)
    queue.add_at(A, 5)
    queue.add_at(A, 20)
    queue.release(5)
    assert queue.take() == A
    assert queue.next_moment() is None


def test_working_on_a_key_drops_its_waiting_moment() -> None:
    queue = KeyQueue()
    queue.add_at(A, 10)
    queue.add(A)
    queue.take()
    assert queue.next_moment() is None


def test_nothing_is_released_early() -> None:
    queue = KeyQueue()
    queue.add_at(A, 10)
    queue.release(9.999)
    assert queue.take() is None
    assert queue.next_moment() == 10


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, FIRST_BACKOFF), (2, 0.01), (11, 5.12), (17, LONGEST_BACKOFF), (5000, LONGEST_BACKOFF)]
)
def test_backoff_doubles_up_to_its_limit(failures: int, seconds: float) -> None:
    assert backoff(failures, 0.0) == pytest.approx(seconds)
    assert backoff(failures, 0.999) >= seconds / 2


async def test_failures_grow_the_delay_until_forgotten() -> None:
    observer = CountingObserver()
    queue = WorkQueue(observer, full)
    delays = [queue.add_rate_limited(A) for _ in range(3)]
    queue.forget(A)
    assert delays == pytest.approx([0.005, 0.01, 0.02])
    assert queue.add_rate_limited(A) == pytest.approx(0.005)
    assert observer.counts["retried"] == 4


async def test_retry_after_of_the_server_is_a_lower_bound_engineering_25() -> None:
    assert WorkQueue(CountingObserver(), full).add_rate_limited(A, at_least=7.0) == 7.0


async def test_a_delayed_key_wakes_a_waiting_worker() -> None:
    queue = WorkQueue(CountingObserver(), full)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add_after(A, 0.01)
    assert await asyncio.wait_for(waiting, 5) == A


async def test_shut_down_wakes_every_worker_and_hands_out_nothing_more() -> None:
    queue = WorkQueue(CountingObserver(), full)
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.shut_down()
    queue.add(A)
    assert await asyncio.gather(*workers) == [None, None, None]
    assert await queue.get() is None


async def test_a_cancelled_worker_swallows_no_key() -> None:
    queue = WorkQueue(CountingObserver(), full)
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(A)
    first.cancel()
    assert await asyncio.wait_for(second, 5) == A
