"""What every pod we make runs as, and when a pod is none any more. Pure.

Owns the security contexts: nothing root, nothing writable but volumes, ids that are ours or the platform's.
"""

from collections.abc import Mapping
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


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod runs and its readiness says that it answers."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return not has_ended(pod) and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Whether a pod will never run again: evicted, lost with its node, or done.

    Its object stays until a garbage collector takes it, in a cluster of normal size for ever, and tells of conditions and containers
    whatever it told last.
    """
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
