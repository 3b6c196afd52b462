"""A replacement on the real API server with the real Deployment controller; the test plays scheduler and kubelet."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from fakes.deployment_lab import PEM, Silent, digest, model
from modelcycle.api.conditions import timestamp
from modelcycle.api.rollout import Source
from modelcycle.deployment.reconciler import DeploymentReconciler
from modelcycle.engine.executor import Executor
from modelcycle.engine.plan import Emit, Key, Plan
from modelcycle.kube.kinds import CONFIG_MAP, DEPLOYMENT, MODEL_DEPLOYMENT, POD, SERVICE
from modelcycle.kube.names import LABEL_DEPLOYMENT
from modelcycle.kube.port import Kube, Object
from modelcycle.metrics.port import RunId, RunSample, Samples, Target
from modelcycle.metrics.sampler import Sampler
from modelcycle.settings import Settings

SELECTED = "modelcycle.dev/revision"


class Readings:
    """Readings of pods whose pages are nowhere: each was read, and none says anything of its model."""

    def __init__(self) -> None:
        self.samples: Samples | None = None

    def see(self, pods: Sequence[Object]) -> None:
        """A finished round over these pods."""
        now = datetime.now(UTC)
        runs = {RunId(pod["metadata"]["uid"], 1.0) for pod in pods}
        listed = frozenset(run.pod_uid for run in runs)
        self.samples = Samples("scrap", now, now, listed, {run: RunSample(run, {}, now) for run in runs})

    def track(self, key: Key, target: Target) -> None:
        """Read at every look."""

    def forget(self, key: Key) -> None:
        """Keeps nothing that matters."""

    def latest(self, key: Key) -> Samples | None:
        return self.samples

    def problem(self, key: Key) -> str | None:
        return None


class Hand:
    """Reconciles by hand and lets every pod become Ready."""

    def __init__(self, kube: Kube, namespace: str, **settings_of_users: Any) -> None:
        self.kube, self.namespace = kube, namespace
        image = "localhost/serving@sha256:" + "1" * 64
        settings = Settings("t", image, operator_namespace=namespace, **settings_of_users)
        self.readings = Readings()
        samplers = {Source.PODS: cast(Sampler[Key], self.readings)}
        self.reconciler = DeploymentReconciler(kube, settings, samplers)
        self.executor = Executor(kube, Silent())

    async def plan(self) -> Plan:
        world = await self.reconciler.observe(Key("ModelDeployment", self.namespace, "scrap"), datetime.now(UTC))
        assert world is not None
        return self.reconciler.decide(world)

    async def until(self, done: Callable[[dict[str, Any]], bool], seconds: float = 30) -> dict[str, Any]:
        """Reconcile until the status satisfies `done`. Fails after `seconds`."""
        async with asyncio.timeout(seconds):
            while True:
                await self.executor.run(await self.plan())
                await self._ready_pods()
                body = await self.kube.get(MODEL_DEPLOYMENT, self.namespace, "scrap")
                assert body is not None
                status: dict[str, Any] = body.get("status", {})
                if done(status):
                    return status
                await asyncio.sleep(0.2)

    async def _ready_pods(self) -> None:
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(datetime.now(UTC))}
        pods = await self.kube.list(POD, self.namespace, {LABEL_DEPLOYMENT: "scrap"})
        self.readings.see(pods)
        for pod in pods:
            if pod["status"].get("conditions") or "deletionTimestamp" in pod["metadata"]:
                continue
            metadata = pod["metadata"]
            status = {"phase": "Running", "conditions": [ready]}
            await self.kube.apply_status(POD, self.namespace, metadata["name"], status, metadata["resourceVersion"])

    async def apply(self, letter: str) -> None:
        """`kubectl apply` of the model."""
        spec = {
            "model": model(letter),
            "server": {"replicas": 2, "resources": {"requests": {"cpu": "0.2"}, "limits": {"memory": "1024Mi"}}},
            "strategy": {"canary": {"steps": [], "guardWindow": "1s"}},
        }
        metadata = {"name": "scrap", "namespace": self.namespace}
        body = {"apiVersion": "modelcycle.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata, "spec": spec}
        await self.kube.apply(MODEL_DEPLOYMENT, self.namespace, body)


def ready(status: dict[str, Any], letter: str) -> bool:
    """The model serves and nothing is under way."""
    conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
    return conditions.get("Ready") == "True" and status["stable"]["digest"] == digest(letter)


async def test_replacement_arrives_and_rests_on_the_real_api_server(rest_kube: Kube, namespace: str) -> None:
    hand = Hand(rest_kube, namespace)
    trust = {"metadata": {"name": "modelcycle-trust", "namespace": namespace}, "data": {namespace: PEM}}
    await rest_kube.create(CONFIG_MAP, namespace, {"apiVersion": "v1", "kind": "ConfigMap", **trust})
    await hand.apply("a")
    first = await hand.until(lambda status: ready(status, "a"))
    assert (await hand.plan()).actions == ()
    await hand.apply("b")
    second = await hand.until(lambda status: ready(status, "b"))
    service = await rest_kube.get(SERVICE, namespace, "scrap")
    assert service is not None
    assert service["spec"]["selector"][SELECTED] == second["stable"]["revision"]
    sizes = {
        item["metadata"]["labels"][SELECTED]: item["spec"]["replicas"]
        for item in await rest_kube.list(DEPLOYMENT, namespace, {LABEL_DEPLOYMENT: "scrap"})
    }
    assert sizes == {first["stable"]["revision"]: 0, second["stable"]["revision"]: 2}
    await hand.until(lambda status: "retiring" not in status)
    assert [action for action in (await hand.plan()).actions if not isinstance(action, Emit)] == []
