"""What the pods of a revision say: exit codes, termination messages and waiting reasons as one problem."""

import pytest

from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.deployment.diagnose import Gravity, diagnose
from modelcycle.deployment.world import ContainerView, PodView
from modelcycle_bundle.contract import Failure, FailureClass, FailureReason, FetchResult, to_json

QUIET = ContainerView()


def said(reason: FailureReason, failure_class: FailureClass = FailureClass.POLICY) -> str:
    return to_json(FetchResult(failure=Failure(failure_class, reason, "because")))


def pod(
    fetch: ContainerView = QUIET,
    server: ContainerView = QUIET,
    *,
    ready: bool = False,
    unschedulable: str | None = None,
) -> PodView:
    return PodView("p", "u", "d", "r", ready, unschedulable, fetch, server)


def ended(code: int, message: str = "", restarts: int = 1) -> ContainerView:
    return ContainerView(restarts, "CrashLoopBackOff", "back-off", code, "Error", message)


FATAL, IMAGE, RETRYING = Gravity.FATAL, Gravity.IMAGE, Gravity.RETRYING


@pytest.mark.parametrize(
    ("seen", "gravity", "reason"),
    [
        (pod(ended(1, said(FailureReason.DIGEST_MISMATCH))), FATAL, Reason.DIGEST_MISMATCH),
        (pod(ended(1, said(FailureReason.SIGNATURE_MISSING))), FATAL, Reason.SIGNATURE_MISSING),
        (pod(ended(1, said(FailureReason.NO_TRUSTED_KEY))), FATAL, Reason.NO_TRUSTED_KEY),
        (pod(ended(1, said(FailureReason.DATA_CHANGED))), FATAL, Reason.FETCH_FAILED),
        (pod(ended(75, said(FailureReason.STORE_UNREACHABLE))), RETRYING, Reason.STORE_UNREACHABLE),
        (pod(ended(75, said(FailureReason.STORE_DENIED))), RETRYING, Reason.STORE_DENIED),
        (pod(ended(75, "")), RETRYING, Reason.FETCH_RETRYING),
        (pod(ended(137, "")), RETRYING, Reason.FETCH_RETRYING),
        (pod(ended(137, "", restarts=3)), FATAL, Reason.FETCH_FAILED),
        (pod(ended(1, "Traceback ...", restarts=3)), FATAL, Reason.FETCH_FAILED),
        (pod(server=ended(1, said(FailureReason.GOLDEN_MISMATCH))), FATAL, Reason.GOLDEN_MISMATCH),
        (pod(server=ended(1, said(FailureReason.BUNDLE_MALFORMED))), FATAL, Reason.SERVER_FAILED),
        (pod(server=ended(137, "", restarts=3)), FATAL, Reason.SERVER_FAILED),
        (
            pod(server=ended(1, said(FailureReason.INTERNAL, FailureClass.INFRASTRUCTURE), restarts=3)),
            FATAL,
            Reason.SERVER_FAILED,
        ),
        (pod(ContainerView(waiting="InvalidImageName")), FATAL, Reason.IMAGE_UNAVAILABLE),
        (pod(ContainerView(waiting="ImagePullBackOff")), IMAGE, Reason.IMAGE_PULL_FAILING),
        (pod(server=ContainerView(waiting="ErrImagePull")), IMAGE, Reason.IMAGE_PULL_FAILING),
        (pod(ContainerView(waiting="CreateContainerConfigError")), RETRYING, Reason.CONTAINER_START_FAILED),
        (pod(unschedulable="0/1 nodes: memory"), RETRYING, Reason.UNSCHEDULABLE),
    ],
)
def test_one_problem_out_of_a_pod(seen: PodView, gravity: Gravity, reason: Reason) -> None:
    problem = diagnose(None, [seen])
    assert problem is not None
    assert (problem.gravity, problem.reason) == (gravity, reason)
    assert problem.message


@pytest.mark.parametrize(
    "seen",
    [
        pod(),
        pod(ContainerView(waiting="PodInitializing")),
        pod(ended(0)),
        pod(server=ended(1, "", restarts=1)),
        pod(ended(1, said(FailureReason.DIGEST_MISMATCH)), ready=True),
    ],
)
def test_what_is_no_problem_yet(seen: PodView) -> None:
    assert diagnose(None, [seen]) is None


def test_worst_of_several_pods_in_any_order() -> None:
    tampered = pod(ended(1, said(FailureReason.DIGEST_MISMATCH)))
    waiting = PodView("a", "u", "d", "r", False, "no node", ContainerView(), ContainerView())
    for pods in ([tampered, waiting], [waiting, tampered]):
        problem = diagnose(None, pods)
        assert problem is not None
        assert problem.reason is Reason.DIGEST_MISMATCH


def test_a_message_that_is_not_ours_is_shown_as_it_is() -> None:
    for seen in (
        ended(1, '{"failure":{"failure_class":"Policy","message":"s3://m: no sig'),
        ended(75, "no route to host"),
    ):
        problem = diagnose(None, [pod(seen)])
        assert problem is not None
        assert seen.message in problem.message


def test_endless_message_is_cut_and_stays_on_one_line() -> None:
    problem = diagnose(None, [pod(server=ended(1, "line\n" * 1000, restarts=5))])
    assert problem is not None
    assert len(problem.message) <= 400
    assert "\n" not in problem.message
