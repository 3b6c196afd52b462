"""`make campaign`: does the evidence keep its promises? Simulates rollouts, prints a table, ends with 1 if a promise broke.

Owns the cells (what is promised, in numbers) and the policy that is the evidence alone. `tests/properties` runs the same cells, smaller.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.stats import binom, norm

from campaigns.deciding import DecidePolicy
from campaigns.rollouts import Bursts, Decision, Ending, PodLook, Policy, Tail, Traffic, run
from modelcycle.stats.dispersion import Dispersion, accumulate
from modelcycle.stats.evidence import Counts, Design, Evidence, Look, log_promote, log_rollback, observe
from modelcycle.stats.planner import requests_until_promotion, requests_until_rollback

SEED: Final = 20261125
ROLLOUTS: Final = 2000
DESIGN: Final = Design()
NONE: Final = Counts()
MARGIN: Final = 0.999
"""A promise about a probability is broken when so many of the rollouts would break it with a chance below 0.1 %."""


@dataclass(slots=True)
class EvidencePolicy:
    """The evidence with the dispersion guard, as the operator keeps it. `ends` are the decisions it may take."""

    ends: frozenset[Decision] = frozenset(Decision)
    design: Design = DESIGN
    guard: bool = True
    evidence: Evidence = Evidence()
    dispersion: Dispersion = Dispersion()

    def look(self, at: float, pods: PodLook) -> Decision:
        """Observe, then see whether a bar is reached. `at` is not needed: evidence knows no time."""
        look = Look(_total(pods.canary), _total(pods.stable))
        self.evidence = observe(self.evidence, look, self.design, self.dispersion.phi if self.guard else 1.0)
        self.dispersion = accumulate(self.dispersion, pods.stable)
        if Decision.ROLLBACK in self.ends and log_rollback(self.evidence) >= self.design.log_rollback_at:
            return Decision.ROLLBACK
        if Decision.PROMOTE in self.ends and log_promote(self.evidence, self.design) >= self.design.log_promote_at:
            return Decision.PROMOTE
        return Decision.HOLD


def _total(pods: tuple[Counts, ...]) -> Counts:
    return Counts(sum(pod.n for pod in pods), sum(pod.events for pod in pods))


def only_rollback() -> Policy:
    """Looks on whatever P says: the strictest reading of "ever rolled back"."""
    return EvidencePolicy(frozenset({Decision.ROLLBACK}))


def only_rollback_unguarded() -> Policy:
    """The same without the dispersion guard."""
    return EvidencePolicy(frozenset({Decision.ROLLBACK}), guard=False)


def only_promotion() -> Policy:
    """Looks on whatever E says: the strictest reading of "ever promoted"."""
    return EvidencePolicy(frozenset({Decision.PROMOTE}))


@dataclass(slots=True)
class RepeatedTest:
    """What is usually done instead: a z-test of two proportions over the totals, one-sided at 1 %, anew at each look."""

    canary: Counts = NONE
    stable: Counts = NONE

    def look(self, at: float, pods: PodLook) -> Decision:
        """Add up, then test. `at` is not needed."""
        self.canary, self.stable = self.canary + _total(pods.canary), self.stable + _total(pods.stable)
        answers = self.canary.n + self.stable.n
        rate = (self.canary.events + self.stable.events) / answers
        if not 0.0 < rate < 1.0:
            return Decision.HOLD
        difference = self.canary.events / self.canary.n - self.stable.events / self.stable.n
        z = difference / math.sqrt(rate * (1.0 - rate) * (1.0 / self.canary.n + 1.0 / self.stable.n))
        return Decision.ROLLBACK if z > norm.isf(0.01) else Decision.HOLD


@dataclass(frozen=True, slots=True)
class AtMost:
    """So often, or more rarely."""

    chance: float

    def holds(self, count: int, rollouts: int) -> bool:
        """Whether `count` of `rollouts` is compatible with the promise."""
        return count <= int(binom.ppf(MARGIN, rollouts, self.chance))

    def __str__(self) -> str:
        return f"at most {self.chance:.0%}" if self.chance else "never"


@dataclass(frozen=True, slots=True)
class AtLeast:
    """So often, or more often."""

    chance: float

    def holds(self, count: int, rollouts: int) -> bool:
        """Whether `count` of `rollouts` is compatible with the promise."""
        return count >= int(binom.ppf(1.0 - MARGIN, rollouts, self.chance))

    def __str__(self) -> str:
        return f"at least {self.chance:.0%}" if self.chance < 1.0 else "always"


@dataclass(frozen=True, slots=True)
class Cell:
    """One promise: how often `decision` is taken within `limit` canary answers of such traffic."""

    name: str
    traffic: Traffic
    decision: Decision
    limit: int
    promise: AtMost | AtLeast | None
    """None: measured and told, not promised."""
    policy: Callable[[], Policy] = EvidencePolicy
    rollouts: int = ROLLOUTS


def _odds(rate: float, ratio: float) -> float:
    """The rate with `ratio` times the odds of `rate`."""
    return ratio * rate / (1.0 - rate + ratio * rate)


def _cells() -> Iterator[Cell]:
    alpha, beta = AtMost(0.01), AtMost(0.05)
    back, on = Decision.ROLLBACK, Decision.PROMOTE
    for rate in (0.0, 0.001, 0.01, 0.05):
        yield Cell(f"equal arms, {rate * 100:g} %", Traffic(rate, rate), back, 5000, alpha, only_rollback)
    half = Traffic(0.01, 0.01, 100, 100, canary_pods=3)
    yield Cell("equal arms, 1 %, half the traffic", half, back, 25000, alpha, only_rollback)
    yield Cell("equal arms, 1 %, a z-test at each look", Traffic(0.01, 0.01), back, 5000, None, RepeatedTest)
    one, five, twenty, half_late = (
        Tail(0.5, 0.298, 1.0),
        Tail(0.5, 0.421, 1.0),
        Tail(0.5, 0.824, 1.0),
        Tail(1.0, 0.5, 1.0),
    )
    for late, tail in ((1, one), (5, five), (20, twenty), (50, half_late)):
        slow = Traffic(0.001, 0.001, canary_tail=tail, stable_tail=tail)
        yield Cell(f"both arms slow, {late} % late", slow, back, 5000, alpha, only_rollback)
    unseen = Traffic(0.001, 0.001, canary_tail=five)
    yield Cell("both arms slow, 5 % late, only the canary's counted", unseen, back, 5000, None, only_rollback)
    slower = Traffic(0.001, 0.001, canary_tail=five, stable_tail=one)
    yield Cell("canary slower, 5 % late to 1 %, by 1,100 requests", slower, back, 1100, None)
    one_by_one = Traffic(0.0, 0.0, 1, 9)
    yield Cell("no errors, by 421 requests", one_by_one, on, 421, AtMost(0.0), rollouts=1)  # nothing here is random
    yield Cell("no errors, by 422 requests", one_by_one, on, 422, AtLeast(1.0), rollouts=1)
    yield Cell("1 % to 3 %, by 1,100 requests", Traffic(0.03, 0.01), back, 1100, AtLeast(0.9))
    yield Cell("equal 1 %, by 2,280 requests", Traffic(0.01, 0.01), on, 2280, None)
    yield Cell("equal 1 %, 5 % of the traffic, by 2,280", Traffic(0.01, 0.01, 10, 190), on, 2280, None)
    for rate in (0.006, 0.01, 0.05):
        twice = Traffic(_odds(rate, 2.0), rate)
        yield Cell(f"harmful: twice the odds of {rate * 100:g} %", twice, on, 5000, beta, only_promotion)
    yield Cell("harmful: 0.1 % to 1 %", Traffic(0.01, 0.001), on, 5000, beta, only_promotion)
    for pods in (3, 9):
        often = Traffic(0.005, 0.005, stable_pods=pods, bursts=Bursts(0.1, 0.3))
        yield Cell(
            f"bursts of one look, {pods} stable pods, no guard", often, back, 5000, None, only_rollback_unguarded
        )
        yield Cell(f"bursts of one look, {pods} stable pods", often, back, 5000, alpha, only_rollback)
    rare = Traffic(0.005, 0.005, bursts=Bursts(0.02, 0.3))
    yield Cell("rare bursts of one look, 3 stable pods", rare, back, 5000, None, only_rollback)
    long = Traffic(0.005, 0.005, bursts=Bursts(0.005, 0.3, looks=5.0))
    yield Cell("rare bursts of five looks, 3 stable pods", long, back, 5000, None, only_rollback)
    twice = Traffic(
        0.01, 0.005, bursts=Bursts(0.1, 0.3), canary_bursts=Bursts(0.2, 0.3)
    )  # odds of 6.8 % over those of 3.5 %
    yield Cell("harmful: twice the failures and twice the bursts", twice, on, 5000, None, only_promotion)


CELLS: Final = tuple(_cells())


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the planner says before the first look, beside how long rollouts took."""

    cell: Cell
    expected: int


