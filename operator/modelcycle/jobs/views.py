"""What was seen of a Job and its pods: frozen views of raw objects. Owns their parsing; no I/O, no verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from modelcycle.kube.kinds import GROUP
from modelcycle.kube.names import LABEL_TASK, LABEL_TRIAL
from modelcycle.kube.pod_problems import is_image
from modelcycle.kube.pods import has_ended
from modelcycle_bundle.contract import TaskKind

ANNOTATION_ATTEMPT: Final = f"{GROUP}/attempt"
ANNOTATION_SEARCH: Final = f"{GROUP}/search"
"""What a Job was made for: the search hash of an Experiment, the subject of a monitor's look at the data."""
CONTAINER: Final = "main"


class JobState(StrEnum):
    """What a Job's conditions say."""

    ACTIVE = "Active"
    """Neither complete nor failed: waiting, running or retrying."""
    COMPLETE = "Complete"
    """Its pod exited with 0."""
    FAILED = "Failed"
    """It will not be retried any more."""


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod of a Job."""

    name: str
    created: datetime
    running: bool = False
    """The container runs."""
    exit_code: int | None = None
    """Of the terminated container."""
    termination_reason: str = ""
    message: str = ""
    """The termination message."""
    facts: str = ""
    """The whole result, from the log (jobs.facts): more than the message has room for. Empty when it was not read."""
    image_id: str | None = None
    image_problem: str = ""
    """Why the image cannot be pulled, empty when nothing is wrong."""
    unschedulable: str = ""
    """Why no node fits, empty when scheduled or not yet tried."""
    not_starting: str = ""
    """What holds back the container of a pod that has a node, empty when it started or waits for its image."""
    waiting_since: datetime | None = None
    """When the present image, start or scheduling state began."""


@dataclass(frozen=True, slots=True)
class JobView:
    """One Job of ours."""

    name: str
    uid: str
    task: TaskKind
    index: int
    attempt: int
    search: str
    created: datetime
    state: JobState
    reason: str = ""
    deleting: bool = False
    memory_limit: str = ""
    """Of its container; empty for none."""
    pods: tuple[PodView, ...] = ()
    """Oldest first."""
    lacks: str = ""
    """Why its log could not be had although it holds more than the message (jobs.facts.FactsReason); empty when nothing is missing."""
    lacks_detail: str = ""

    @property
    def trial(self) -> tuple[int, int]:
        """Identity of the attempt: index and attempt."""
        return (self.index, self.attempt)


def moment(text: str | None) -> datetime | None:
    """An RFC 3339 time of the API server; None for none."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def controller_of(obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The controller ownerReference of an object."""
    references: Sequence[Mapping[str, Any]] = obj["metadata"].get("ownerReferences") or ()
    return next((ref for ref in references if ref.get("controller")), None)


def is_controlled_by(obj: Mapping[str, Any], uid: str) -> bool:
    """Whether `uid` is the controller of the object."""
    controller = controller_of(obj)
    return controller is not None and controller.get("uid") == uid


def job_views(uid: str, jobs: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]]) -> tuple[JobView, ...]:
    """Views of the Jobs that `uid` controls, with their pods. Jobs without our marks are left out."""
    by_job: dict[str, list[PodView]] = {}
    for pod in pods:
        controller = controller_of(pod)
        if controller is not None:
            by_job.setdefault(str(controller["uid"]), []).append(pod_view(pod))
    views = [_job_view(j, by_job.get(j["metadata"]["uid"], [])) for j in jobs if is_controlled_by(j, uid)]
    return tuple(sorted((v for v in views if v is not None), key=lambda v: (v.task, v.index, v.attempt)))


def _job_view(job: Mapping[str, Any], pods: Sequence[PodView]) -> JobView | None:
    metadata = job["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if labels.get(LABEL_TASK) not in set(TaskKind):
        return None
    state, reason = _job_state(job)
    return JobView(
        name=metadata["name"],
        uid=metadata["uid"],
        task=TaskKind(labels[LABEL_TASK]),
        index=_number(labels.get(LABEL_TRIAL)),
        attempt=_number(annotations.get(ANNOTATION_ATTEMPT)),
        search=annotations.get(ANNOTATION_SEARCH, ""),
        created=moment(metadata.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
        state=state,
        reason=reason,
        deleting="deletionTimestamp" in metadata,
        memory_limit=_memory_limit(job),
        pods=tuple(sorted(pods, key=lambda p: (p.created, p.name))),
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _memory_limit(job: Mapping[str, Any]) -> str:
    containers = job["spec"]["template"]["spec"]["containers"]
    main: Mapping[str, Any] = next((c for c in containers if c.get("name") == CONTAINER), {})
    return str(((main.get("resources") or {}).get("limits") or {}).get("memory", ""))


def _job_state(job: Mapping[str, Any]) -> tuple[JobState, str]:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in (JobState.COMPLETE, JobState.FAILED):
            return JobState(condition["type"]), condition.get("reason", "")
    return JobState.ACTIVE, ""


def pod_view(pod: Mapping[str, Any]) -> PodView:
    """The facts of one pod. One that has ended tells what it came to and waits for nothing, whatever its containers told last."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    containers = status.get("containerStatuses") or ()
    main: Mapping[str, Any] = next((c for c in containers if c.get("name") == CONTAINER), {})
    state = main.get("state") or {}
    terminated, waiting = state.get("terminated") or {}, state.get("waiting") or {}
    scheduled: Mapping[str, Any] = next(
        (c for c in status.get("conditions") or () if c.get("type") == "PodScheduled"), {}
    )
    is_alive = not has_ended(pod)
    has_node = is_alive and scheduled.get("status") == "True"
    no_node = is_alive and scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    problem = waiting.get("reason", "")
    told = f"{problem}: {waiting['message']}" if waiting.get("message") else problem
    return PodView(
        name=metadata["name"],
        created=moment(metadata.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
        running=is_alive and "running" in state,
        exit_code=terminated.get("exitCode"),
        termination_reason=terminated.get("reason", ""),
        message=terminated.get("message", ""),
        image_id=main.get("imageID") or None,
        image_problem=told if is_alive and is_image(problem) else "",
        unschedulable=scheduled.get("message", "no node fits") if no_node else "",
        not_starting=told if has_node and not is_image(problem) else "",
        waiting_since=moment(scheduled.get("lastTransitionTime")),
    )
