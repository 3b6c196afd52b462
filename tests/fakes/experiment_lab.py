"""One Experiment on `MemoryKube` in virtual time: the reconciler, the real executor and the Job controller of `fakes.jobs`.

Checks the rules of kstatus and the CRD's schema on every status it sees: a field that the API server would prune is found here.
"""

import asyncio
import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from fakes.faults import Crash
from fakes.jobs import JobController
from fakes.memory_kube import MemoryKube
from modelcycle.engine.executor import Executor
from modelcycle.engine.plan import Emit, Key
from modelcycle.experiment.reconciler import ExperimentReconciler
from modelcycle.kube.errors import ApiError
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT, JOB, MODEL_DEPLOYMENT
from modelcycle.kube.names import COMPONENT
from modelcycle.settings import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = Key("Experiment", "plant-7", "scrap")
SETTINGS = Settings(training_image="localhost/training@sha256:1", serving_image="localhost/serving@sha256:1")
MINIMAL: Mapping[str, Any] = {
    "data": {"uri": "s3://factory/scrap/train.csv", "target": "is_scrap"},
    "trainer": {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier"},
    "output": {"uri": "s3://models/scrap"},
}
DEPLOYED = "sha256:" + "1" * 64
NOT_WORSE: Mapping[str, Any] = {"notWorseThan": {"modelDeployment": "scrap", "tolerance": "0"}}
DEPTH = {"name": "max_depth", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "50"}}


def search(**fields: Any) -> dict[str, Any]:
    """A spec with one searched parameter, four trials, two at a time."""
    spec = {**copy.deepcopy(dict(MINIMAL)), "parameters": [DEPTH], "maxTrialCount": 4, "parallelTrialCount": 2}
    return {**spec, **fields}


class Events:
    """A recorder that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[Emit] = []

    async def emit(self, event: Emit) -> None:
        self.seen.append(event)


def violations(obj: Mapping[str, Any]) -> list[str]:
    """Rules of kstatus and of the condition conventions that this object's status breaks."""
    status, generation = obj.get("status") or {}, obj["metadata"]["generation"]
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    true = {name for name, c in conditions.items() if c["status"] == "True"}
    ready = conditions.get("Ready")
    rules = {
        "Ready is missing": ready is None,
        "Ready is True beside Reconciling or Stalled": "Ready" in true and bool(true & {"Reconciling", "Stalled"}),
        "Ready False without Reconciling or Stalled": "Ready" not in true and not true & {"Reconciling", "Stalled"},
        "Reconciling and Stalled together": {"Reconciling", "Stalled"} <= true,
        "a negative condition stays as False": bool(
            {"Reconciling", "Stalled", "Suspended"} & (conditions.keys() - true)
        ),
        "observedGeneration is ahead": status.get("observedGeneration", 0) > generation,
        "a condition without observedGeneration": any("observedGeneration" not in c for c in conditions.values()),
        "condition and status generations differ": any(
            c.get("observedGeneration") != status.get("observedGeneration") for c in conditions.values()
        ),
        "empty reason": any(not c["reason"] for c in conditions.values()),
        "types are not unique": len(conditions) != len(status.get("conditions") or ()),
    }
    return [rule for rule, broken in rules.items() if broken]


@cache
def status_schema() -> jsonschema.protocols.Validator:
    """The schema of `status`, with unknown fields refused instead of pruned."""
    path = Path(__file__).parents[2] / "crds" / "experiments.yaml"
    version = yaml.safe_load(path.read_text())["spec"]["versions"][0]
    return jsonschema.Draft7Validator(_closed(version["schema"]["openAPIV3Schema"]["properties"]["status"]))


def _closed(node: Any) -> Any:
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {key: _closed(value) for key, value in node.items()}
    return closed | ({"additionalProperties": False} if isinstance(node.get("properties"), dict) else {})


