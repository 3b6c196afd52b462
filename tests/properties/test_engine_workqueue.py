"""Any interleaving of adds, delays, takes and ends: no key is lost, none is worked on twice at once, none waits behind later ones."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from budget import examples
from modelcycle.engine.plan import Key
from modelcycle.engine.workqueue import KeyQueue

KEYS = st.sampled_from([Key("Experiment", "ns", name) for name in "abcd"])


class QueueMachine(RuleBasedStateMachine):
    """The model: which keys are owed a run from now on, when others will be, and which are being worked on."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = KeyQueue()
        self.now = 0.0
        self.owed: set[Key] = set()
        self.due: dict[Key, float] = {}
        self.busy: set[Key] = set()

    @rule(key=KEYS)
    def add(self, key: Key) -> None:
        self.queue.add(key)
        self.owed.add(key)

    @rule(key=KEYS, delay=st.floats(0, 10))
    def add_later(self, key: Key, delay: float) -> None:
        self.queue.add_at(key, self.now + delay)
        self.due[key] = min(self.due.get(key, float("inf")), self.now + delay)

    @rule(seconds=st.floats(0, 5))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.queue.release(self.now)
        for key in [key for key, when in self.due.items() if when <= self.now]:
            del self.due[key]
            self.owed.add(key)

    @rule()
    def take(self) -> None:
        key = self.queue.take()
        if key is None:
            assert not self.owed - self.busy, "an owed key was not handed out"
            return
        assert key not in self.busy, "a key is worked on twice at once"
        assert key in self.owed, "a key was handed out that nobody asked for"
        self.busy.add(key)
        self.owed.discard(key)
        self.due.pop(key, None)

    @rule(key=KEYS)
    def finish(self, key: Key) -> None:
        if key in self.busy:
            self.queue.done(key)
            self.busy.discard(key)

    @invariant()
    def the_next_moment_is_known(self) -> None:
        assert self.queue.next_moment() == min(self.due.values(), default=None)

    @invariant()
    def depth_counts_what_can_be_taken(self) -> None:
        assert self.queue.depth == len(self.owed - self.busy)

    def teardown(self) -> None:
        """Everything owed is handed out in the end."""
        self.time_passes(100)
        for key in list(self.busy):
            self.finish(key)
        while self.owed:
            self.take()


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=examples(100), stateful_step_count=40, deadline=None)
