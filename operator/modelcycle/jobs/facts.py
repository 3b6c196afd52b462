"""What a Job's pod told in its log, beyond its termination message, and the ConfigMaps that keep it. Pure.

Owns when a log is worth reading, and the form of what is kept. One ConfigMap holds the facts of one Job and never changes. They are as
trusted as the Job's program: those of a trial may be made up by its code, as its result may.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from modelcycle.jobs.manifests import Owner
from modelcycle.jobs.results import last_ended
from modelcycle.jobs.views import JobState, JobView
from modelcycle.kube.kinds import CONFIG_MAP, GROUP

COMPONENT: Final = "facts"
DATA_KEY: Final = "facts.json"
ANNOTATION_JOB: Final = f"{GROUP}/job"
KEPT: Final = 20
"""ConfigMaps of an owner, the latest: bounds what one object puts into etcd to 5 MiB. The store has all of them."""


class FactsReason(StrEnum):
    """Why the facts of a Job are its termination message alone; reasons of a condition and of Events."""

    LOGS_FORBIDDEN = "LogsForbidden"
    """The operator may not read logs: the role modelcycle-operator-logs is not bound."""
    FACTS_LOST = "FactsLost"
    """The log is gone, cut or damaged, or could not be read."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a pod's log held: a document, or why there is none."""

    job: str
    document: str = ""
    problem: FactsReason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """One ConfigMap of facts."""

    name: str
    uid: str
    number: int
    job: str
    document: str


def has_more(job: JobView) -> bool:
    """Whether the log of the Job's last pod holds what its message does not: the message says so, or is missing or cut."""
    pod = last_ended(job)
    if pod is None or job.state is JobState.ACTIVE or job.deleting or pod.termination_reason == "OOMKilled":
        return False
    try:
        told = json.loads(pod.message)
    except (ValueError, RecursionError):
        return True
    return isinstance(told, dict) and bool(told.get("more"))


def with_told(jobs: Sequence[JobView], before: Sequence[Kept], told: Sequence[Told]) -> tuple[JobView, ...]:
    """The Jobs with the documents of their last pods, kept or just read, or with the reason why there is none."""
    known = {one.job: Told(one.job, one.document) for one in before} | {one.job: one for one in told}
    return tuple(_with(job, known[job.name]) if job.name in known else job for job in jobs)


def _with(job: JobView, told: Told) -> JobView:
    if told.problem is not None:
        return replace(job, lacks=told.problem.value, lacks_detail=told.detail)
    last = last_ended(job)
    return replace(job, pods=tuple(replace(p, facts=told.document) if p is last else p for p in job.pods))


def kept(config_map: Mapping[str, Any]) -> Kept:
    """A ConfigMap of facts as read."""
    metadata = config_map["metadata"]
    number = str(metadata["name"]).rpartition("-")[2]
    return Kept(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        number=int(number) if number.isdecimal() else 0,
        job=str((metadata.get("annotations") or {}).get(ANNOTATION_JOB, "")),
        document=str((config_map.get("data") or {}).get(DATA_KEY, "")),
    )


def config_maps(owner: Owner, before: Sequence[Kept], told: Sequence[Told]) -> tuple[dict[str, Any], ...]:
    """The ConfigMaps to make for what was read and is not kept: `<name>-facts-<number>`, immutable."""
    known = {one.job for one in before}
    new = [one for one in told if one.document and one.job not in known]
    first = max((one.number for one in before), default=-1) + 1
    return tuple(_config_map(owner, first + at, one) for at, one in enumerate(new))


def surplus(before: Sequence[Kept]) -> tuple[Kept, ...]:
    """Those that make room for later ones."""
    return tuple(sorted(before, key=lambda one: one.number)[:-KEPT])


def _config_map(owner: Owner, number: int, told: Told) -> dict[str, Any]:
    metadata = owner.metadata(f"facts-{number}", COMPONENT)
    metadata["annotations"] = {ANNOTATION_JOB: told.job}
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "metadata": metadata,
        "immutable": True,
        "data": {DATA_KEY: told.document},
    }