@dataclass
class Lab:
    """Drives one Experiment. `settle` runs until nothing moves; time goes on by what the plans ask for."""

    kube: MemoryKube = field(default_factory=MemoryKube)
    now: datetime = START
    events: Events = field(default_factory=Events)
    crashes: int = 0

    def __post_init__(self) -> None:
        self.kube.clock = lambda: self.now
        self.jobs = JobController(self.kube)
        self.reconciler = ExperimentReconciler(self.kube, SETTINGS)
        self.executor = Executor(self.kube, self.events)

    def apply(self, spec: Mapping[str, Any]) -> None:
        """Create the Experiment, or change its spec."""
        if self.kube.read(EXPERIMENT, KEY.namespace, KEY.name) is None:
            self.kube.seed(
                EXPERIMENT, KEY.namespace, {"metadata": {"name": KEY.name}, "spec": copy.deepcopy(dict(spec))}
            )
        else:
            self.kube.edit(EXPERIMENT, KEY.namespace, KEY.name, lambda o: o.update(spec=copy.deepcopy(dict(spec))))

    def deploy(self, digest: str | None = DEPLOYED) -> None:
        """The ModelDeployment `scrap` serves this model from now on; None: it serves none."""
        status = {"stable": {"uri": f"s3://models/{digest}", "digest": digest}} if digest else {}
        if self.kube.read(MODEL_DEPLOYMENT, KEY.namespace, "scrap") is None:
            body = {"metadata": {"name": "scrap"}, "spec": {}, "status": status}
            self.kube.seed(MODEL_DEPLOYMENT, KEY.namespace, body)
        else:
            self.kube.edit(MODEL_DEPLOYMENT, KEY.namespace, "scrap", lambda o: o.update(status=status))

    def reconcile(self) -> float | None:
        """One reconciliation; seconds until the next one that it asks for. A crash or an API error: at once again."""
        try:
            return asyncio.run(self._reconcile())
        except (Crash, ApiError):
            self.crashes += 1
            return 0.0

    async def _reconcile(self) -> float | None:
        world = await self.reconciler.observe(KEY, self.now)
        if world is None:
            return None
        outcome = await self.executor.run(self.reconciler.decide(world))
        self.check()
        return outcome.retry_after if outcome.result == "success" else 0.0

    def check(self) -> None:
        """The stored status keeps the rules."""
        obj = self.experiment
        if "status" in obj:
            assert violations(obj) == []
            assert [error.message for error in status_schema().iter_errors(obj["status"])] == []

    def settle(self, rounds: int = 400) -> None:
        """Reconcile and run Jobs until neither changes anything and no wait of up to ten seconds is asked for."""
        for _ in range(rounds):
            before = self.picture()
            again = self.reconcile()
            moved = self.jobs.step(self.now)
            if before == self.picture() and not moved and (again is None or again > 10):
                return
            self.now += timedelta(seconds=1)
        raise AssertionError(f"does not settle: {self.ready}")

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

    @property
    def experiment(self) -> dict[str, Any]:
        """The Experiment as stored."""
        obj = self.kube.read(EXPERIMENT, KEY.namespace, KEY.name)
        assert obj is not None
        return obj

    @property
    def status(self) -> dict[str, Any]:
        """Its status."""
        status: dict[str, Any] = self.experiment.get("status", {})
        return status

    @property
    def ready(self) -> tuple[str, str, str]:
        """Status, reason and message of Ready."""
        ready: dict[str, Any] = next((c for c in self.status.get("conditions", ()) if c["type"] == "Ready"), {})
        return ready.get("status", ""), ready.get("reason", ""), ready.get("message", "")

    @property
    def stalled(self) -> bool:
        """Whether Stalled is True."""
        return any(c["type"] == "Stalled" for c in self.status["conditions"])

    def job_names(self) -> list[str]:
        """Ends of the names of the Jobs that exist."""
        return sorted(j["metadata"]["name"].split("-", 2)[2] for j in self.kube.find(JOB))

    def ledger(self) -> list[str]:
        """All ledger lines."""
        return [
            one
            for m in self.kube.find(CONFIG_MAP, None, {COMPONENT: "ledger"})
            for one in m["data"]["trials.jsonl"].splitlines()
        ]
