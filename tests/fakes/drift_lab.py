"""A DriftMonitor, its deployment's pods and an operator that can be restarted, all in memory. Readings and time come from the test."""

from dataclasses import dataclass, field
from typing import Any

from fakes.counting_pods import BASE, PROFILE, CountingPod, at, take
from fakes.judged_pods import Factory, Table, blind_profile
from fakes.memory_kube import MemoryKube
from modelcycle.drift.reconciler import MonitorReconciler
from modelcycle.engine.executor import Executor, Outcome
from modelcycle.engine.plan import Emit, Key
from modelcycle.kube import kinds
from modelcycle.metrics.port import Round, SourceUnavailable, Target
from modelcycle.metrics.profiles import ProfileMemory
from modelcycle.metrics.sampler import Sampler
from modelcycle.settings import Settings
from modelcycle_bundle.profile import Profile

KEY = Key("DriftMonitor", "plant-7", "scrap")


@dataclass
class Plant:
    """One monitor, its deployment's pods and an operator that can be restarted."""

    kube: MemoryKube = field(default_factory=MemoryKube)
    pods: list[CountingPod] = field(default_factory=list)
    events: list[Emit] = field(default_factory=list)
    now: float = 0.0
    outage: str | None = None
    profiles: dict[str, Profile] = field(default_factory=lambda: {PROFILE: blind_profile(), "ffff": blind_profile()})
    """What the pods would give, by the hash in their counts."""

    def __post_init__(self) -> None:
        self.kube.clock = lambda: at(self.now)
        self.restart_operator()

    def restart_operator(self) -> None:
        self.sampler: Sampler[Key] = Sampler(self, lambda: at(self.now))
        self.memory = ProfileMemory()
        settings = Settings("t@sha256:0", "s@sha256:0")
        self.reconciler = MonitorReconciler(self.kube, settings, self.sampler, self.memory)

    async def read(self, target: Target, now: Any) -> Round:
        if self.outage:
            raise SourceUnavailable(self.outage)
        for name, profile in self.profiles.items():
            self.memory.keep(name, profile, 1)
        return take(self.pods, self.now, target.deployment)

    async def emit(self, event: Emit) -> None:
        self.events.append(event)

    def apply(self, **spec: Any) -> None:
        body = {"metadata": {"name": "scrap"}, "spec": {"targetRef": {"name": "scrap"}, **spec}}
        self.kube.seed(kinds.DRIFT_MONITOR, "plant-7", body)

    def deploy(self, digest: str = "") -> None:
        body: dict[str, Any] = {"metadata": {"name": "scrap"}, "spec": {}}
        self.kube.seed(kinds.MODEL_DEPLOYMENT, "plant-7", body)
        if digest:
            self.kube.set_status(kinds.MODEL_DEPLOYMENT, "plant-7", "scrap", {"stable": {"digest": digest}})

    async def reconcile(self) -> Outcome:
        world = await self.reconciler.observe(KEY, at(self.now))
        assert world is not None
        return await Executor(self.kube, self).run(self.reconciler.decide(world))

    async def look(self, seconds: float) -> Outcome:
        """A reading at `seconds` and the reconciliations that follow it until nothing changes."""
        self.now = seconds
        if KEY in self.sampler._targets:
            await self.sampler._read_once(KEY)
        await self.reconcile()
        before = self.objects()
        outcome = await self.reconcile()
        assert self.objects() == before, "a second reconciliation of the same facts wrote something"
        return outcome

    def objects(self) -> list[Any]:
        found = [*self.kube.find(kinds.DRIFT_MONITOR), *self.kube.find(kinds.CONFIG_MAP)]
        return [obj["metadata"]["resourceVersion"] for obj in found]

    @property
    def status(self) -> dict[str, Any]:
        found = self.kube.read(kinds.DRIFT_MONITOR, "plant-7", "scrap")
        assert found is not None
        status: dict[str, Any] = found.get("status", {})
        return status

    def condition(self, kind: str) -> dict[str, Any]:
        return next((c for c in self.status["conditions"] if c["type"] == kind), {})

    @property
    def reason(self) -> tuple[str, str]:
        ready = self.condition("Ready")
        return ready["status"], ready["reason"]

    def counts_map(self) -> dict[str, Any]:
        (found,) = self.kube.find(kinds.CONFIG_MAP, "plant-7")
        return dict(found)


LIVE = "sha256:" + "a" * 64
IMPORTANT = [{"name": "temperature", "importance": "high", "owner": "line-3"}]
RETRAIN = {
    "experimentTemplateRef": {"name": "scrap"},
    "data": {"uri": "s3://factory/scrap/latest.json"},
}


class Shift:
    """A monitor of one pod in windows of a minute. `window` serves rows, ends the window and lets the operator look."""

    def __init__(self, **spec: Any) -> None:
        self.plant = Plant()
        self.factory = Factory(0)
        self.plant.profiles = {self.factory.profile.hash: self.factory.profile}
        self.pod = self.factory.pod("a", BASE - 1000)
        self.plant.pods = [self.pod]
        self.plant.apply(**{"window": {"length": "60s"}, "interval": "2s", **spec})
        self.plant.deploy(LIVE)
        self.minute = 0

    async def window(self, table: Table, answers: Table | None = None) -> None:
        if not self.minute:
            await self.plant.look(0)
            await self.plant.look(0)
        self.pod.predict(table, self.factory.answers(table if answers is None else answers))
        self.minute += 1
        await self.plant.look(60 * self.minute)

    def table(self, rows: int = 600, **by: float) -> Table:
        """Rows with some columns shifted."""
        made = self.factory.rows(rows)
        for name, shift in by.items():
            made[:, self.factory.names.index(name)] += shift
        return made

    @property
    def alarms(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.plant.status.get("alarms", [])
        return found

    @property
    def message(self) -> str:
        return str(self.plant.condition("Ready")["message"])

    def alerts(self) -> list[tuple[str, str]]:
        return [(event.type.value, event.reason) for event in self.plant.events]
