"""What the kubelet means by the reasons with which a container waits. Owns the lists of these reasons; judges no revision and no Job.

The reasons are those of pkg/kubelet/images/types.go, pkg/kubelet/kuberuntime/kuberuntime_container.go, pkg/kubelet/container/sync_result.go
and cri-api/pkg/errors/errors.go (Kubernetes 1.36).
"""

from enum import StrEnum
from typing import Final


class Waiting(StrEnum):
    """Why a container does not run yet."""

    IMAGE_INVALID = "ImageInvalid"
    """The image's name can never be pulled: only an edit mends it."""
    IMAGE = "Image"
    """The image could not be had, this time."""
    START = "Start"
    """The image is there; the container's configuration, creation, hooks or start failed."""
    OTHER = "Other"
    """Nothing is wrong that is known: it is being created, or backs off after an end that its last state tells of."""


_KINDS: Final = {
    Waiting.IMAGE_INVALID: ("InvalidImageName",),
    Waiting.IMAGE: (
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    ),
    Waiting.START: (
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
        "ImageVolumeMountFailed",
        "RROUnsupported",
    ),
}
REASONS: Final = {reason: kind for kind, reasons in _KINDS.items() for reason in reasons}
"""Every reason that names a problem."""


def waiting(reason: str | None) -> Waiting:
    """The kind of a container's `state.waiting.reason`; a reason that is not known says nothing."""
    return REASONS.get(reason or "", Waiting.OTHER)


def is_image(reason: str | None) -> bool:
    """Whether the container waits for its image."""
    return waiting(reason) in (Waiting.IMAGE, Waiting.IMAGE_INVALID)
