"""The Experiment as frozen, typed data: its spec, its condition reasons and its trials' states. Owns parsing; does no I/O.

Adds no default that the schema could hold; the few that depend on other fields (trial counts) are decided here and documented.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import InvalidOperation
from enum import StrEnum
from typing import Any, Final

from modelcycle.api import acceptance, addresses, fields
from modelcycle.api.acceptance import Acceptance
from modelcycle.api.fields import SpecError, choice
from modelcycle.api.space import Parameter, parse_parameter
from modelcycle_bundle.contract import JsonValue

DEFAULT_KEY_SECRET: Final = "modelcycle-signing-key"
DEFAULT_STORE_SECRET: Final = "modelcycle-store"
DEFAULT_TRIALS: Final = 10
DEFAULT_PARALLEL: Final = 3
DEFAULT_MAX_FAILED: Final = 3
DEFAULT_KEPT_CANDIDATES: Final = 3
MOST_TRIALS: Final = 5000
"""What the schema allows as `maxTrialCount`."""
STATE_VERSION: Final = 1


class ExperimentReason(StrEnum):
    """Every reason that a condition of an Experiment can have; docs/experiment.md explains each."""

    SEARCHING = "Searching"
    """Trials are running or about to."""
    COMPARING = "Comparing"
    """The best candidate and the deployed model are being measured on the same hold-out rows."""
    SEALING = "Sealing"
    """The best candidate is being checked, signed and published."""
    SUCCEEDED = "Succeeded"
    """The best model is sealed."""
    SUSPENDED = "Suspended"
    """`spec.suspend` is true: no new Job starts."""
    INVALID_SPEC = "InvalidSpec"
    """The spec contradicts itself in a way that the schema cannot see."""
    FORBIDDEN_SECRET = "ForbiddenSecret"
    """A store secret is the signing key's Secret: a trial would reach the key."""
    NEWER_STATE = "NewerState"
    """A newer operator wrote the status; this one changes nothing."""
    WRITE_REFUSED = "WriteRefused"
    """The API server refuses a change that the operator has to make: quota, policy, rights or schema."""
    NAME_TAKEN = "NameTaken"
    """An object that is not ours has the name of one of our children."""
    MAX_FAILED_TRIALS_REACHED = "MaxFailedTrialsReached"
    """As many trials failed as `maxFailedTrialCount` allows."""
    NO_USABLE_TRIAL = "NoUsableTrial"
    """All trials are done and none has a usable objective."""
    BELOW_MINIMUM = "BelowMinimum"
    """A metric of the best trial is below its minimum in `spec.acceptance`: nothing is sealed."""
    ABOVE_MAXIMUM = "AboveMaximum"
    """A metric of the best trial is above its maximum in `spec.acceptance`: nothing is sealed."""
    ACCEPTANCE_METRIC_MISSING = "AcceptanceMetricMissing"
    """The best trial has no metric of a name in `spec.acceptance`: nothing is sealed."""
    WORSE_THAN_DEPLOYED = "WorseThanDeployed"
    """The best trial is worse than the deployed model on the same hold-out rows: nothing is sealed."""
    NOT_COMPARABLE = "NotComparable"
    """The deployed model cannot be measured on these data: nothing is sealed."""
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    """The training image could not be pulled."""
    CONTAINER_START_FAILED = "ContainerStartFailed"
    """A pod has a node, but its container did not start within the limit: see its events."""
    UNSCHEDULABLE = "Unschedulable"
    """A pod found no node, or could not be created."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """A Job took longer than it may."""
    OUT_OF_MEMORY = "OutOfMemory"
    """A Job of the operator was killed for its memory."""
    RESULT_LOST = "ResultLost"
    """A Job ended without a readable result."""
    STORE_UNREACHABLE = "StoreUnreachable"
    """The object store did not answer."""
    STORE_DENIED = "StoreDenied"
    """The object store refused the credentials."""
    DATA_NOT_FOUND = "DataNotFound"
    """No object at `spec.data.uri`."""
    OUTPUT_NOT_FOUND = "OutputNotFound"
    """No bucket or folder at `spec.output.uri`."""
    DATA_UNREADABLE = "DataUnreadable"
    """The object is not a table of the declared format."""
    DATA_CHANGED = "DataChanged"
    """The bytes are not those that the Experiment is pinned to."""
    TARGET_MISSING = "TargetMissing"
    """The table has no column `spec.data.target`."""
    TARGET_UNUSABLE = "TargetUnusable"
    """The target column cannot be learned."""
    FEATURE_NOT_NUMERIC = "FeatureNotNumeric"
    """A feature column holds text."""
    ESTIMATOR_NOT_ALLOWED = "EstimatorNotAllowed"
    """The estimator is not on the list."""
    NO_SIGNING_KEY = "NoSigningKey"
    """The namespace has no usable signing key."""
    CANDIDATE_MISMATCH = "CandidateMismatch"
    """The candidate's bytes are not the ones the trial reported."""
    GOLDEN_MISMATCH = "GoldenMismatch"
    """The candidate does not reproduce its golden answers."""
    BUNDLE_MALFORMED = "BundleMalformed"
    """A file of the candidate is missing, unlisted or not parseable."""
    TASK_INVALID = "TaskInvalid"
    """Operator and training image are of different versions."""
    INTERNAL = "InternalError"
    """A defect of a program."""


