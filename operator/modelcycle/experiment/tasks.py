"""The tasks of an Experiment's Jobs (modelcycle_bundle.contract) from its spec. Pure."""

from modelcycle.api.experiment import ExperimentSpec
from modelcycle.experiment.ledger import Entry
from modelcycle.experiment.search import Assignment, json_values
from modelcycle.experiment.world import World
from modelcycle.jobs.manifests import data_ref
from modelcycle_bundle.contract import (
    AttemptRange,
    CollectTask,
    CompareTask,
    InspectTask,
    PipelineStep,
    SealTask,
    Trainer,
    TrialTask,
)


def inspect(spec: ExperimentSpec, digest: str | None) -> InspectTask:
    """Look at the key and at the data."""
    return InspectTask(data_ref(spec.data, digest), spec.output_uri)


def trial(
    spec: ExperimentSpec,
    name: str,
    uid: str,
    identity: tuple[int, int],
    assignment: Assignment,
    digest: str | None,
    extra_estimators: tuple[str, ...],
) -> TrialTask:
    """Fit one assignment."""
    index, attempt = identity
    steps = tuple(PipelineStep(s.name, s.estimator, s.fixed_values()) for s in spec.steps)
    return TrialTask(
        experiment=name,
        experiment_uid=uid,
        index=index,
        seed=spec.seed,
        data=data_ref(spec.data, digest),
        trainer=Trainer(steps, extra_estimators),
        parameters=json_values(spec, assignment),
        objective_metric=spec.objective.metric if spec.objective else None,
        output_uri=spec.output_uri,
        attempt=attempt,
    )


def collect(spec: ExperimentSpec, uid: str, identity: tuple[int, int]) -> CollectTask:
    """Read one attempt's result back from the store."""
    return CollectTask(uid, identity[0], spec.output_uri, identity[1])


def compare(spec: ExperimentSpec, uid: str, best: Entry, deployed: tuple[str, str]) -> CompareTask:
    """Measure the best candidate beside a deployed model, whose address and digest are given."""
    uri, digest = deployed
    return CompareTask(
        experiment_uid=uid,
        index=best.index,
        data=data_ref(spec.data, best.data_digest),
        metric=best.objective_metric or "",
        output_uri=spec.output_uri,
        candidate_digest=best.candidate_digest or "",
        deployed_uri=uri,
        deployed_digest=digest,
        attempt=best.attempt,
    )


def seal(world: World, spec: ExperimentSpec, best: Entry, losing: tuple[AttemptRange, ...]) -> SealTask:
    """Sign and publish the best candidate. The provenance names the table itself, where a `latest.json` led to it."""
    data = world.status.get("data") or {}
    is_what_was_read = data.get("digest") == best.data_digest
    return SealTask(
        experiment=world.name,
        experiment_uid=world.uid,
        index=best.index,
        candidate_digest=best.candidate_digest or "",
        data_digest=best.data_digest or "",
        data_uri=str((data.get("uri") if is_what_was_read else None) or spec.data.uri),
        output_uri=spec.output_uri,
        image_id=best.image_id,
        external_parameters={"spec": dict(world.obj["spec"]), "parameters": json_values(spec, best.parameters)},
        attempt=best.attempt,
        remove=losing,
    )
