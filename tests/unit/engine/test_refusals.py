"""A refused write is told in status, without flapping, and is forgotten as soon as a whole plan lands."""

from datetime import UTC, datetime
from typing import Any

from fakes.engine import CountingObserver, KeepingRecorder, LiveReconciler
from fakes.memory_kube import MemoryKube
from modelcycle.api import conditions
from modelcycle.api.conditions import Condition, Outcome
from modelcycle.engine.controller import Controller
from modelcycle.engine.executor import Result
from modelcycle.engine.plan import Create, Key, Plan, WriteStatus
from modelcycle.engine.workqueue import WorkQueue
from modelcycle.kube import errors
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT
from modelcycle.kube.port import Object

KEY = Key("Experiment", "ns", "e")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def decide(world: Object) -> Plan:
    """Searching, with a domain condition and a child: what a kind of ours would do."""
    previous = world.get("status", {})
    built = conditions.build(
        previous.get("conditions", ()),
        outcome=Outcome.RECONCILING,
        reason="Searching",
        message="0/1 trials done",
        generation=1,
        now=NOW,
        domain=[Condition("Succeeded", False, "Searching", "")],
    )
    status = {**previous, "observedGeneration": 1, "conditions": built}
    version = world["metadata"]["resourceVersion"]
    write = WriteStatus(EXPERIMENT, "ns", "e", version, status, previous)
    return Plan((write, Create(CONFIG_MAP, {"metadata": {"name": "c", "namespace": "ns"}})))


class Bench:
    def __init__(self) -> None:
        self.kube = MemoryKube()
        self.kube.seed(EXPERIMENT, "ns", {"metadata": {"name": "e"}, "spec": {}})
        self.kube.before_write = self._quota
        self.full = True
        self.queue = WorkQueue(CountingObserver(), lambda: 0.0)
        reconcilers = {"Experiment": LiveReconciler(self.kube, decide)}
        self.controller = Controller(
            self.kube, reconcilers, self.queue, KeepingRecorder(), CountingObserver(), clock=lambda: NOW
        )

    def _quota(self, call: Any) -> None:
        if self.full and call.kind == CONFIG_MAP:
            raise errors.Forbidden("exceeded quota: team", status=403)

    async def look(self) -> Result:
        return (await self.controller.process(KEY)).result

    def object(self) -> dict[str, Any]:
        return dict(self.kube.read(EXPERIMENT, "ns", "e") or {})

    def conditions(self) -> dict[str, tuple[str, str, str]]:
        return {c["type"]: (c["status"], c["reason"], c["message"]) for c in self.object()["status"]["conditions"]}


async def test_status_says_what_was_refused() -> None:
    bench = Bench()
    assert await bench.look() is Result.REFUSED
    said = bench.conditions()
    assert said["Ready"] == ("False", "WriteRefused", "the API server refuses a change: exceeded quota: team")
    assert said["Stalled"] == ("True", *said["Ready"][1:])
    assert "Reconciling" not in said
    assert said["Succeeded"] == ("False", "Searching", "")


async def test_a_further_refusal_writes_nothing() -> None:
    bench = Bench()
    await bench.look()
    version = bench.object()["metadata"]["resourceVersion"]
    assert await bench.look() is Result.REFUSED
    assert await bench.look() is Result.REFUSED
    assert bench.object()["metadata"]["resourceVersion"] == version


async def test_status_tells_of_the_work_again_as_soon_as_the_write_lands() -> None:
    bench = Bench()
    await bench.look()
    bench.full = False
    outcome = await bench.controller.process(KEY)
    assert (outcome.result, outcome.retry_after) == (Result.SUCCESS, 0.0)
    bench.kube.remove(CONFIG_MAP, "ns", "c")
    assert await bench.look() is Result.SUCCESS
    said = bench.conditions()
    assert said["Ready"][1] == "Searching"
    assert "Stalled" not in said
