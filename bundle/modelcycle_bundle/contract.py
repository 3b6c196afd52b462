"""The tasks that the operator gives to Jobs and the results they report, as frozen data.

Owns the wire form: a task travels as JSON in the environment variable `layout.TASK_ENV`, a result as JSON in the container's
termination message (at most `layout.TERMINATION_MESSAGE_LIMIT` bytes). Standard library only: the operator imports it. Messages
never hold cell values of the data.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

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


T = TypeVar("T")


class ContractError(ValueError):
    """The JSON is not the expected dataclass; the text names the path of the field."""


def to_json(value: object) -> str:
    """One compact line with sorted keys; fields that are None are left out. Raises ValueError for NaN and infinity."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def to_environment(value: object) -> str:
    """`to_json` for an environment variable of a pod: the kubelet would put other variables, credentials too, in place of `$(NAME)`."""
    return to_json(value).replace("$", "\\u0024")


def from_json(kind: type[T], text: str) -> T:
    """Parse a task or a result strictly: unknown fields are ignored (a newer writer), wrong types are refused.

    Raises ContractError with the field's path.
    """
    try:
        raw = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except ContractError:
        raise
    except (ValueError, RecursionError) as error:
        raise ContractError(f"not JSON: {error}") from error
    return typing.cast(T, _build(kind, raw, kind.__name__))


def _refuse_constant(name: str) -> float:
    raise ContractError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # 1e999 is valid JSON and would become infinity
        raise ContractError(f"the number {text[:20]} is out of range")
    return value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: _plain(item) for name, item in pairs if item is not None}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _build(kind: Any, raw: Any, path: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _build_optional(kind, raw, path)
    if origin is tuple:
        if not isinstance(raw, list):
            raise ContractError(f"{path}: expected a list")
        return tuple(_build(typing.get_args(kind)[0], item, f"{path}[{at}]") for at, item in enumerate(raw))
    if origin is not None:
        return _build_mapping(kind, raw, path)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, raw, path)
    return _build_scalar(kind, raw, path)


def _build_optional(kind: Any, raw: Any, path: str) -> Any:
    options = typing.get_args(kind)
    if len(options) > 2:  # JsonValue: any JSON stands as it is
        return raw
    return None if raw is None else _build(next(o for o in options if o is not type(None)), raw, path)


def _build_mapping(kind: Any, raw: Any, path: str) -> Any:
    if not isinstance(raw, dict):
        raise ContractError(f"{path}: expected an object")
    item_kind = typing.get_args(kind)[1]
    return {key: _build(item_kind, item, f"{path}.{key}") for key, item in raw.items()}


def _build_dataclass(kind: Any, raw: Any, path: str) -> Any:
    if not isinstance(raw, dict):
        raise ContractError(f"{path}: expected an object")
    hints = typing.get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)}
    given = {name: _build(hints[name], raw[name], f"{path}.{name}") for name in known & raw.keys()}
    # None is left out on the wire, so an absent field without a default may stand for it.
    absent = {
        f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING
    } - given.keys()
    given |= {name: None for name in absent if type(None) in typing.get_args(hints[name])}
    try:
        return kind(**given)
    except TypeError as error:
        raise ContractError(f"{path}: {error}") from error


def _build_scalar(kind: Any, raw: Any, path: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(raw)
        except ValueError as error:
            raise ContractError(f"{path}: {raw!r} is not one of {[m.value for m in kind]}") from error
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return _finite(str(raw))
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        raise ContractError(f"{path}: expected {kind.__name__}")
    return raw
