"""A crash, a lost response or a conflict at every write: the end is the same as without (scenarios 1-6, 23, 28).

The reconciler here counts in its status before it acts (write-ahead), as ours do; what is shown is the engine's half of that contract.
"""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.engine import CountingObserver, KeepingRecorder, LiveReconciler
from fakes.faults import Crash, RaiseAt, conflict, crash, lost_response
from fakes.memory_kube import MemoryKube
from modelcycle.engine.controller import Controller
from modelcycle.engine.executor import Result
from modelcycle.engine.plan import Action, Create, Key, Plan, WriteStatus
from modelcycle.engine.workqueue import WorkQueue
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT
from modelcycle.kube.port import Object

KEY = Key("Experiment", "ns", "e")
CHILDREN = 3
WRITES = 2 * CHILDREN + 1


def clock() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def world() -> MemoryKube:
    kube = MemoryKube()
    kube.seed(EXPERIMENT, "ns", {"metadata": {"name": "e"}, "spec": {"children": CHILDREN}})
    return kube


def reconciler(kube: MemoryKube) -> LiveReconciler:
    """Per pass: note the intent, make what was intended, and say so once all is done."""

    def decide(live: Object) -> Plan:
        status = dict(live.get("status", {}))
        made = {o["metadata"]["name"] for o in kube.find(CONFIG_MAP)}
        intended = int(status.get("intended", 0))
        missing = [f"c{n}" for n in range(intended) if f"c{n}" not in made]
        actions: list[Action] = [
            Create(CONFIG_MAP, {"metadata": {"name": name, "namespace": "ns"}, "data": {}}) for name in missing
        ]
        version = live["metadata"]["resourceVersion"]
        if not missing and intended < live["spec"]["children"]:
            intent = {**status, "intended": intended + 1}
            body = {"metadata": {"name": f"c{intended}", "namespace": "ns"}, "data": {}}
            actions += [WriteStatus(EXPERIMENT, "ns", "e", version, intent, status), Create(CONFIG_MAP, body)]
        if not missing and intended == live["spec"]["children"]:
            actions.append(WriteStatus(EXPERIMENT, "ns", "e", version, {**status, "done": True}, status))
        return Plan(tuple(actions))

    return LiveReconciler(kube, decide)


async def settle(kube: MemoryKube) -> int:
    """Reconcile, restarting after each crash, until a pass writes nothing; the number of passes."""
    for passes in range(1, 40):
        made = reconciler(kube)
        queue = WorkQueue(CountingObserver(), lambda: 0.0)
        recorder = KeepingRecorder()
        controller = Controller(kube, {"Experiment": made}, queue, recorder, CountingObserver(), clock=clock)
        before = len(kube.writes)
        try:
            outcome = await controller.process(KEY)
        except Crash:
            continue
        if outcome.result is Result.SUCCESS and len(kube.writes) == before:
            return passes
    raise AssertionError("never settled")


def end_state(kube: MemoryKube) -> tuple[object, ...]:
    live = kube.read(EXPERIMENT, "ns", "e")
    assert live is not None
    return live["status"], sorted(o["metadata"]["name"] for o in kube.find(CONFIG_MAP)), live["spec"]


@pytest.mark.parametrize("position", range(WRITES))
@pytest.mark.parametrize("fault", ["crash before", "crash after", "lost", "conflict", "unreachable"])
async def test_one_fault_at_every_write_engineering_1_2_3_4_5(fault: str, position: int) -> None:
    undisturbed, disturbed = world(), world()
    await settle(undisturbed)
    hook = RaiseAt(
        position, {"lost": lost_response, "conflict": conflict, "unreachable": lost_response}.get(fault, crash)
    )
    if fault in ("crash after", "lost"):
        disturbed.after_write = hook
    else:
        disturbed.before_write = hook
    await settle(disturbed)
    assert hook.fired
    assert end_state(disturbed) == end_state(undisturbed)


@given(
    before=st.sets(st.integers(0, 2 * WRITES), max_size=6),
    after=st.sets(st.integers(0, 2 * WRITES), max_size=6),
)
async def test_any_set_of_crashes_ends_the_same_engineering_6(before: set[int], after: set[int]) -> None:
    undisturbed, disturbed = world(), world()
    await settle(undisturbed)

    class At:
        def __init__(self, positions: set[int]) -> None:
            self.positions, self.seen = positions, -1

        def __call__(self, call: object) -> None:
            self.seen += 1
            if self.seen in self.positions:
                raise crash()

    disturbed.before_write, disturbed.after_write = At(before), At(after)
    await settle(disturbed)
    assert end_state(disturbed) == end_state(undisturbed)
