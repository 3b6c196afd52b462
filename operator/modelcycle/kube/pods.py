"""What every pod we make runs as. Pure.

Owns the security contexts: nothing root, nothing writable but volumes, ids that are ours or the platform's.
"""

from typing import Any, Final

DEFAULT_USER: Final = 65532
"""User and group of pods where the operator's settings name none."""


def pod_security(user: int | None) -> dict[str, Any]:
    """Of a pod. `user` None leaves the ids to the platform's admission, which demands one of the namespace's own range."""
    ids = {} if user is None else {"runAsUser": user, "runAsGroup": user}
    return {"runAsNonRoot": True, **ids, "seccompProfile": {"type": "RuntimeDefault"}}


def container_security() -> dict[str, Any]:
    """Of each container."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
