"""Election: the decision as a table, and two replicas on one Lease."""

import pytest

from fakes.faults import lost_response
from fakes.memory_kube import MemoryKube
from modelcycle.engine.elector import DURATION, RENEW_DEADLINE, RENEW_EVERY, Elector, Move, Sight, decide
from modelcycle.kube.kinds import LEASE


@pytest.mark.parametrize(
    ("sight", "renewed_at", "now", "move"),
    [
        (Sight("", 15, 0), None, 0, Move.ACQUIRE),
        (Sight("other", 15, 0), None, 14.9, Move.WAIT),
        (Sight("other", 15, 0), None, 15, Move.ACQUIRE),
        (Sight("me", 15, 0), None, 0, Move.ACQUIRE),
        (None, None, 100, Move.WAIT),
        (Sight("me", 15, 0), 0, RENEW_EVERY - 0.1, Move.WAIT),
        (Sight("me", 15, 0), 0, RENEW_EVERY, Move.RENEW),
        (Sight("me", 15, 0), 0, RENEW_DEADLINE, Move.STEP_DOWN),
        (Sight("other", 15, 0), 0, 1, Move.STEP_DOWN),
        (Sight("", 15, 0), 0, 1, Move.STEP_DOWN),
        (None, 0, RENEW_EVERY, Move.RENEW),
        (None, 0, RENEW_DEADLINE, Move.STEP_DOWN),
    ],
)
def test_decision(sight: Sight | None, renewed_at: float | None, now: float, move: Move) -> None:
    assert decide(sight, "me", renewed_at, now) is move


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def step(elector: Elector) -> Move:
    return await elector.step()


async def test_one_of_two_leads_until_it_stops_renewing_engineering_8() -> None:
    kube, clock = MemoryKube(), Clock()
    first, second = Elector(kube, "ns", "l", "first", clock), Elector(kube, "ns", "l", "second", clock)
    await step(first)
    await step(second)
    assert (first.leading.is_set(), second.leading.is_set()) == (True, False)
    for _ in range(20):
        clock.now += RENEW_EVERY
        await step(first)
        await step(second)
    assert (first.leading.is_set(), second.leading.is_set()) == (True, False)
    clock.now += DURATION
    await step(second)
    assert second.leading.is_set()
    assert await step(first) is Move.STEP_DOWN


async def test_an_orderly_end_frees_the_lease_at_once() -> None:
    kube, clock = MemoryKube(), Clock()
    first, second = Elector(kube, "ns", "l", "first", clock), Elector(kube, "ns", "l", "second", clock)
    await step(first)
    await first.release()
    await step(second)
    assert second.leading.is_set()
    lease = kube.read(LEASE, "ns", "l")
    assert lease is not None
    assert lease["spec"]["leaseTransitions"] == 1


async def test_a_leader_that_cannot_write_steps_down_before_the_lease_expires() -> None:
    kube, clock = MemoryKube(), Clock()
    elector = Elector(kube, "ns", "l", "me", clock)
    await step(elector)

    def away(call: object) -> None:
        raise lost_response()

    kube.before_write = away
    moves = []
    while clock.now < DURATION:
        clock.now += 1
        moves.append(await step(elector))
        if moves[-1] is Move.STEP_DOWN:
            break
    assert moves[-1] is Move.STEP_DOWN
    assert clock.now < DURATION


async def test_another_replicas_wall_clock_is_not_trusted_engineering_41() -> None:
    kube, clock = MemoryKube(), Clock()
    ancient = {"holderIdentity": "other", "leaseDurationSeconds": 15, "renewTime": "1999-01-01T00:00:00.000000Z"}
    kube.seed(LEASE, "ns", {"metadata": {"name": "l"}, "spec": ancient})
    elector = Elector(kube, "ns", "l", "me", clock)
    assert await step(elector) is Move.WAIT
