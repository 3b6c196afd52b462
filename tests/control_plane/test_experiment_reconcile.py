"""An Experiment on a real API server: its Jobs are accepted under restricted Pod Security, its status is stored whole and rests."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from conformance.world import eventually
from fakes.experiment_lab import DEPLOYED, NOT_WORSE, SETTINGS, Events, search, violations
from fakes.jobs import Programs, compared
from modelcycle.engine.executor import Executor
from modelcycle.engine.plan import Key
from modelcycle.experiment.reconciler import ExperimentReconciler
from modelcycle.kube.client import RestKube
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT, JOB, MODEL_DEPLOYMENT, POD
from modelcycle_bundle import layout
from modelcycle_bundle.contract import TaskKind


class Runner:
    """Reconciles one Experiment for real and ends its pods as a kubelet would."""

    def __init__(self, kube: RestKube, namespace: str, kubectl: Any) -> None:
        self.kube, self.namespace, self.kubectl = kube, namespace, kubectl
        self.key = Key("Experiment", namespace, "scrap")
        self.reconciler = ExperimentReconciler(kube, SETTINGS)
        self.executor = Executor(kube, Events())
        self.programs = Programs()

    async def make(self, spec: dict[str, Any]) -> None:
        body = {
            "apiVersion": EXPERIMENT.api_version,
            "kind": EXPERIMENT.kind,
            "metadata": {"name": "scrap", "namespace": self.namespace},
            "spec": spec,
        }
        await self.kube.create(EXPERIMENT, self.namespace, body)

    async def says(self, reason: str) -> bool:
        """One round of everything; whether Ready has this reason."""
        await self.look()
        await self.end_pods()
        conditions = {c["type"]: c for c in (await self.status()).get("conditions", ())}
        return bool(conditions.get("Ready", {}).get("reason") == reason)

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
            _, message, _ = self.programs.run(TaskKind(container["args"][0]), text)
            ended = {"exitCode": 0, "reason": "Completed", "message": message}
            state = {"name": "main", "image": "i", "imageID": "i@sha256:1", "ready": False, "restartCount": 0}
            body = {"phase": "Succeeded", "containerStatuses": [{**state, "state": {"terminated": ended}}]}
            self.patch_status(pod["metadata"]["name"], body)

    def patch_status(self, name: str, body: dict[str, Any]) -> None:
        patch = json.dumps({"status": body})
        self.kubectl("patch", "pod", name, "-n", self.namespace, "--subresource=status", "--type=merge", "-p", patch)


async def test_search_to_seal(rest_kube: RestKube, namespace: str, kubectl: Any) -> None:
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    run = Runner(rest_kube, namespace, kubectl)
    await run.make(search())
    await run.look()
    assert len(await rest_kube.list(JOB, namespace)) == 3
    assert await eventually(lambda: run.says("Succeeded"), seconds=60)

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


async def test_a_verdict_is_stored_whole_and_rests_whichever_it_is(
    rest_kube: RestKube, namespace: str, kubectl: Any
) -> None:
    deployment = {
        "apiVersion": MODEL_DEPLOYMENT.api_version,
        "kind": MODEL_DEPLOYMENT.kind,
        "metadata": {"name": "scrap", "namespace": namespace},
        "spec": {"model": {"uri": "s3://models/1", "digest": DEPLOYED}},
    }
    await rest_kube.create(MODEL_DEPLOYMENT, namespace, deployment)
    stable = json.dumps({"status": {"stable": {"uri": "s3://models/1", "digest": DEPLOYED}}})
    kubectl("patch", "modeldeployment", "scrap", "-n", namespace, "--subresource=status", "--type=merge", "-p", stable)
    run = Runner(rest_kube, namespace, kubectl)
    run.programs.compare = lambda task: replace(compared(task), candidate="0.61", deployed="1e-05", metric="roc_auc")
    await run.make(search(acceptance=[NOT_WORSE], maxTrialCount=1, parallelTrialCount=1))
    assert await eventually(lambda: run.says("Succeeded"), seconds=60)
    kept = (await run.status())["acceptance"]
    # Stored as it was written: a field that the schema does not know would be gone, and be written again for ever.
    assert (kept["reason"], kept["candidate"], kept["deployed"], kept["rows"]) == ("NotWorse", "0.61", "1e-05", 114)
    assert kept["deployedDigest"] == DEPLOYED
    assert (await run.status())["comparison"]["deployed"] == {"uri": "s3://models/1", "digest": DEPLOYED}
    run.programs.compare = lambda task: replace(compared(task), candidate="0.61", deployed="0.95")
    change = json.dumps({"spec": {"maxTrialCount": 2}})
    kubectl("patch", "experiment", "scrap", "-n", namespace, "--type=merge", "-p", change)
    assert await eventually(lambda: run.says("WorseThanDeployed"), seconds=60)
    told = (await run.status())["acceptance"]
    assert (told["verdict"], told["trial"], told["metric"], told["candidate"]) == ("Refused", 1, "roc_auc", "0.61")

    async def rests() -> bool:
        await run.look()
        return await rest_kube.list(JOB, namespace) == []

    assert await eventually(rests, seconds=30)
    before = await rest_kube.get(EXPERIMENT, namespace, "scrap")
    await run.look()
    assert await rest_kube.get(EXPERIMENT, namespace, "scrap") == before
