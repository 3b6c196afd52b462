"""The `fetch` command: task and trust in, verified bundle and termination message out.

Owns the exit codes of the init container. All verification is modelcycle_bundle.fetch's.
"""

from collections.abc import Mapping
from pathlib import Path

from modelcycle_bundle import layout
from modelcycle_bundle.contract import (
    EXIT_FAILED,
    EXIT_RETRY,
    ContractError,
    Failure,
    FailureClass,
    FailureReason,
    FetchResult,
    FetchTask,
    from_json,
)
from modelcycle_bundle.fetch import fetch
from modelcycle_serving import termination
from modelcycle_serving.logs import log


def run(trust: Path, destination: Path, environment: Mapping[str, str]) -> int:
    """Fetch and report. 0: verified and in place; 1: refused for good; 75: the infrastructure failed, try again."""
    result = _result(trust, destination, environment)
    termination.write(result, environment)
    if result.failure is None:
        log.info(
            "bundle verified", extra={"digest": result.digest, "key_hint": result.key_hint, "path": str(destination)}
        )
        return 0
    log.error("bundle refused", extra={"reason": result.failure.reason.value, "detail": result.failure.message})
    return EXIT_RETRY if result.failure.failure_class is FailureClass.INFRASTRUCTURE else EXIT_FAILED


def _result(trust: Path, destination: Path, environment: Mapping[str, str]) -> FetchResult:
    try:
        task = from_json(FetchTask, environment.get(layout.TASK_ENV, ""))
    except ContractError as error:
        return _refused(FailureReason.TASK_INVALID, f"environment variable {layout.TASK_ENV}: {error}")
    try:
        trusted = trust.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return _refused(
            FailureReason.NO_TRUSTED_KEY, f"{trust}: cannot be read; it holds the PEM public keys this namespace trusts"
        )
    log.info("fetching", extra={"uri": task.uri, "digest": task.digest})
    return fetch(task, trusted, destination, environment)


def _refused(reason: FailureReason, message: str) -> FetchResult:
    return FetchResult(failure=Failure(FailureClass.POLICY, reason, message))
