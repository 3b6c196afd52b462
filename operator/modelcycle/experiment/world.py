"""What a decision about an Experiment sees: the object, its Jobs, its ledger and what it is compared with, as one frozen World. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelcycle.api.edition import Edition, edition_of
from modelcycle.experiment.ledger import Page
from modelcycle.jobs.facts import Kept, Told
from modelcycle.jobs.views import JobView
from modelcycle.kube.kinds import Kind
from modelcycle.kube.pods import DEFAULT_USER
from modelcycle_bundle.contract import TaskKind


@dataclass(frozen=True, slots=True)
class Occupied:
    """A name that a plan would create and that is in use already."""

    kind: Kind
    name: str
    ours: bool
    owner: str
    """Kind and name of its controller, or `nobody`."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything `decide` reads."""

    now: datetime
    obj: Mapping[str, Any]
    """The Experiment as stored."""
    jobs: tuple[JobView, ...]
    pages: tuple[Page, ...]
    """Ledger pages in order."""
    training_image: str
    pod_user: int | None = DEFAULT_USER
    """Of the Jobs' pods; None leaves the ids to the platform."""
    extra_estimators: tuple[str, ...] = ()
    occupied: tuple[Occupied, ...] = ()
    kept: tuple[Kept, ...] = ()
    """The facts of Jobs that are kept in ConfigMaps."""
    told: tuple[Told, ...] = ()
    """What was read of logs in this look."""
    deployment: Mapping[str, Any] | None = None
    """The ModelDeployment that `spec.acceptance` names, as stored; None when none is named or it is not there."""

    @property
    def name(self) -> str:
        """metadata.name."""
        return str(self.obj["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """metadata.namespace."""
        return str(self.obj["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """metadata.uid."""
        return str(self.obj["metadata"]["uid"])

    @property
    def generation(self) -> int:
        """metadata.generation."""
        return int(self.obj["metadata"].get("generation", 1))

    @property
    def edition(self) -> Edition:
        """What is wanted now."""
        return edition_of(self.obj)

    def job_of(self, task: TaskKind, index: int, attempt: int) -> JobView | None:
        """The Job of one attempt; one that is being deleted is none any more."""
        found = (j for j in self.jobs if (j.task, j.index, j.attempt) == (task, index, attempt) and not j.deleting)
        return next(found, None)

    @property
    def status(self) -> Mapping[str, Any]:
        """The status as stored; empty before the first write."""
        status: Mapping[str, Any] = self.obj.get("status") or {}
        return status