def _forecasts() -> Iterator[Forecast]:
    worse, start = Traffic(0.03, 0.01), Evidence()
    cell = Cell("1 % to 3 %", worse, Decision.ROLLBACK, 20000, None, only_rollback, 500)
    yield Forecast(cell, requests_until_rollback(start, DESIGN, 0.03, 0.01, share=0.1))
    for rate in (0.001, 0.01, 0.03):
        cell = Cell(f"equal {rate * 100:g} %", Traffic(rate, rate), Decision.PROMOTE, 20000, None, only_promotion, 500)
        yield Forecast(cell, requests_until_promotion(start, DESIGN, rate, share=0.1))


FORECASTS: Final = tuple(_forecasts())


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one cell."""

    cell: Cell
    taken: tuple[int, ...]
    """Canary answers at the cell's decision, of the rollouts that ended in it."""

    @property
    def count(self) -> int:
        """Rollouts that ended in the cell's decision."""
        return len(self.taken)

    @property
    def kept(self) -> bool:
        """Whether the promise holds, if there is one."""
        return self.cell.promise is None or self.cell.promise.holds(self.count, self.cell.rollouts)


def measure(cell: Cell) -> Result:
    """Simulate the cell. Rollout number i sees the same traffic however many there are."""
    taken = (ending.canary_answers for ending in endings(cell) if ending.decision is cell.decision)
    return Result(cell, tuple(taken))


