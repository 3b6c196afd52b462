"""Which Jobs may go: those whose result was read back from the ledger, or from the stored status. Pure."""

from typing import Final

from modelcycle.api.experiment import ExperimentSpec, TrialState
from modelcycle.engine.plan import Delete
from modelcycle.experiment.world import World
from modelcycle.jobs.records import TaskState, read_task
from modelcycle.jobs.views import JobState, JobView
from modelcycle.kube.kinds import JOB
from modelcycle_bundle.contract import TaskKind

KEPT_FAILURES: Final = 3
"""Jobs of failed trials that stay for their logs."""


def deletes(world: World, spec: ExperimentSpec) -> tuple[Delete, ...]:
    """The deletions of one look."""
    recorded = {e.trial: e for page in world.pages for e in page.entries}
    failed = [
        j.trial
        for j in world.jobs
        if j.task is TaskKind.TRIAL and j.state is JobState.FAILED and j.trial in recorded
        if recorded[j.trial].state is TrialState.FAILED
    ]
    kept = set(sorted(failed)[-KEPT_FAILURES:])
    seen = {
        TaskKind.INSPECT: read_task(world.status.get("inspection")),
        TaskKind.COMPARE: read_task(world.status.get("comparison")),
        TaskKind.SEAL: read_task(world.status.get("sealing")),
    }

    def is_done(job: JobView) -> bool:
        if job.task is TaskKind.TRIAL:
            return job.trial in recorded and job.trial not in kept
        if job.task is TaskKind.COLLECT:
            return job.trial in recorded
        if job.task is TaskKind.COMPARE and spec.acceptance.not_worse_than is None:
            return True  # the demand was taken out of the spec
        record = seen[job.task]
        return record is not None and (
            job.attempt < record.attempt or (job.attempt == record.attempt and record.state is not TaskState.RUNNING)
        )

    return tuple(
        Delete(JOB, world.namespace, job.name, job.uid) for job in world.jobs if not job.deleting and is_done(job)
    )
