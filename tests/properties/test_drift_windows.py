"""For any sequence of traffic, readings, births, deaths, restarts and outages, windows neither lose nor double what was seen."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from budget import examples
from fakes.counting_pods import BASE, OK, ROWS, CountingPod, take
from modelcycle.drift import ledger as ledgers
from modelcycle.drift.ledger import Book
from modelcycle.drift.windows import Ledger, Wish, advance
from modelcycle.metrics.port import RunId, Samples
from modelcycle.metrics.runs import fold

WISH = Wish("scrap", 20.0)


@dataclass
class Truth:
    """What a run has served, and what somebody has read of it."""

    served: int = 0
    seen: int = 0
    before_watch: int = 0


@dataclass
class Plant:
    """Pods, a clock, a stored ledger and a sampler that forgets when the operator restarts."""

    now: float = 0.0
    pods: list[CountingPod] = field(default_factory=list)
    truth: dict[RunId, Truth] = field(default_factory=dict)
    samples: Samples | None = None
    stored: str = field(default_factory=lambda: ledgers.render(Book()))
    made: int = 0

    @property
    def ledger(self) -> Ledger:
        return ledgers.parse(self.stored).counts


class ExactWindows(RuleBasedStateMachine):
    """Every pod is born while watched and can be read at once, so every count that was read must be found, once."""

    @initialize(pods=st.integers(0, 3), served=st.integers(0, 50))
    def begin(self, pods: int, served: int) -> None:
        self.plant = Plant()
        for _ in range(pods):
            self._born(-100.0).serve(served)
            self.plant.truth[self.plant.pods[-1].run].before_watch = served
        self.read_and_decide()

    def _born(self, seconds: float) -> CountingPod:
        self.plant.made += 1
        pod = CountingPod(f"pod-{self.plant.made}", BASE + seconds)
        self.plant.pods.append(pod)
        self.plant.truth[pod.run] = Truth()
        return pod

    def _read(self) -> None:
        plant = self.plant
        plant.samples = fold(plant.samples, take(plant.pods, plant.now))
        for pod in plant.pods:
            if pod.reachable:
                plant.truth[pod.run].seen = pod.counts[ROWS]

    def _decide(self) -> None:
        after = advance(self.plant.ledger, WISH, self.plant.samples)
        self.plant.stored = ledgers.render(Book(after))

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        self.plant.now += seconds

    @rule(requests=st.integers(0, 40), at=st.integers(0, 9))
    def serve(self, requests: int, at: int) -> None:
        if self.plant.pods:
            pod = self.plant.pods[at % len(self.plant.pods)]
            pod.serve(requests)
            self.plant.truth[pod.run].served += requests

    @rule(requests=st.integers(0, 40))
    def birth(self, requests: int) -> None:
        """A pod starts after the last reading and is read before it can have an older epoch than a window."""
        self.plant.now += 1
        pod = self._born(self.plant.now)
        pod.serve(requests)
        self.plant.truth[pod.run].served += requests
        self.plant.now += 1
        self.read_and_decide()

    @rule(at=st.integers(0, 9))
    def death(self, at: int) -> None:
        if self.plant.pods:
            self.plant.pods.pop(at % len(self.plant.pods))

    @rule(at=st.integers(0, 9))
    def container_restarts(self, at: int) -> None:
        if self.plant.pods:
            pod = self.plant.pods[at % len(self.plant.pods)]
            self.plant.now += 1
            pod.restart(self.plant.now)
            self.plant.truth[pod.run] = Truth()
            self.plant.now += 1
            pod.reachable = True
            self.read_and_decide()

    @rule(at=st.integers(0, 9))
    def network(self, at: int) -> None:
        if self.plant.pods:
            pod = self.plant.pods[at % len(self.plant.pods)]
            pod.reachable = not pod.reachable

    @rule()
    def read_and_decide(self) -> None:
        self.plant.now += 1
        self._read()
        self._decide()

    @rule()
    def decide_twice(self) -> None:
        self._decide()
        before = self.plant.stored
        self._decide()
        assert self.plant.stored == before, "deciding twice on the same samples wrote something"

    @precondition(lambda self: all(pod.reachable for pod in self.plant.pods))
    @rule()
    def operator_restarts_after_a_reading(self) -> None:
        """What was read of dead pods is stored; what living pods have counted is still on them."""
        self.read_and_decide()
        self.plant.samples = None
        self.read_and_decide()

    @invariant()
    def every_count_that_was_read_is_counted_once(self) -> None:
        plant = self.plant
        if plant.samples is None:
            return
        # A look far ahead ends the open window, so that all of it shows.
        ahead = fold(plant.samples, take([], plant.now + 10_000))
        done = advance(plant.ledger, WISH, ahead)
        seen = sum(max(0, truth.seen - truth.before_watch) for truth in plant.truth.values())
        assert done.totals.get(ROWS, 0) == seen
        assert done.totals.get(OK, 0) == seen

    @invariant()
    def nothing_is_counted_that_was_not_served(self) -> None:
        served = sum(truth.served for truth in self.plant.truth.values())
        assert self.plant.ledger.totals.get(ROWS, 0) <= served


ExactWindows.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=30, deadline=None)
TestExactWindows = ExactWindows.TestCase


class NeverTwice(ExactWindows):
    """With late births and restarts at any point something may go unseen, but nothing is ever counted twice."""

    @rule(requests=st.integers(0, 40))
    def birth_unseen(self, requests: int) -> None:
        self.plant.now += 1
        pod = self._born(self.plant.now)
        pod.serve(requests)
        self.plant.truth[pod.run].served += requests
        pod.reachable = False

    @rule(at=st.integers(0, 9), seconds=st.integers(0, 60))
    def pod_seems_gone(self, at: int, seconds: int) -> None:
        if self.plant.pods:
            pod = self.plant.pods.pop(at % len(self.plant.pods))
            self.read_and_decide()
            self.plant.now += seconds
            self.read_and_decide()
            self.plant.pods.append(pod)

    @rule()
    def operator_restarts(self) -> None:
        self.plant.samples = None

    @rule()
    def write_is_lost(self) -> None:
        self._read()

    @invariant()
    def every_count_that_was_read_is_counted_once(self) -> None:
        """Does not hold here."""


NeverTwice.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=30, deadline=None)
TestNeverTwice = NeverTwice.TestCase
