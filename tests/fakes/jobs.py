"""The Job controller and the kubelet in small, on `MemoryKube`: makes pods for Jobs, runs them to an end, writes termination messages.

What a task comes to is a function of the task (`Programs`). Owns pods and Job statuses; never touches anything else. Deleted Jobs lose
their pods by the garbage collection of `MemoryKube`.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from fakes.memory_kube import MemoryKube
from modelcycle.api.conditions import timestamp
from modelcycle.kube.kinds import JOB, POD
from modelcycle_bundle import layout
from modelcycle_bundle.contract import (
    EXIT_FAILED,
    EXIT_RETRY,
    CollectTask,
    CompareResult,
    CompareTask,
    FailureClass,
    InspectResult,
    InspectTask,
    SealResult,
    SealTask,
    TaskKind,
    TrialResult,
    TrialTask,
    from_json,
)
from modelcycle_training.reporting import JsonLines, termination_message

DATA_DIGEST = "sha256:" + "d" * 64
KEY_HINT = "a" * 64


def candidate(index: int) -> str:
    """The digest of a candidate."""
    return "sha256:" + f"{index:x}".rjust(64, "c")


def inspected(task: InspectTask) -> InspectResult:
    """A good key and good data."""
    del task
    return InspectResult(True, "PEM", KEY_HINT, DATA_DIGEST, 569, 31, 569)


def trained(task: TrialTask) -> TrialResult:
    """A metric that differs by index: the last trial is the best."""
    metrics = {"roc_auc": f"{0.5 + task.index / 1000:.4f}"}
    return TrialResult(task.index, "roc_auc", metrics, candidate(task.index), DATA_DIGEST, 569)


def sealed(task: SealTask) -> SealResult:
    """The candidate as it is."""
    uri = f"{task.output_uri}/{layout.sealed_prefix(task.candidate_digest)}"
    return SealResult(uri, task.candidate_digest, KEY_HINT, 4096, 32)


def compared(task: CompareTask) -> CompareResult:
    """The candidate is the better one."""
    measured = CompareResult(candidate_digest=task.candidate_digest, deployed_digest=task.deployed_digest, rows=114)
    return replace(measured, metric=task.metric, candidate="0.9", deployed="0.8")


@dataclass
class Programs:
    """What the training image does. A `str` result is a raw termination message."""

    inspect: Callable[[InspectTask], InspectResult | str] = inspected
    trial: Callable[[TrialTask], TrialResult | str] = trained
    seal: Callable[[SealTask], SealResult | str] = sealed
    collect: Callable[[CollectTask], TrialResult | str] = lambda task: TrialResult(
        task.index, "roc_auc", {"roc_auc": "0.5"}, candidate(task.index), DATA_DIGEST
    )

    compare: Callable[[CompareTask], CompareResult | str] = compared

    def run(self, kind: TaskKind, text: str) -> tuple[int, str, str]:
        """Exit code, termination message and log of a task."""
        result: Any
        if kind is TaskKind.INSPECT:
            result = self.inspect(from_json(InspectTask, text))
        elif kind is TaskKind.TRIAL:
            result = self.trial(from_json(TrialTask, text))
        elif kind is TaskKind.SEAL:
            result = self.seal(from_json(SealTask, text))
        elif kind is TaskKind.COMPARE:
            result = self.compare(from_json(CompareTask, text))
        else:
            result = self.collect(from_json(CollectTask, text))
        if isinstance(result, str):
            return 0, result, ""
        failure = result.failure
        if failure is None or failure.failure_class is FailureClass.METRICS:
            return 0, *_told(result)
        retry = failure.failure_class is FailureClass.INFRASTRUCTURE
        return EXIT_RETRY if retry else EXIT_FAILED, *_told(result)


def _told(result: Any) -> tuple[str, str]:
    log = io.StringIO()
    JsonLines("fake", log).facts(result)
    return termination_message(result).decode(), log.getvalue()


@dataclass
class JobController:
    """Steps every Job once per call of `step`: no pod -> running pod -> ended."""

    kube: MemoryKube
    programs: Programs = field(default_factory=Programs)
    hold: Callable[[Mapping[str, Any]], str] = lambda job: ""
    """`image` or `node`: why the pod of this Job cannot start; `run`: it runs on."""
    needs: Mapping[TaskKind, int] = field(default_factory=dict)
    """Gibibytes that a program needs: with a smaller limit the kernel kills it."""
    message_room: int = 4096
    """Bytes of a termination message that the kubelet keeps: containers of one pod share 12 KiB."""
    lose_pods: bool = False
    """Ended pods vanish before anybody has read them."""
    started: list[str] = field(default_factory=list)
    """Names of the Jobs that got a pod, in order: a name twice is a second Job for one attempt."""

    def step(self, now: datetime) -> bool:
        """One round; whether anything changed."""
        moved = [self._step(job, now) for job in self.kube.find(JOB)]
        return any(moved)

    def _step(self, job: Mapping[str, Any], now: datetime) -> bool:
        if any(c["status"] == "True" for c in (job.get("status") or {}).get("conditions", ())):
            return False
        pods = [p for p in self.kube.find(POD) if p["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]]
        if not pods:
            self._start(job, now)
            return True
        if self.hold(job):
            return False
        self._finish(job, pods[0], now)
        return True

    def _start(self, job: Mapping[str, Any], now: datetime) -> None:
        metadata = job["metadata"]
        self.started.append(metadata["name"])
        reference = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
        body = {
            "metadata": {
                "name": f"{metadata['name']}-x",
                "labels": job["spec"]["template"]["metadata"]["labels"],
                "ownerReferences": [reference | {"controller": True}],
            },
            "spec": job["spec"]["template"]["spec"],
            "status": self._pending(self.hold(job), now),
        }
        self.kube.seed(POD, metadata["namespace"], body)

    @staticmethod
    def _pending(held: str, now: datetime) -> dict[str, Any]:
        scheduled: dict[str, Any] = {"type": "PodScheduled", "status": "True", "lastTransitionTime": timestamp(now)}
        state: dict[str, Any] = {"running": {}}
        if held == "node":
            scheduled |= {"status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}
            return {"phase": "Pending", "conditions": [scheduled]}
        if held == "image":
            state = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
        if held == "start":
            state = {"waiting": {"reason": "ContainerCreating"}}
        return {"conditions": [scheduled], "containerStatuses": [{"name": "main", "state": state}]}

    def _finish(self, job: Mapping[str, Any], pod: Mapping[str, Any], now: datetime) -> None:
        container = job["spec"]["template"]["spec"]["containers"][0]
        text = next(e["value"] for e in container["env"] if e["name"] == layout.TASK_ENV)
        kind = TaskKind(container["args"][0])
        if self.needs.get(kind, 0) > int(container["resources"]["limits"]["memory"].removesuffix("Gi")):
            code, terminated = 137, {"exitCode": 137, "reason": "OOMKilled"}
        else:
            code, message, log = self.programs.run(kind, text)
            self.kube.logs[job["metadata"]["namespace"], pod["metadata"]["name"]] = log
            message = message[: self.message_room]
            terminated = {"exitCode": code, "message": message, "reason": "Completed" if code == 0 else "Error"}
        status = {"name": "main", "imageID": "localhost/t@sha256:1", "state": {"terminated": terminated}}
        namespace, name = job["metadata"]["namespace"], pod["metadata"]["name"]
        self.kube.set_status(POD, namespace, name, {"containerStatuses": [status]})
        if self.lose_pods:
            self.kube.remove(POD, namespace, name)
        condition = {"type": "Failed" if code else "Complete", "status": "True", "lastTransitionTime": timestamp(now)}
        reason = {} if not code else {"reason": "BackoffLimitExceeded" if code == EXIT_RETRY else "PodFailurePolicy"}
        self.kube.set_status(JOB, namespace, job["metadata"]["name"], {"conditions": [condition | reason]})


def task_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """The task JSON of a rendered Job."""
    env = job["spec"]["template"]["spec"]["containers"][0]["env"]
    task: dict[str, Any] = json.loads(next(e["value"] for e in env if e["name"] == layout.TASK_ENV))
    return task
