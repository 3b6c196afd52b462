"""One retrain on `MemoryKube` in virtual time: the real state machine and executor, the Job controller of `fakes.jobs`, real Experiments.

Stands in for the rest of the DriftMonitor: keeps the state in a ConfigMap that is written before the step's effects, and says which
alarm stands.
"""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fakes import jobs as job_programs
from fakes.experiment_lab import SETTINGS, Events, search
from fakes.faults import Crash
from fakes.jobs import DATA_DIGEST, JobController
from fakes.memory_kube import MemoryKube
from modelcycle.api import driftmonitor
from modelcycle.api.driftmonitor import Priority
from modelcycle.drift.retrain import RetrainStep, advance
from modelcycle.drift.retrain_observe import observe
from modelcycle.drift.retrain_state import RetrainState, RetrainWish, from_plain, to_plain
from modelcycle.engine.executor import Executor, Result
from modelcycle.engine.plan import Action, Apply, Create, Key, Plan
from modelcycle.experiment.reconciler import ExperimentReconciler
from modelcycle.jobs.manifests import JobDefaults
from modelcycle.kube.errors import ApiError
from modelcycle.kube.kinds import CONFIG_MAP, DRIFT_MONITOR, EXPERIMENT, JOB, MODEL_DEPLOYMENT
from modelcycle_bundle.contract import InspectResult, InspectTask, TrialResult, TrialTask

START = datetime(2026, 11, 23, 8, tzinfo=UTC)
NAMESPACE = "plant-7"
LATEST = "s3://factory/scrap/latest.json"
NEW_TABLE = "s3://factory/scrap/2026-11-23.csv"
NEW_DIGEST = "sha256:" + "e" * 64
LIVE_MODEL = "sha256:" + "1" * 64
STORED = "counts"
JOBS = JobDefaults("localhost/t@sha256:1")
WISH = RetrainWish(
    "3c9e1f", Priority.P2, START - timedelta(hours=1), START, "temperature above 85: 2 % -> 19 % (PSI 0.41)"
)


def found(**facts: Any) -> InspectResult:
    """What a look at good new data reports."""
    return replace(InspectResult(False, None, None, NEW_DIGEST, 5000, 31, 4000, NEW_TABLE), **facts)


