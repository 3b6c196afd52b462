"""One list of what keeps a container from running, read alike for serving pods and for pods of Jobs."""

import pytest

from modelcycle.api.modeldeployment import DeploymentReason
from modelcycle.deployment.diagnose import Gravity, diagnose
from modelcycle.deployment.world import pod_view as serving_pod_view
from modelcycle.jobs.views import pod_view as job_pod_view
from modelcycle.kube.pod_problems import REASONS, Waiting, is_image, waiting


def waiting_pod(container: str, reason: str) -> dict[str, object]:
    return {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": container, "state": {"waiting": {"reason": reason, "message": "why"}}}],
        },
    }


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_trial_and_a_serving_pod_agree_whether_the_image_is_missing(reason: str) -> None:
    trial = job_pod_view(waiting_pod("main", reason))
    problem = diagnose(None, [serving_pod_view(waiting_pod("server", reason), "d")])
    assert problem is not None
    by_image = (DeploymentReason.IMAGE_PULL_FAILING, DeploymentReason.IMAGE_UNAVAILABLE)
    assert bool(trial.image_problem) is (problem.reason in by_image) is is_image(reason)
    assert bool(trial.not_starting) is (problem.reason is DeploymentReason.CONTAINER_START_FAILED)


@pytest.mark.parametrize("reason", ["ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"])
def test_an_image_that_cannot_be_checked_is_an_image_problem_of_a_trial(reason: str) -> None:
    assert job_pod_view(waiting_pod("main", reason)).image_problem == f"{reason}: why"


def test_a_hook_before_start_that_fails_is_a_start_problem() -> None:
    problem = diagnose(None, [serving_pod_view(waiting_pod("server", "PreStartHookError"), "d")])
    assert problem is not None
    assert problem.reason is DeploymentReason.CONTAINER_START_FAILED
    assert problem.gravity is Gravity.RETRYING


@pytest.mark.parametrize("reason", [None, "", "ContainerCreating", "PodInitializing", "CrashLoopBackOff", "Unheard"])
def test_waiting_that_names_no_problem_is_none(reason: str | None) -> None:
    assert waiting(reason) is Waiting.OTHER
    assert not is_image(reason)