class ExperimentCondition(StrEnum):
    """Condition types of an Experiment."""

    READY = "Ready"
    """True once the best model is sealed."""
    RECONCILING = "Reconciling"
    """True while work goes on; absent otherwise."""
    STALLED = "Stalled"
    """True when a person or a change in Git is needed; absent otherwise."""
    SUCCEEDED = "Succeeded"
    """True once the best model is sealed; for `kubectl wait`."""
    SUSPENDED = "Suspended"
    """True while `spec.suspend` holds the search; absent otherwise."""
    FACTS_INCOMPLETE = "FactsIncomplete"
    """True while what is known of a Job that counts is what its termination message had room for; absent otherwise."""


class TrialState(StrEnum):
    """How one recorded attempt of a trial ended."""

    SUCCEEDED = "Succeeded"
    """It has a usable objective and a candidate."""
    FAILED = "Failed"
    """It failed for good; counts against `maxFailedTrialCount`."""
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    """Trained, but the objective is missing, NaN or infinite; never the best."""
    DISCARDED = "Discarded"
    """Stopped or void through no fault of the trial: repeated under the next attempt, not counted."""


class TrialReason(StrEnum):
    """Reasons of recorded attempts beyond those of `modelcycle_bundle.contract.FailureReason`."""

    IMAGE_UNAVAILABLE = "ImageUnavailable"
    """The training image could not be pulled within the limit."""
    CONTAINER_START_FAILED = "ContainerStartFailed"
    """The container did not start within the limit: a volume, a memory limit too small, a broken node."""
    UNSCHEDULABLE = "Unschedulable"
    """The pod found no node within the limit, or could not be created."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """It took longer than `trialActiveDeadlineSeconds`."""
    RESULT_LOST = "ResultLost"
    """It ended and left no readable result, neither as message nor in the store."""
    STOPPED = "Stopped"
    """Stopped because the search ended or is held."""
    SUPERSEDED = "Superseded"
    """The spec changed while it ran."""
    OTHER_DATA = "OtherData"
    """It read other bytes than the Experiment is pinned to."""


class Algorithm(StrEnum):
    """Search algorithms."""

    RANDOM = "random"
    """Independent draws."""
    GRID = "grid"
    """All points in order, the last parameter fastest."""


class Direction(StrEnum):
    """Direction of an objective."""

    MAXIMIZE = "maximize"
    """More is better."""
    MINIMIZE = "minimize"
    """Less is better."""


class TableFormat(StrEnum):
    """How a table is written."""

    CSV = "csv"
    """Comma-separated values with a header."""


class Task(StrEnum):
    """What a model is asked for."""

    CLASSIFICATION = "classification"
    """A class and its probabilities."""
    REGRESSION = "regression"
    """A number."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What decides. `goal` is in the metric's unit."""

    direction: Direction
    metric: str
    goal: float | None
    additional: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """The table. `holdout_fraction` is in (0, 1)."""

    uri: str
    digest: str | None
    format: TableFormat
    target: str
    task: Task | None
    holdout_fraction: float
    split_seed: int
    secret: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """One estimator with its fixed parameters as canonical JSON text."""

    name: str
    estimator: str
    fixed: str

    def fixed_values(self) -> dict[str, JsonValue]:
        """The fixed parameters."""
        return dict(json.loads(self.fixed))


@dataclass(frozen=True, slots=True)
class ExperimentSpec:
    """Everything the reconciler reads of a spec; hashable."""

    objective: Objective | None
    algorithm: Algorithm
    seed: int
    parameters: tuple[Parameter, ...]
    max_trials: int
    parallel: int
    max_failed: int
    suspend: bool
    trial_deadline_seconds: int
    data: Data
    steps: tuple[Step, ...]
    resources: str | None
    """Resource requirements as canonical JSON text."""
    key_secret: str
    output_uri: str
    output_secret: str | None
    keep_candidates: int
    """Of the best trials, in the store, once the model is sealed."""
    search_hash: str
    """Eight hex digits over what a trial's result depends on; results under another hash do not count."""
    acceptance: Acceptance


def parse(obj: Mapping[str, Any]) -> ExperimentSpec:
    """The spec of an object as the API server stores it. Raises SpecError."""
    try:
        return _parse(obj["spec"])
    except (KeyError, TypeError, AttributeError, InvalidOperation) as error:
        raise SpecError(f"spec: {type(error).__name__}: {error}: the CRD is older than this operator") from error
    except SpecError:
        raise
    except ValueError as error:
        raise SpecError(f"spec: {error}") from error


