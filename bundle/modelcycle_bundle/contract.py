"""The tasks that the operator gives to Jobs and the results they report, as frozen data.

A task travels as JSON in the environment variable `layout.TASK_ENV`, a result as JSON in the container's termination message (at most
`layout.TERMINATION_MESSAGE_LIMIT` bytes); the JSON itself is `wire`'s. Standard library only: the operator imports it. Messages never
hold cell values of the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from modelcycle_bundle.wire import ContractError as ContractError
from modelcycle_bundle.wire import from_json as from_json
from modelcycle_bundle.wire import to_environment as to_environment
from modelcycle_bundle.wire import to_json as to_json

EXIT_FAILED: Final = 1
"""Exit code of a task that failed for good; the termination message says why. No retry."""
EXIT_RETRY: Final = 75
"""Exit code (EX_TEMPFAIL) of a task stopped by infrastructure: the Job or the kubelet tries again."""

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


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


class FailureClass(StrEnum):
    """What kind of thing went wrong; each kind is counted apart and answered differently."""

    INFRASTRUCTURE = "Infrastructure"
    """Store, node or image: retried, not counted as a failed trial while retries last."""
    PARAMETERS = "Parameters"
    """The estimator refused this assignment: no retry, the search learns from it."""
    DATA = "Data"
    """The data cannot be used with this spec: the whole Experiment is stalled."""
    TRAINER = "Trainer"
    """The trainer's own code raised."""
    METRICS = "Metrics"
    """Trained, but the objective is missing, NaN, infinite or text: the trial is MetricsUnavailable."""
    CONVERSION = "Conversion"
    """ONNX conversion failed or its answers differ from scikit-learn's beyond the tolerance."""
    POLICY = "Policy"
    """A rule forbids it: estimator not on the list, digest mismatch, untrusted signature."""


class FailureReason(StrEnum):
    """Machine-readable causes. Each is documented in docs/ and becomes a condition reason or a trial's failure reason."""

    STORE_UNREACHABLE = "StoreUnreachable"
    """The object store did not answer within the retries."""
    STORE_DENIED = "StoreDenied"
    """The object store refused the credentials or none were given."""
    DATA_NOT_FOUND = "DataNotFound"
    """No object at the data URI."""
    DATA_UNREADABLE = "DataUnreadable"
    """The object is not a table of the declared format."""
    DATA_CHANGED = "DataChanged"
    """The bytes read differ from the pinned data digest."""
    TARGET_MISSING = "TargetMissing"
    """The target column is not in the table."""
    TARGET_UNUSABLE = "TargetUnusable"
    """The target has too few labelled rows, or a single class, or is not numeric for a regression."""
    FEATURE_NOT_NUMERIC = "FeatureNotNumeric"
    """A feature column holds text; the message names the column, never a value."""
    ESTIMATOR_NOT_ALLOWED = "EstimatorNotAllowed"
    """The estimator is not in sklearn.utils.all_estimators() nor in the operator's list."""
    BAD_PARAMETERS = "BadParameters"
    """The estimator refused the parameter assignment."""
    TRAINER_RAISED = "TrainerRaised"
    """Fitting raised an exception; the message holds its type."""
    METRIC_UNAVAILABLE = "MetricUnavailable"
    """The objective metric is missing, NaN or infinite."""
    CONVERSION_FAILED = "ConversionFailed"
    """scikit-learn to ONNX conversion raised."""
    CONVERSION_PARITY_FAILED = "ConversionParityFailed"
    """ONNX answers differ from scikit-learn's beyond the tolerance."""
    NO_SIGNING_KEY = "NoSigningKey"
    """The namespace has no signing Secret, or it holds no usable P-256 key."""
    CANDIDATE_MISMATCH = "CandidateMismatch"
    """The candidate's bytes are not the ones the trial reported."""
    GOLDEN_MISMATCH = "GoldenMismatch"
    """Replayed golden answers differ from the recorded ones beyond the tolerance."""
    NOT_COMPARABLE = "NotComparable"
    """The deployed model cannot be measured on these rows: it knows other features or classes, or its bytes are gone or changed."""
    MODEL_NOT_FOUND = "ModelNotFound"
    """No bundle at the model URI."""
    DIGEST_MISMATCH = "DigestMismatch"
    """The bytes of `model/` are not those of the digest in the spec."""
    SIGNATURE_MISSING = "SignatureMissing"
    """No signature lies beside the model."""
    SIGNATURE_INVALID = "SignatureInvalid"
    """No signature verifies with a trusted key."""
    PROVENANCE_INVALID = "ProvenanceInvalid"
    """No provenance statement for this digest verifies with a trusted key."""
    NO_TRUSTED_KEY = "NoTrustedKey"
    """The trust ConfigMap names no key for this namespace."""
    BUNDLE_MALFORMED = "BundleMalformed"
    """A file of the bundle is missing, unlisted, too large or not parseable."""
    FETCH_TIMEOUT = "FetchTimeout"
    """The bundle could not be fetched within the time limit."""
    FETCH_NO_SPACE = "FetchNoSpace"
    """The volume that receives the bundle is full."""
    TASK_INVALID = "TaskInvalid"
    """The task JSON does not parse: operator and image are of different versions."""
    INTERNAL = "InternalError"
    """A defect of the program; the message holds the exception's type."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task did not produce a result. `message` names the object, the field and what to do; it never holds a cell value."""

    failure_class: FailureClass
    reason: FailureReason
    message: str


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


@dataclass(frozen=True, slots=True)
class SealResult:
    """What `seal` published."""

    uri: str | None = None
    digest: str | None = None
    key_hint: str | None = None
    size_bytes: int | None = None
    golden_rows: int | None = None
    failure: Failure | None = None


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
