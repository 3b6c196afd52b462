"""Simulated rollouts in virtual time: traffic of two arms, pod by pod and look by look, judged by a policy.

Owns the traffic and the loop. Knows no statistics: whatever decides is a `Policy`, the evidence alone or the operator's whole `decide`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from modelcycle.stats.evidence import Counts

BLOCK = 64
"""Looks drawn at once."""


class Decision(StrEnum):
    """What a policy does after a look."""

    HOLD = "hold"
    """Go on looking."""
    PROMOTE = "promote"
    """The canary becomes stable."""
    ROLLBACK = "rollback"
    """The canary is taken out."""


@dataclass(frozen=True, slots=True)
class PodLook:
    """What each pod of both arms answered since the look before."""

    canary: tuple[Counts, ...]
    stable: tuple[Counts, ...]


class Policy(Protocol):
    """Decides one rollout; a new one is made for each."""

    def look(self, at: float, pods: PodLook) -> Decision:
        """Decide at `at` seconds after the first share above 0."""
        ...


@dataclass(frozen=True, slots=True)
class Bursts:
    """Failures that come together: from time to time one pod, of either arm, fails at a high rate for a while."""

    chance: float
    """That a quiet pod begins a burst, per look."""
    rate: float
    """Of failures inside a burst."""
    looks: float = 1.0
    """Mean length of a burst."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Times of answers, log-normal, and the time after which one is late. Drawn answer by answer."""

    median: float
    """Seconds."""
    sigma: float
    """Of the logarithm."""
    bound: float
    """Seconds."""

    def late(self, shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Which answers are."""
        return rng.lognormal(np.log(self.median), self.sigma, shape) > self.bound


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests per look, split evenly over the pods of an arm, and how often they fail."""

    canary_rate: float
    stable_rate: float
    canary_answers: int = 20
    stable_answers: int = 180
    canary_pods: int = 1
    stable_pods: int = 3
    bursts: Bursts | None = None
    canary_bursts: Bursts | None = None
    """The canary's, where they differ from stable's."""
    interval: float = 2.0
    """Seconds between looks."""
    canary_tail: Tail | None = None
    """Late answers of the canary, on top of its failures."""
    stable_tail: Tail | None = None

    def looks(self, rng: np.random.Generator) -> Iterator[PodLook]:
        """Looks without end."""
        bursts = self.canary_bursts or self.bursts
        canary = _Arm(self.canary_rate, self.canary_answers, self.canary_pods, bursts, self.canary_tail)
        stable = _Arm(self.stable_rate, self.stable_answers, self.stable_pods, self.bursts, self.stable_tail)
        while True:
            yield from map(PodLook, canary.block(rng), stable.block(rng))


@dataclass(frozen=True, slots=True)
class Ending:
    """How a simulated rollout ended; HOLD when it never did."""

    decision: Decision
    canary_answers: int


def run(policy: Policy, traffic: Traffic, limit: int, rng: np.random.Generator) -> Ending:
    """Look until the policy decides or the canary has given `limit` answers."""
    answers = 0
    for index, pods in enumerate(traffic.looks(rng), start=1):
        answers += sum(pod.n for pod in pods.canary)
        decision = policy.look(index * traffic.interval, pods)
        if decision is not Decision.HOLD or answers >= limit:
            return Ending(decision, answers)
    raise AssertionError("traffic has no end")


class _Arm:
    """One arm's pods. Bursts go on over blocks."""

    def __init__(self, rate: float, answers: int, pods: int, bursts: Bursts | None, tail: Tail | None) -> None:
        self.rate, self.bursts, self.tail = rate, bursts, tail
        self.answers = np.array([answers // pods + (at < answers % pods) for at in range(pods)])
        self.bursting = np.zeros(pods, dtype=bool)

    def block(self, rng: np.random.Generator) -> list[tuple[Counts, ...]]:
        late = self._late(rng)
        events = late + rng.binomial(self.answers - late, self._rates(rng))
        sizes = self.answers.tolist()
        return [tuple(map(Counts, sizes, row)) for row in events.tolist()]

    def _late(self, rng: np.random.Generator) -> NDArray[np.int_]:
        if self.tail is None:
            return np.zeros((BLOCK, len(self.answers)), dtype=int)
        return np.stack([self.tail.late((BLOCK, size), rng).sum(axis=1) for size in self.answers], axis=1)

    def _rates(self, rng: np.random.Generator) -> NDArray[np.float64]:
        rates = np.full((BLOCK, len(self.answers)), self.rate)
        if self.bursts is None:
            return rates
        coins = rng.random(rates.shape)
        for row, coin in zip(rates, coins, strict=True):
            chance = np.where(self.bursting, 1.0 - 1.0 / self.bursts.looks, self.bursts.chance)
            self.bursting = coin < chance
            row[self.bursting] = self.bursts.rate
        return rates