def endings(cell: Cell) -> list[Ending]:
    """How each rollout of the cell ends."""
    seeds = ([SEED, index] for index in range(cell.rollouts))
    return [run(cell.policy(), cell.traffic, cell.limit, np.random.default_rng(seed)) for seed in seeds]


DECIDED: Final = tuple(
    Cell(name, traffic, Decision.HOLD, limit, None, rollouts=200)
    for name, traffic, limit in (
        ("no errors", Traffic(0.0, 0.0), 1000),
        ("equal arms, 1 %", Traffic(0.01, 0.01), 2280),
        ("equal arms, 5 %", Traffic(0.05, 0.05), 2280),
        ("1 % to 3 %", Traffic(0.03, 0.01), 2280),
        ("bursts of one look, 3 stable pods", Traffic(0.005, 0.005, bursts=Bursts(0.1, 0.3)), 1000),
    )
)
"""Traffic on which the operator's `decide` is compared with the evidence alone."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Endings of the same rollouts, judged twice."""

    cell: Cell
    alone: list[Ending]
    decided: list[Ending]

    @property
    def equal(self) -> int:
        """Rollouts that end in the same decision at the same look."""
        return sum(one == other for one, other in zip(self.alone, self.decided, strict=True))


def compare(cell: Cell) -> Comparison:
    """Judge the cell's rollouts by the evidence alone and by `decide`."""
    return Comparison(cell, endings(cell), endings(replace(cell, policy=DecidePolicy)))


def main() -> int:
    """Print three Markdown tables, a row as soon as it is known."""
    print(
        f"Seed {SEED}; {ROLLOUTS} rollouts a cell where chance plays a part; 20 canary requests of 200 a look unless said.\n"
    )
    print("| rollouts with | decision | promised | measured | median requests | kept |\n|---|---|---|---|---|---|")
    began, kept = time.monotonic(), True
    with ProcessPoolExecutor() as pool:
        for result in pool.map(measure, CELLS):
            kept = kept and result.kept
            print(_row(result), flush=True)
        print("\n| rollouts with | decision | forecast | mean | 10 % | median | 90 % |\n|---|---|---|---|---|---|---|")
        for forecast, result in zip(FORECASTS, pool.map(measure, [item.cell for item in FORECASTS]), strict=True):
            low, median, high = np.quantile(result.taken, [0.1, 0.5, 0.9])
            figures = f"{forecast.expected} | {np.mean(result.taken):.0f} | {low:.0f} | {median:.0f} | {high:.0f}"
            print(f"| {forecast.cell.name} | {forecast.cell.decision} | {figures} |", flush=True)
        print("\n| rollouts with | promoted | rolled back | `decide` ends alike |\n|---|---|---|---|")
        for pair in pool.map(compare, DECIDED):
            kept = kept and pair.equal == pair.cell.rollouts
            on, back = (sum(e.decision is d for e in pair.decided) for d in (Decision.PROMOTE, Decision.ROLLBACK))
            print(f"| {pair.cell.name} | {on} | {back} | {pair.equal} of {pair.cell.rollouts} |", flush=True)
    print(f"\n{time.monotonic() - began:.0f} s")
    return 0 if kept else 1


def _row(result: Result) -> str:
    cell = result.cell
    promise, words = ("-", "-") if cell.promise is None else (str(cell.promise), "yes" if result.kept else "NO")
    share = f"{result.count / cell.rollouts:.2%} ({result.count} of {cell.rollouts})"
    median = f"{np.median(result.taken):.0f}" if result.count else "-"
    return f"| {cell.name} | {cell.decision} | {promise} | {share} | {median} | {words} |"


if __name__ == "__main__":
    sys.exit(main())
