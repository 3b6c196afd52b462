"""The trial Jobs after one look: which ended and how, which go on, which results must be collected. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from modelcycle.api.experiment import ExperimentSpec, TrialReason, TrialState
from modelcycle.experiment import tasks
from modelcycle.experiment.history import History
from modelcycle.experiment.ledger import Entry
from modelcycle.experiment.manifests import JobOrder
from modelcycle.experiment.results import Recorded, discarded, failed, of_trial_failure, record
from modelcycle.experiment.search import assignment
from modelcycle.experiment.world import World
from modelcycle.jobs.results import Lost, Problem, Unfinished, read
from modelcycle.jobs.views import JobView
from modelcycle_bundle.contract import FailureClass, FailureReason, TaskKind, TrialResult

MAX_INFRASTRUCTURE_REPEATS: Final = 2
PLACE_PROBLEMS: Final = frozenset(
    {TrialReason.IMAGE_UNAVAILABLE, TrialReason.CONTAINER_START_FAILED, TrialReason.UNSCHEDULABLE}
)


@dataclass(frozen=True, slots=True)
class Trials:
    """What one look at the trial Jobs found."""

    ended: tuple[Entry, ...] = ()
    running: tuple[JobView, ...] = ()
    """Not recorded yet: waiting, running, or ended and being collected."""
    collect: tuple[JobOrder, ...] = ()
    holds: Problem | None = None
    """What holds the whole Experiment."""
    due: datetime | None = None


@dataclass(slots=True)
class _Found:
    ended: list[Entry] = field(default_factory=list)
    running: list[JobView] = field(default_factory=list)
    collect: list[JobOrder] = field(default_factory=list)
    holds: Problem | None = None
    dues: list[datetime] = field(default_factory=list)

    def take(self, recorded: Recorded) -> None:
        self.ended.append(recorded.entry)
        self.holds = self.holds or recorded.holds


def look(world: World, spec: ExperimentSpec, history: History, *, inspected: bool) -> Trials:
    """Read every trial Job that is not in the ledger. `inspected`: key, data and image have been seen to be good."""
    known = {e.trial for e in history.entries}
    jobs = [j for j in world.jobs if j.task is TaskKind.TRIAL and j.trial not in known]
    found = _Found()
    for job in jobs:
        base = _base(spec, job)
        if job.search != spec.search_hash:
            found.ended.append(discarded(base, Problem("", TrialReason.SUPERSEDED, "the spec changed while it ran")))
            continue
        busy = any(p.running for other in jobs if other is not job for p in other.pods)
        _read_one(world, spec, history, job, base, found, busy=busy, inspected=inspected)
    due = min(found.dues, default=None)
    return Trials(tuple(found.ended), tuple(found.running), tuple(found.collect), found.holds, due)


def stopped(spec: ExperimentSpec, jobs: Iterable[JobView]) -> tuple[Entry, ...]:
    """Ledger entries for running trials that are being stopped; they are repeated if the search goes on."""
    problem = Problem("", TrialReason.STOPPED, "stopped because the search ended or is held")
    return tuple(discarded(_base(spec, job), problem) for job in jobs)


def _base(spec: ExperimentSpec, job: JobView) -> Entry:
    values = assignment(spec, job.index) if job.search == spec.search_hash else ()
    return Entry(job.index, job.attempt, job.search, TrialState.DISCARDED, values, lacks=job.lacks)


def _read_one(
    world: World,
    spec: ExperimentSpec,
    history: History,
    job: JobView,
    base: Entry,
    found: _Found,
    *,
    busy: bool,
    inspected: bool,
) -> None:
    metric = spec.objective.metric if spec.objective else None
    match read(TrialResult, job, world.now, waits_for_others=busy):
        case Unfinished(_, due):
            found.running.append(job)
            found.dues.extend([due] if due else [])
        case Lost(problem):
            _collect(world, spec, job, base, problem, found)
        case Problem() as problem:
            found.take(_of_place(base, problem, inspected=inspected))
        case result:
            recorded = record(base, result, metric, _image(job))
            found.take(_bounded(recorded, history, inspected=inspected))


def _of_place(base: Entry, problem: Problem, *, inspected: bool) -> Recorded:
    """A problem outside of the program. Before the inspection has passed it is everybody's: not the trial's fault."""
    if problem.reason == TrialReason.UNSCHEDULABLE and inspected:
        # A full node or quota is often other people's work: the trial has done nothing wrong, and room comes back.
        return Recorded(discarded(base, problem), problem)
    if problem.reason in PLACE_PROBLEMS:
        return Recorded(failed(base, problem) if inspected else discarded(base, problem))
    return of_trial_failure(base, problem)


def _bounded(recorded: Recorded, history: History, *, inspected: bool) -> Recorded:
    """Infrastructure failures are repeated a few times, then they count."""
    entry = recorded.entry
    if entry.state is not TrialState.DISCARDED or entry.failure_class != FailureClass.INFRASTRUCTURE or not inspected:
        return recorded
    if history.repeats(entry.index, FailureClass.INFRASTRUCTURE) < MAX_INFRASTRUCTURE_REPEATS:
        return recorded
    return Recorded(replace(entry, state=TrialState.FAILED))


def _collect(world: World, spec: ExperimentSpec, job: JobView, base: Entry, problem: Problem, found: _Found) -> None:
    collectors = (j for j in world.jobs if j.task is TaskKind.COLLECT and j.trial == job.trial and not j.deleting)
    collector = next(collectors, None)
    if collector is None:
        found.running.append(job)
        task = tasks.collect(spec, world.uid, job.trial)
        found.collect.append(JobOrder(TaskKind.COLLECT, job.index, job.attempt, task))
        return
    metric = spec.objective.metric if spec.objective else None
    match read(TrialResult, collector, world.now):
        case Unfinished(_, due):
            found.running.append(job)
            found.dues.extend([due] if due else [])
        case TrialResult() as result if _is_told(result):
            found.take(record(replace(base, lacks=collector.lacks), result, metric, _image(job)))
        case _:
            found.ended.append(failed(base, problem))


def _is_told(result: TrialResult) -> bool:
    """Whether the store held the trial's own result: a failure to read it is the collector's, not the trial's."""
    failure = result.failure
    if failure is None:
        return True
    return failure.failure_class is not FailureClass.INFRASTRUCTURE and failure.reason != FailureReason.MODEL_NOT_FOUND


def _image(job: JobView) -> str | None:
    return next((pod.image_id for pod in reversed(job.pods) if pod.image_id), None)
