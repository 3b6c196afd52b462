"""A laboratory for the ModelDeployment reconciler: MemoryKube, workloads, virtual time, a monitor that looks at every instant.

Owns the loop observe -> decide -> execute -> tick and the invariants that must hold after every single write and tick. A crash ends one
pass; the next starts from nothing, as a restarted operator does.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import yaml

from fakes.arms import Arms
from fakes.faults import Crash, RaiseAt, Write, no_fault
from fakes.memory_kube import MemoryKube
from fakes.workloads import Behaviour, Workloads
from modelcycle.api.rollout import Source
from modelcycle.deployment import evidence_entries
from modelcycle.deployment.analysis import AnalysisState
from modelcycle.deployment.effects import DOOR_LINGER
from modelcycle.deployment.manifests import evidence_name
from modelcycle.deployment.reconciler import DeploymentReconciler
from modelcycle.engine.executor import Executor, Outcome, Result
from modelcycle.engine.plan import Emit, Key, Plan
from modelcycle.kube.kinds import (
    ADMISSION_POLICY,
    ADMISSION_POLICY_BINDING,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    EXPERIMENT,
    MODEL_DEPLOYMENT,
    SERVICE,
    Kind,
)
from modelcycle.kube.port import Object
from modelcycle.metrics.sampler import Sampler
from modelcycle.settings import Settings

MANIFESTS: Final = Path(__file__).parents[2] / "manifests" / "base"
NAMESPACE: Final = "plant-7"
NAME: Final = "scrap"
SYSTEM: Final = "modelcycle-system"
UID: Final = "6f1c2b7e-0000-4000-8000-000000000000"
PEM: Final = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"
OTHER_PEM: Final = PEM.replace("MFkw", "MFkx")
IMAGE: Final = "localhost/modelcycle-serving@sha256:" + "1" * 64


def digest(letter: str) -> str:
    """A digest for a test, made of one hex digit."""
    return f"sha256:{letter * 64}"


def model(letter: str) -> dict[str, Any]:
    """`spec.model` by URI."""
    return {"uri": f"s3://models/scrap/sha256-{letter * 64}", "digest": digest(letter)}


@dataclass
class Silent:
    """Keeps Events instead of writing them."""

    events: list[Emit] = field(default_factory=list)

    async def emit(self, event: Emit) -> None:
        self.events.append(event)


@dataclass
class Lab:
    """One ModelDeployment and everything around it."""

    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    """By digest; an absent one is healthy."""
    serving_image: str = IMAGE
    allowed_server_images: tuple[str, ...] = ("*",)
    now: datetime = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
    recorder: Silent = field(default_factory=Silent)
    passes: int = 0
    faulty: int = 0
    statuses: list[dict[str, Any]] = field(default_factory=list)
    _has_served: bool = False

    def __post_init__(self) -> None:
        self.kube = MemoryKube(lambda: self.now)
        self.arms = Arms(self.kube, NAMESPACE, NAME, lambda: self.now)
        self.workloads = Workloads(self.kube, lambda d, image: self.behaviours.get(d, Behaviour.HEALTHY))
        self.kube.after_write = self._monitor
        self.trust(PEM)

    def trust(self, pem: str | None) -> None:
        """Set the trust entry of the namespace, or remove it."""
        data = {"other": PEM} | ({NAMESPACE: pem} if pem else {})
        if self.kube.read(CONFIG_MAP, SYSTEM, "modelcycle-trust"):
            self.kube.remove(CONFIG_MAP, SYSTEM, "modelcycle-trust")
        self.kube.seed(CONFIG_MAP, SYSTEM, {"metadata": {"name": "modelcycle-trust"}, "data": data})

    def apply(self, **spec: Any) -> None:
        """Create the ModelDeployment or replace its spec, as `kubectl apply` does. Without steps it is replaced as soon as it is Ready."""
        strategy = spec.get("strategy", {})
        spec["strategy"] = {**strategy, "canary": {"steps": [], **strategy.get("canary", {})}}
        if self.kube.read(MODEL_DEPLOYMENT, NAMESPACE, NAME) is None:
            self.kube.seed(MODEL_DEPLOYMENT, NAMESPACE, {"metadata": {"name": NAME, "uid": UID}, "spec": spec})
        else:
            self.kube.edit(MODEL_DEPLOYMENT, NAMESPACE, NAME, lambda body: body.update(spec=spec))

    def enforce_policies(self) -> None:
        """The admission policies of manifests/base stand as they are committed."""
        for body in yaml.safe_load_all((MANIFESTS / "policies.yaml").read_text()):
            kind = ADMISSION_POLICY_BINDING if body["kind"].endswith("Binding") else ADMISSION_POLICY
            self.kube.seed(kind, "", body)

    def experiment(self, letter: str | None, **spec: Any) -> None:
        """An Experiment `scrap` that has published a model, or not yet."""
        if self.kube.read(EXPERIMENT, NAMESPACE, NAME) is None:
            self.kube.seed(EXPERIMENT, NAMESPACE, {"metadata": {"name": NAME}, "spec": spec})
        status = {"model": model(letter)} if letter else {}
        self.kube.set_status(EXPERIMENT, NAMESPACE, NAME, status)

    def fault(self, hook: RaiseAt, *, landed: bool) -> None:
        """Let the hook raise after a write landed, or before it does; the monitor looks first."""

        def both(write: Write) -> None:
            self._monitor(write)
            hook(write)

        if landed:
            self.kube.after_write = both
        else:
            self.kube.before_write = hook

    def no_fault(self) -> None:
        """Forget the fault."""
        self.kube.before_write = no_fault
        self.kube.after_write = self._monitor

    async def plan(self) -> Plan | None:
        """What a fresh operator process would do now; None when the object is gone."""
        settings = Settings(
            training_image="t",
            serving_image=self.serving_image,
            operator_namespace=SYSTEM,
            allowed_server_images=self.allowed_server_images,
        )
        samplers = {Source.PODS: cast(Sampler[Key], self.arms)}
        reconciler = DeploymentReconciler(self.kube, settings, samplers)
        world = await reconciler.observe(Key("ModelDeployment", NAMESPACE, NAME), self.now)
        if world is None:
            return None
        plan = reconciler.decide(world)
        assert reconciler.decide(world) == plan
        return plan

    async def reconcile(self) -> Outcome | None:
        """One pass of a fresh operator process; None when it died in the middle."""
        self.passes += 1
        try:
            plan = await self.plan()
            if plan is None:
                return None
            return await Executor(self.kube, self.recorder).run(plan)
        except Crash:
            return None

    async def run(self, *, seconds: float = 90, step: float = 1.0, until: Callable[[], bool] | None = None) -> None:
        """Reconcile, tick and let time pass; to the end or until it holds.

        When nothing moves, time jumps to the moment the plan asked for: what needs a look nobody asked for never happens.
        """
        end = self.now + timedelta(seconds=seconds)
        while self.now < end and not (until and until()):
            before = len(self.kube.writes) + self.workloads.changes
            outcome = await self.reconcile()
            self.workloads.tick()
            self.arms.serve(step)
            self.arms.read()
            self._monitor(None)
            passed = step
            if (
                outcome
                and outcome.result is Result.SUCCESS
                and before == len(self.kube.writes) + self.workloads.changes
                and not (self.arms.tracked and self.arms.rate)
            ):
                remaining = (end - self.now) / timedelta(seconds=1)
                passed = max(step, min(outcome.retry_after or remaining, remaining))
            self.now += timedelta(seconds=passed)
            if passed > step:
                self.arms.read()  # the sampler went on reading meanwhile

    async def close_doors(self) -> None:
        """Let the time pass for which doors stay open behind the last change."""
        self.now += DOOR_LINGER
        for _ in range(2):  # the first may meet a fault
            await self.reconcile()

    async def quiet(self) -> list[Write]:
        """Writes of three passes at rest, after the doors have closed: none at a fixpoint."""
        await self.close_doors()
        before = len(self.kube.writes)
        for _ in range(3):
            await self.reconcile()
            self.workloads.tick()
            self.now += timedelta(seconds=40)
        return self.kube.writes[before:]

    @property
    def status(self) -> dict[str, Any]:
        body = self.kube.read(MODEL_DEPLOYMENT, NAMESPACE, NAME)
        assert body is not None
        found: dict[str, Any] = body.get("status", {})
        return found

    @property
    def evidence_map(self) -> dict[str, Any] | None:
        """The ConfigMap that keeps the evidence of a rollout."""
        return self.kube.read(CONFIG_MAP, NAMESPACE, evidence_name(NAME, UID))

    @property
    def evidence(self) -> AnalysisState | None:
        """The evidence that status names."""
        return evidence_entries.read(self.status, (self.evidence_map or {}).get("data", {})).analysis

    def condition(self, kind: str) -> dict[str, Any] | None:
        return next((c for c in self.status.get("conditions", ()) if c["type"] == kind), None)

    @property
    def reason(self) -> str:
        """Reason of Ready."""
        ready = self.condition("Ready")
        return ready["reason"] if ready else ""

    @property
    def serving(self) -> str:
        """First letter of the digest that the Service points to; "" for none."""
        service = self.kube.read(SERVICE, NAMESPACE, NAME)
        wanted = service["spec"]["selector"]["modelcycle.dev/revision"] if service else ""
        found = [r for r in self.kube.find(CONTROLLER_REVISION, NAMESPACE) if r["data"]["hash"] == wanted]
        return str(found[0]["data"]["digest"])[7] if found else ""

    def sizes(self) -> dict[str, int]:
        """Replicas asked for, by first letter of the digest."""
        by_hash = {r["data"]["hash"]: r["data"]["digest"][7] for r in self.kube.find(CONTROLLER_REVISION, NAMESPACE)}
        deployments = self.kube.find(DEPLOYMENT, NAMESPACE)
        pairs = [(d["spec"]["selector"]["matchLabels"]["modelcycle.dev/revision"], d) for d in deployments]
        return {by_hash[h]: d["spec"]["replicas"] for h, d in pairs if h in by_hash}

    def end_state(self) -> dict[str, Any]:
        """What must be the same whatever happened on the way: children without history and evidence, and the words of the status."""
        bodies = [
            (kind, body)
            for kind in (SERVICE, DEPLOYMENT, CONFIG_MAP)
            for body in self.kube.find(kind, NAMESPACE)
            if body["metadata"]["name"] != evidence_name(NAME, UID)
        ]
        children = {
            f"{kind.kind}/{body['metadata']['name']}": body.get("spec") or body.get("data")
            for kind, body in bodies
            if kind is not DEPLOYMENT or body["spec"]["replicas"]
        }
        conditions = [(c["type"], c["status"], c["reason"]) for c in self.status.get("conditions", ())]
        return {"children": children, "conditions": conditions, "summary": self.status.get("summary")}

    def _monitor(self, write: object) -> None:
        body = self.kube.read(MODEL_DEPLOYMENT, NAMESPACE, NAME)
        if body is not None and body.get("status"):
            check_status(body)
            self.statuses.append(body["status"])
        service = self.kube.read(SERVICE, NAMESPACE, NAME)
        if service is None:
            return
        ready = self.workloads.ready(NAMESPACE, service["spec"]["selector"])
        self._has_served = self._has_served or ready > 0
        assert ready > 0 or not self._has_served, f"the Service points to no Ready pod after {write}"


CAMEL: Final = re.compile(r"^[A-Z][A-Za-z]+$")


def check_status(body: Object) -> None:
    """The rules of fluxcd/pkg's conformance checker (engineering.md B2), and bounds of the CRD."""
    status, generation = body["status"], body["metadata"]["generation"]
    conditions = {c["type"]: c for c in status["conditions"]}
    assert len(conditions) == len(status["conditions"])
    ready, reconciling, stalled = (conditions.get(t) for t in ("Ready", "Reconciling", "Stalled"))
    assert ready is not None
    assert not (reconciling and stalled)
    for abnormal in (reconciling, stalled):
        assert abnormal is None or abnormal["status"] == "True"
        assert abnormal is None or ready["status"] == "False"
    assert ready["status"] == "True" or reconciling or stalled
    assert status["observedGeneration"] <= generation
    for condition in conditions.values():
        assert condition["observedGeneration"] == status["observedGeneration"]
        assert CAMEL.match(condition["reason"])
        assert condition["message"]
    assert len(status.get("rejected", ())) <= 20
    assert len(status.get("history", ())) <= 20


def kinds_of(writes: list[Write]) -> set[Kind]:
    """Kinds that were written."""
    return {write.kind for write in writes}