@dataclass
class Lab:
    """`settle` runs everything until nothing moves. `wish` is the alarm that stands."""

    kube: MemoryKube = field(default_factory=MemoryKube)
    now: datetime = START
    wish: RetrainWish | None = WISH
    events: Events = field(default_factory=Events)
    data: InspectResult | str = field(default_factory=found)
    """What a look at the new data reports from now on."""
    looks: list[InspectTask] = field(default_factory=list)
    step: RetrainStep = field(default_factory=lambda: RetrainStep(RetrainState()))

    def __post_init__(self) -> None:
        self.kube.clock = lambda: self.now
        self.jobs = JobController(self.kube)
        self.jobs.programs.inspect = self._inspect
        self.jobs.programs.trial = self._trial
        self.executor = Executor(self.kube, self.events)
        self.experiments = ExperimentReconciler(self.kube, SETTINGS)
        template = {
            "metadata": {"name": "scrap"},
            "spec": search(maxTrialCount=2),
            "status": {"data": {"digest": DATA_DIGEST}, "model": {"uri": "s3://m/1", "digest": LIVE_MODEL}},
        }
        self.kube.seed(EXPERIMENT, NAMESPACE, template)
        deployment = {
            "metadata": {"name": "scrap"},
            "spec": {"model": {"experimentRef": {"name": "scrap"}}},
            "status": {"stable": {"uri": "s3://m/1", "digest": LIVE_MODEL}},
        }
        self.kube.seed(MODEL_DEPLOYMENT, NAMESPACE, deployment)
        self.configure()

    def configure(self, mode: str = "act", **retrain: Any) -> None:
        """Create the monitor, or change how it retrains. `data` gives the whole of `retrain.data`."""
        actions = {"retrain": {"experimentTemplateRef": {"name": "scrap"}, "data": {"uri": LATEST}, **retrain}}
        spec = {"targetRef": {"name": "scrap"}, "mode": mode, "actions": actions}
        if self.kube.read(DRIFT_MONITOR, NAMESPACE, "scrap") is None:
            self.kube.seed(DRIFT_MONITOR, NAMESPACE, {"metadata": {"name": "scrap"}, "spec": spec})
        else:
            self.kube.edit(DRIFT_MONITOR, NAMESPACE, "scrap", lambda o: o.update(spec=spec))

    def _inspect(self, task: InspectTask) -> InspectResult | str:
        if task.output_uri is not None:
            return replace(job_programs.inspected(task), data_digest=task.data.digest)
        self.looks.append(task)
        return self.data

    @staticmethod
    def _trial(task: TrialTask) -> TrialResult:
        return replace(job_programs.trained(task), data_digest=task.data.digest)

    # One look --------------------------------------------------------------------------------------------------------

    def reconcile(self) -> bool:
        """One look at the monitor; whether all of its plan landed. An operator that dies starts anew with the next look."""
        return _survived(self._reconcile())

    async def _reconcile(self) -> bool:
        raw = await self.kube.get(DRIFT_MONITOR, NAMESPACE, "scrap")
        target = await self.kube.get(MODEL_DEPLOYMENT, NAMESPACE, "scrap")
        stored = await self.kube.get(CONFIG_MAP, NAMESPACE, STORED)
        assert raw is not None
        state = from_plain(json.loads(stored["data"]["retrain"])) if stored else RetrainState()
        world = await observe(self.kube, JOBS, driftmonitor.parse(raw), target, state, self.now)
        self.step = advance(world, self.wish)
        write = _write(stored, json.dumps(to_plain(self.step.state), sort_keys=True))
        return (await self.executor.run(Plan((*write, *self.step.actions)))).result is Result.SUCCESS

    async def _run_experiments(self) -> bool:
        landed = True
        for experiment in self.kube.find(EXPERIMENT):
            if experiment["metadata"]["name"] == "scrap":
                continue
            key = Key("Experiment", NAMESPACE, experiment["metadata"]["name"])
            world = await self.experiments.observe(key, self.now)
            if world is not None:
                outcome = await self.executor.run(self.experiments.decide(world))
                landed = landed and outcome.result is Result.SUCCESS
        return landed

    def settle(self, rounds: int = 200) -> None:
        """Look, run Jobs and Experiments, until none changes anything. Time goes on a second a round."""
        for _ in range(rounds):
            before = self.picture()
            landed = self.reconcile()
            moved = self.jobs.step(self.now)
            landed = _survived(self._run_experiments()) and landed
            if before == self.picture() and not moved and landed:
                return
            self.now += timedelta(seconds=1)
        raise AssertionError(f"does not settle: {self.step}")

    def wait(self, seconds: float) -> None:
        """Let time pass, then settle."""
        self.now += timedelta(seconds=seconds)
        self.settle()

    def picture(self) -> list[tuple[str, str, str]]:
        """Names and versions of everything."""
        kinds = (EXPERIMENT, JOB, CONFIG_MAP)
        return [
            (k.kind, o["metadata"]["name"], o["metadata"]["resourceVersion"]) for k in kinds for o in self.kube.find(k)
        ]

    # What there is -----------------------------------------------------------------------------------------------

    @property
    def reason(self) -> str:
        """What is said."""
        return self.step.finding.reason if self.step.finding else ""

    @property
    def message(self) -> str:
        """The words of it."""
        return self.step.finding.message if self.step.finding else ""

    def retrains(self) -> list[dict[str, Any]]:
        """The Experiments that were made."""
        return [e for e in self.kube.find(EXPERIMENT) if e["metadata"]["name"] != "scrap"]

    def look_jobs(self) -> list[dict[str, Any]]:
        """The Jobs of the monitor."""
        return self.kube.find(JOB, NAMESPACE, {"modelcycle.dev/monitor": "scrap"})


def _survived(work: Coroutine[Any, Any, bool]) -> bool:
    try:
        return asyncio.run(work)
    except (Crash, ApiError):
        return False


def _write(stored: Mapping[str, Any] | None, text: str) -> tuple[Action, ...]:
    body: dict[str, Any] = {"metadata": {"name": STORED, "namespace": NAMESPACE}, "data": {"retrain": text}}
    if stored is None:
        return (Create(CONFIG_MAP, body),)
    if stored["data"]["retrain"] == text:
        return ()
    body["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
    return (Apply(CONFIG_MAP, body, stored["metadata"]["uid"]),)
