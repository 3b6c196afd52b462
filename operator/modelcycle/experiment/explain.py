"""Problems in words: which field, what to do. Owns the mapping from causes to condition reasons and fields; pure."""

from collections.abc import Mapping
from typing import Final

from modelcycle.api.experiment import ExperimentReason
from modelcycle.jobs.results import Problem
from modelcycle_bundle.contract import FailureReason

FIELDS: Final[Mapping[str, str]] = {
    FailureReason.STORE_UNREACHABLE: "spec.data.uri, spec.output.uri",
    FailureReason.STORE_DENIED: "spec.data.secretRef, spec.output.secretRef",
    FailureReason.DATA_NOT_FOUND: "spec.data.uri",
    FailureReason.MODEL_NOT_FOUND: "spec.output.uri",
    FailureReason.DATA_UNREADABLE: "spec.data.uri",
    FailureReason.DATA_CHANGED: "spec.data.digest",
    FailureReason.TARGET_MISSING: "spec.data.target",
    FailureReason.TARGET_UNUSABLE: "spec.data.target",
    FailureReason.FEATURE_NOT_NUMERIC: "spec.data.uri",
    FailureReason.ESTIMATOR_NOT_ALLOWED: "spec.trainer",
    FailureReason.NO_SIGNING_KEY: "spec.seal.keySecretRef",
    FailureReason.NOT_COMPARABLE: "spec.acceptance",
}


def condition_reason(problem: Problem) -> ExperimentReason:
    """The condition reason for a cause; one that is no condition reason of ours is an InternalError."""
    if problem.reason == FailureReason.MODEL_NOT_FOUND:
        return ExperimentReason.OUTPUT_NOT_FOUND
    try:
        return ExperimentReason(problem.reason)
    except ValueError:
        return ExperimentReason.INTERNAL


def describe(problem: Problem, namespace: str, key_secret: str) -> str:
    """One message: field, cause, remedy."""
    if problem.reason == FailureReason.NO_SIGNING_KEY:
        return (
            f"spec.seal.keySecretRef: Secret {key_secret} of namespace {namespace} is missing or holds no usable key; "
            f"make one: kubectl modelcycle keygen -n {namespace}"
        )
    field = FIELDS.get(problem.reason)
    text = problem.message or problem.reason
    return text if field is None or text.startswith("spec.") else f"{field}: {text}"
