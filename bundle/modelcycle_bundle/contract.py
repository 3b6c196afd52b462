"""The tasks that the operator gives to Jobs and the results they report, as frozen data.

A task travels as JSON in the environment variable `layout.TASK_ENV`, a result as JSON in the container's termination message (at most
`layout.TERMINATION_MESSAGE_LIMIT` bytes); the JSON itself is `wire`'s. Standard library only: the operator imports it. Messages never
hold cell values of the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from modelcycle_bundle.failures import EXIT_FAILED as EXIT_FAILED
from modelcycle_bundle.failures import EXIT_RETRY as EXIT_RETRY
from modelcycle_bundle.failures import Failure as Failure
from modelcycle_bundle.failures import FailureClass as FailureClass
from modelcycle_bundle.failures import FailureReason as FailureReason
from modelcycle_bundle.wire import ContractError as ContractError
from modelcycle_bundle.wire import JsonValue as JsonValue
from modelcycle_bundle.wire import from_json as from_json
from modelcycle_bundle.wire import to_environment as to_environment
from modelcycle_bundle.wire import to_json as to_json


class TaskKind(StrEnum):
    """Which program of the training image a Job runs: `python -m modelcycle_training <kind>`."""

    INSPECT = "inspect"
    """Reports the key's public half and facts of the data. Mounts the key. Runs no user code."""
    TRIAL = "trial"
    """Trains one candidate and writes it unsigned. Never sees the key."""
    SEAL = "seal"
    """Recomputes, replays, signs and publishes the best candidate. Mounts the key. Runs no user code, unpickles nothing."""
    COLLECT = "collect"
    """Reads one trial's result from the store when its termination message was lost."""
    COMPARE = "compare"
    """Measures the best candidate and a deployed model on the same hold-out rows. No key, no user code, unpickles nothing."""


@dataclass(frozen=True, slots=True)
class Split:
    """Seeded hold-out split. `holdout_fraction` is in (0, 1)."""

    holdout_fraction: float = 0.2
    seed: int = 0


@dataclass(frozen=True, slots=True)
class DataRef:
    """One table, or the `latest.json` that names it. `digest` is `sha256:<hex>` of the table's bytes, or None before the first read."""

    uri: str
    digest: str | None
    target: str
    task: str | None
    """`classification`, `regression`, or None: taken from the estimator."""
    format: str = "csv"
    split: Split = field(default_factory=Split)


@dataclass(frozen=True, slots=True)
class PipelineStep:
    """One named step of a scikit-learn Pipeline; `fixed` are its constructor arguments as JSON values."""

    name: str
    estimator: str
    fixed: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trainer:
    """What is fitted. One step: that estimator itself; more: a Pipeline, whose parameters are addressed `step__name`."""

    steps: tuple[PipelineStep, ...]
    extra_estimators: tuple[str, ...] = ()
    """Estimator paths the operator's settings allow beyond `sklearn.utils.all_estimators()`."""


@dataclass(frozen=True, slots=True)
class InspectTask:
    """Look at the key and the data; `output_uri` is probed for reachability only. None: look at the data alone, no key is needed."""

    data: DataRef
    output_uri: str | None


@dataclass(frozen=True, slots=True)
class ColumnNote:
    """What `inspect` has to say of one feature column. No cell of the data."""

    name: str
    missing: int
    """Rows without a value."""
    constant: bool
    """It has one value, or none: nothing can be learned from it."""


@dataclass(frozen=True, slots=True)
class InspectResult:
    """What `inspect` saw. Exactly the fields known are set; `failure` says what stopped it, after the key was looked at."""

    key_present: bool
    public_key: str | None = None
    key_hint: str | None = None
    """Hex SHA-256 of the PEM public key, as in OMS."""
    data_digest: str | None = None
    rows: int | None = None
    columns: int | None = None
    labelled_rows: int | None = None
    data_uri: str | None = None
    """Where the table lies when the task's URI is a `latest.json`."""
    failure: Failure | None = None
    column_notes: tuple[ColumnNote, ...] | None = None
    """Of the columns that there is something to say of, in the table's order; too large for a termination message."""
    more: str | None = None
    """Set in a termination message only: the log has the whole result (factlines)."""


