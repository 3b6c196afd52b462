"""An Experiment on a real API server: its Jobs are accepted under restricted Pod Security, its status is stored whole and rests."""

import json
from datetime import UTC, datetime
from typing import Any

from conformance.world import eventually
from fakes.experiment_lab import SETTINGS, Events, search, violations
from fakes.jobs import Programs
from modelcycle.engine.executor import Executor
from modelcycle.engine.plan import Key
from modelcycle.experiment.reconciler import ExperimentReconciler
from modelcycle.kube.client import RestKube
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT, JOB, POD
from modelcycle_bundle import layout
from modelcycle_bundle.contract import TaskKind


class Runner:
    """Reconciles one Experiment for real and ends its pods as a kubelet would."""

    def __init__(self, kube: RestKube, namespace: str, kubectl: Any) -> None:
        self.kube, self.namespace, self.kubectl = kube, namespace, kubectl
        self.key = Key("Experiment", namespace, "scrap")
        self.reconciler = ExperimentReconciler(kube, SETTINGS)
        self.executor = Executor(kube, Events())

    async def look(self) -> None:
        world = await self.reconciler.observe(self.key, datetime.now(UTC))
        assert world is not None
        outcome = await self.executor.run(self.reconciler.decide(world))
        assert outcome.result in ("success", "observe_again"), outcome.message

    async def status(self) -> dict[str, Any]:
        obj = await self.kube.get(EXPERIMENT, self.namespace, "scrap")
        assert obj is not None
        assert "status" not in obj or violations(obj) == []
        return dict(obj.get("status") or {})

    async def end_pods(self) -> None:
        for pod in await self.kube.list(POD, self.namespace):
            if pod["status"].get("phase") == "Succeeded" or "deletionTimestamp" in pod["metadata"]:
                continue
            container = pod["spec"]["containers"][0]
            text = next(e["value"] for e in container["env"] if e["name"] == layout.TASK_ENV)
            _, message = Programs().run(TaskKind(container["args"][0]), text)
            ended = {"exitCode": 0, "reason": "Completed", "message": message}
            state = {"name": "main", "image": "i", "imageID": "i@sha256:1", "ready": False, "restartCount": 0}
            body = {"phase": "Succeeded", "containerStatuses": [{**state, "state": {"terminated": ended}}]}
            self.patch_status(pod["metadata"]["name"], body)

    def patch_status(self, name: str, body: dict[str, Any]) -> None:
        patch = json.dumps({"status": body})
        self.kubectl("patch", "pod", name, "-n", self.namespace, "--subresource=status", "--type=merge", "-p", patch)


async def test_search_to_seal(rest_kube: RestKube, namespace: str, kubectl: Any) -> None:
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    body = {
        "apiVersion": EXPERIMENT.api_version,
        "kind": EXPERIMENT.kind,
        "metadata": {"name": "scrap", "namespace": namespace},
        "spec": search(),
    }
    await rest_kube.create(EXPERIMENT, namespace, body)
    run = Runner(rest_kube, namespace, kubectl)
    await run.look()
    assert len(await rest_kube.list(JOB, namespace)) == 3

    async def sealed() -> bool:
        await run.look()
        await run.end_pods()
        conditions = {c["type"]: c for c in (await run.status()).get("conditions", ())}
        return bool(conditions.get("Ready", {}).get("reason") == "Succeeded")

    assert await eventually(sealed, seconds=60)

    async def tidy() -> bool:
        await run.look()
        return await rest_kube.list(JOB, namespace) == []

    assert await eventually(tidy, seconds=30)
    (page,) = await rest_kube.list(CONFIG_MAP, namespace, {"modelcycle.dev/experiment": "scrap"})
    assert page["data"]["trials.jsonl"].count("\n") == 4
    before = await rest_kube.get(EXPERIMENT, namespace, "scrap")
    await run.look()
    await run.look()
    after = await rest_kube.get(EXPERIMENT, namespace, "scrap")
    assert before is not None
    assert after is not None
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
