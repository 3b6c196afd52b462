"""How a task says that it failed: exit codes, classes and reasons, as documented API.

Apart from the tasks themselves, for programs that fail and take no task.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

EXIT_FAILED: Final = 1
"""Exit code of a task that failed for good; the termination message says why. No retry."""
EXIT_RETRY: Final = 75
"""Exit code (EX_TEMPFAIL) of a task stopped by infrastructure: the Job or the kubelet tries again."""


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
    INVALID_SPEC = "InvalidSpec"
    """Two fields of the spec contradict each other in a way that only the trainer can see."""
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
    OUT_OF_MEMORY = "OutOfMemory"
    """Killed at the container's memory limit, or more was asked for than there is."""
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