def _parse(spec: Mapping[str, Any]) -> ExperimentSpec:
    parameters = tuple(parse_parameter(p, f"spec.parameters[{at}]") for at, p in enumerate(spec.get("parameters", ())))
    steps = _steps(spec["trainer"])
    _refuse_fixed_and_searched(parameters, steps, is_pipeline="pipeline" in spec["trainer"])
    limit = int(spec.get("maxTrialCount", DEFAULT_TRIALS if parameters else 1))
    algorithm = spec.get("algorithm", {})
    resources = spec["trainer"].get("resources")
    return ExperimentSpec(
        objective=_objective(spec["objective"]) if "objective" in spec else None,
        algorithm=choice(algorithm, "spec.algorithm", "algorithmName", Algorithm, Algorithm.RANDOM),
        seed=int(algorithm.get("seed", 0)),
        parameters=parameters,
        max_trials=limit,
        parallel=int(spec.get("parallelTrialCount", min(DEFAULT_PARALLEL, limit))),
        max_failed=int(spec.get("maxFailedTrialCount", min(DEFAULT_MAX_FAILED, limit))),
        suspend=bool(spec.get("suspend", False)),
        trial_deadline_seconds=int(spec.get("trialActiveDeadlineSeconds", 3600)),
        data=_data(spec["data"]),
        steps=steps,
        resources=canonical(resources) if resources else None,
        key_secret=spec.get("seal", {}).get("keySecretRef", {}).get("name", DEFAULT_KEY_SECRET),
        output_uri=_address("spec.output.uri", spec["output"]["uri"], addresses.why_no_folder).rstrip("/"),
        output_secret=spec["output"].get("secretRef", {}).get("name"),
        keep_candidates=int(spec["output"].get("keepCandidates", DEFAULT_KEPT_CANDIDATES)),
        search_hash=search_hash(spec),
        acceptance=acceptance.parse(spec.get("acceptance", ())),
    )


def search_hash(spec: Mapping[str, Any]) -> str:
    """Eight hex digits over the declared list of fields that a trial's result depends on. Version 1: never change the list."""
    data, trainer = spec["data"], spec["trainer"]
    subject = {
        "version": 1,
        "metric": spec.get("objective", {}).get("objectiveMetricName"),
        "algorithm": {"name": "random", "seed": 0}
        | {k: v for k, v in (("name", spec.get("algorithm", {}).get("algorithmName")),) if v}
        | {k: v for k, v in (("seed", spec.get("algorithm", {}).get("seed")),) if v is not None},
        "parameters": [fields.as_text(one) for one in spec.get("parameters", ())],
        "data": [data["uri"], data.get("digest"), data.get("format", "csv"), data["target"], data.get("task")],
        "split": [data.get("split", {}).get("holdoutFraction", "0.2"), data.get("split", {}).get("seed", 0)],
        "trainer": [trainer.get("estimator"), trainer.get("pipeline"), trainer.get("fixed")],
        "output": spec["output"]["uri"],
    }
    return hashlib.sha256(canonical(subject).encode()).hexdigest()[:8]


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _objective(raw: Mapping[str, Any]) -> Objective:
    goal = float(raw["goal"]) if "goal" in raw else None
    if goal is not None and not math.isfinite(goal):
        raise SpecError(f"spec.objective.goal: {goal} is not a finite number")
    direction = choice(raw, "spec.objective", "type", Direction)
    return Objective(direction, raw["objectiveMetricName"], goal, tuple(raw.get("additionalMetricNames", ())))


def _address(field: str, uri: str, why_none: Callable[[str], str]) -> str:
    if why := why_none(uri):
        raise SpecError(f"{field}: {uri}: {why}: correct it")
    return uri


def _data(raw: Mapping[str, Any]) -> Data:
    split = raw.get("split", {})
    return Data(
        uri=_address("spec.data.uri", raw["uri"], addresses.why_no_table),
        digest=raw.get("digest"),
        format=choice(raw, "spec.data", "format", TableFormat, TableFormat.CSV),
        target=raw["target"],
        task=choice(raw, "spec.data", "task", Task) if "task" in raw else None,
        holdout_fraction=float(split.get("holdoutFraction", "0.2")),
        split_seed=int(split.get("seed", 0)),
        secret=raw.get("secretRef", {}).get("name"),
    )


def _steps(raw: Mapping[str, Any]) -> tuple[Step, ...]:
    if "pipeline" in raw:
        return tuple(Step(s["name"], s["estimator"], canonical(s.get("fixed", {}))) for s in raw["pipeline"])
    return (Step("estimator", raw["estimator"], canonical(raw.get("fixed", {}))),)


def _refuse_fixed_and_searched(
    parameters: tuple[Parameter, ...], steps: tuple[Step, ...], *, is_pipeline: bool
) -> None:
    fixed = {f"{s.name}__{key}" if is_pipeline else key for s in steps for key in s.fixed_values()}
    for name in sorted(fixed & {p.name for p in parameters}):
        raise SpecError(f"spec.parameters: {name} is searched and fixed as well: remove it from one of them")