@dataclass(frozen=True, slots=True)
class TrialTask:
    """Fit one assignment and write `<output_uri>/<candidate_prefix>/{model/, result.json}`."""

    experiment: str
    experiment_uid: str
    index: int
    seed: int
    data: DataRef
    trainer: Trainer
    parameters: Mapping[str, JsonValue]
    objective_metric: str | None
    """None: roc_auc (binary), log_loss (multiclass), r2 (regression)."""
    output_uri: str
    attempt: int = 0
    """More than 0 when an earlier attempt of this index was discarded; its candidate has a folder of its own."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What one trial reports. Metric values are decimal strings; a trial without `failure` has its objective among them."""

    index: int
    objective_metric: str | None = None
    metrics: Mapping[str, str] = field(default_factory=dict)
    candidate_digest: str | None = None
    """OMS root digest of the candidate's `model/`."""
    data_digest: str | None = None
    rows: int | None = None
    failure: Failure | None = None
    more: str | None = None
    """Set in a termination message only: the log has the whole result (factlines)."""


@dataclass(frozen=True, slots=True)
class AttemptRange:
    """The attempts of this number of the trials `first` to `last`, both included."""

    attempt: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SealTask:
    """Sign and publish one candidate as `<output_uri>/<sealed_prefix>/`."""

    experiment: str
    experiment_uid: str
    index: int
    candidate_digest: str
    data_digest: str
    data_uri: str
    output_uri: str
    image_id: str | None
    """Resolved image of the trial's pod, for the provenance."""
    external_parameters: Mapping[str, JsonValue]
    """The Experiment's spec and the assignment, for the provenance."""
    attempt: int = 0
    """The trial's attempt, as in its TrialTask."""
    remove: tuple[AttemptRange, ...] = ()
    """Losing trials of the same Experiment whose candidates are removed once this one is published."""


@dataclass(frozen=True, slots=True)
class SealResult:
    """What `seal` published."""

    uri: str | None = None
    digest: str | None = None
    key_hint: str | None = None
    size_bytes: int | None = None
    golden_rows: int | None = None
    removed: int | None = None
    """Candidates of losing trials that were removed."""
    removal_problem: str | None = None
    """Why not all of them were."""
    failure: Failure | None = None
    more: str | None = None
    """Set in a termination message only: the log has the whole result (factlines)."""


@dataclass(frozen=True, slots=True)
class CollectTask:
    """Read `<output_uri>/<candidate_prefix>/result.json` back; the result is a `TrialResult`."""

    experiment_uid: str
    index: int
    output_uri: str
    attempt: int = 0
    """The trial's attempt, as in its TrialTask."""


@dataclass(frozen=True, slots=True)
class CompareTask:
    """Measure the candidate of a trial and a deployed model on the hold-out rows that the trial was judged on."""

    experiment_uid: str
    index: int
    data: DataRef
    """As in the TrialTask, pinned to the digest that the trial read."""
    metric: str
    """The trial's objective."""
    output_uri: str
    candidate_digest: str
    deployed_uri: str
    deployed_digest: str
    attempt: int = 0
    """The trial's attempt, as in its TrialTask."""


@dataclass(frozen=True, slots=True)
class CompareResult:
    """What `compare` measured, as decimal strings. Without `failure` all is set."""

    metric: str | None = None
    candidate: str | None = None
    deployed: str | None = None
    candidate_digest: str | None = None
    deployed_digest: str | None = None
    rows: int | None = None
    """Hold-out rows that both answered."""
    failure: Failure | None = None
    more: str | None = None
    """Set in a termination message only: the log has the whole result (factlines)."""


@dataclass(frozen=True, slots=True)
class FetchTask:
    """Fetch and verify one bundle into `layout.BUNDLE_MOUNT` (init container of the serving pods)."""

    uri: str
    digest: str
    max_bytes: int = 2 * 1024**3
    timeout_seconds: int = 120


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What the fetch step verified."""

    digest: str | None = None
    key_hint: str | None = None
    failure: Failure | None = None
