"""Why a revision that is coming up is not Ready: one problem out of its pods, the worst first. Pure.

Owns the reading of exit codes, termination messages and waiting reasons. Must never judge a stable revision, nor time: how long a
retryable problem may last is `decide`'s.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.deployment.world import ContainerView, DeploymentView, PodView
from modelcycle.kube.pod_problems import Waiting, waiting
from modelcycle_bundle.contract import EXIT_RETRY, ContractError, Failure, FailureClass, FetchResult, from_json

CRASH_LIMIT: Final = 3
"""Restarts after which an end without a verdict counts as one."""
MESSAGE_LIMIT: Final = 400


class Gravity(StrEnum):
    """What a problem means for the revision."""

    FATAL = "Fatal"
    """The revision is rejected at once."""
    IMAGE = "Image"
    """Rejected when it lasts for the image bound."""
    RETRYING = "Retrying"
    """The cluster tries again; only the progress deadline ends it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a revision from being Ready."""

    gravity: Gravity
    reason: Reason
    message: str


def diagnose(deployment: DeploymentView | None, pods: Iterable[PodView]) -> Problem | None:
    """The worst problem of a revision, None while it just takes its time. Same pods, any order: same answer."""
    found = [problem for pod in sorted(pods, key=lambda p: p.name) for problem in _pod_problems(pod)]
    if deployment is not None and deployment.refused is not None:
        found.append(Problem(Gravity.RETRYING, Reason.PODS_REFUSED, _cut(deployment.refused)))
    return _worst(found)


def _worst(found: Sequence[Problem]) -> Problem | None:
    order = list(Gravity)
    return min(found, key=lambda problem: order.index(problem.gravity), default=None)


def _pod_problems(pod: PodView) -> list[Problem]:
    if pod.ready:
        return []
    if pod.unschedulable is not None:
        return [Problem(Gravity.RETRYING, Reason.UNSCHEDULABLE, _cut(f"pod {pod.name}: {pod.unschedulable}"))]
    candidates = (
        _kubelet_problem(pod, pod.fetch),
        _kubelet_problem(pod, pod.server),
        _fetch_problem(pod),
        _server_problem(pod),
    )
    return [problem for problem in candidates if problem is not None]


def _kubelet_problem(pod: PodView, container: ContainerView) -> Problem | None:
    text = _cut(f"pod {pod.name}: {container.waiting}: {container.waiting_message}".rstrip(": "))
    match waiting(container.waiting):
        case Waiting.IMAGE_INVALID:
            return Problem(Gravity.FATAL, Reason.IMAGE_UNAVAILABLE, text)
        case Waiting.IMAGE:
            return Problem(Gravity.IMAGE, Reason.IMAGE_PULL_FAILING, text)
        case Waiting.START:
            return Problem(Gravity.RETRYING, Reason.CONTAINER_START_FAILED, text)
        case Waiting.OTHER:
            return None


def _fetch_problem(pod: PodView) -> Problem | None:
    code = pod.fetch.exit_code
    if code in (None, 0):
        return None
    failure = _failure(pod.fetch.message)
    if failure is not None:
        message = _cut(failure.message)
        if code == EXIT_RETRY:
            return Problem(Gravity.RETRYING, _reason(failure, Reason.FETCH_RETRYING), message)
        return Problem(Gravity.FATAL, _reason(failure, Reason.FETCH_FAILED), message)
    ended = f"pod {pod.name}: the fetch step ended with exit code {code} {pod.fetch.exit_reason}".rstrip()
    # Cut by the kubelet, or the end of its log: not our form, and all that is known.
    text = _cut(f"{ended}: {pod.fetch.message}".rstrip(": "))
    if code != EXIT_RETRY and pod.fetch.restarts >= CRASH_LIMIT:
        return Problem(Gravity.FATAL, Reason.FETCH_FAILED, text)
    return Problem(Gravity.RETRYING, Reason.FETCH_RETRYING, text)


def _server_problem(pod: PodView) -> Problem | None:
    code = pod.server.exit_code
    if code is None:
        return None
    failure = _failure(pod.server.message)
    if failure is not None and failure.failure_class is not FailureClass.INFRASTRUCTURE:
        if failure.reason.value == Reason.GOLDEN_MISMATCH.value:
            return Problem(Gravity.FATAL, Reason.GOLDEN_MISMATCH, _cut(failure.message))
        return Problem(Gravity.FATAL, Reason.SERVER_FAILED, _cut(f"{failure.reason.value}: {failure.message}"))
    if pod.server.restarts < CRASH_LIMIT:
        return None
    said = f"{failure.reason.value}: {failure.message}" if failure else pod.server.message
    ended = f"exit code {code} {pod.server.exit_reason}".rstrip()
    text = f"pod {pod.name}: the server ended {pod.server.restarts} times, last with {ended}: {said}".rstrip(": ")
    return Problem(Gravity.FATAL, Reason.SERVER_FAILED, _cut(text))


def _failure(message: str) -> Failure | None:
    """The failure in a termination message, of the fetch step's form or bare; None when it says nothing we know."""
    try:
        wrapped = from_json(FetchResult, message).failure
        return wrapped if wrapped is not None else from_json(Failure, message)
    except ContractError:
        return None


def _reason(failure: Failure, otherwise: Reason) -> Reason:
    known = {reason.value for reason in Reason}
    return Reason(failure.reason.value) if failure.reason.value in known else otherwise


def _cut(text: str) -> str:
    return " ".join(text.split())[:MESSAGE_LIMIT]
