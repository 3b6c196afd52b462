"""Names and labels of children: deterministic, at most 63 characters. Owns all label keys. Does no I/O.

A child's name is f(owner name, owner uid, suffix): a second create by a restarted operator meets AlreadyExists, and an owner that was
deleted and made again never meets its predecessor's children.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from modelcycle.kube.kinds import GROUP, Kind

LABEL_EXPERIMENT: Final = f"{GROUP}/experiment"
LABEL_DEPLOYMENT: Final = f"{GROUP}/deployment"
LABEL_MONITOR: Final = f"{GROUP}/monitor"
LABEL_REVISION: Final = f"{GROUP}/revision"
LABEL_TRIAL: Final = f"{GROUP}/trial"
LABEL_TASK: Final = f"{GROUP}/task"
"""Which program a Job's pod runs: inspect, trial, seal, collect."""
LABEL_LINEAGE: Final = f"{GROUP}/lineage"

COMPONENT: Final = "app.kubernetes.io/component"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "modelcycle"

NAME_LIMIT: Final = 63


def uid_hash(uid: str) -> str:
    """Six hex digits of an owner's uid."""
    return hashlib.sha256(uid.encode()).hexdigest()[:6]


def child_name(owner: str, owner_uid: str, suffix: str) -> str:
    """`<owner>-<uid hash>-<suffix>`, the owner's part cut so that the whole fits 63 characters."""
    tail = f"-{uid_hash(owner_uid)}-{suffix}"
    return owner[: NAME_LIMIT - len(tail)].rstrip("-.") + tail


def child_labels(
    component: str, owner_label: str, owner: str, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The labels of every child: the app.kubernetes.io set, the owner's label, then `extra`."""
    return {
        "app.kubernetes.io/name": "modelcycle",
        COMPONENT: component,
        "app.kubernetes.io/instance": owner,
        MANAGED_BY: MANAGER,
        owner_label: owner,
        **(extra or {}),
    }


def component_of(obj: Mapping[str, Any]) -> str:
    """Which part of its owner a child is; empty when it does not say."""
    return str((obj["metadata"].get("labels") or {}).get(COMPONENT, ""))


def owner_reference(kind: Kind, name: str, uid: str) -> dict[str, object]:
    """The controller ownerReference that every child carries."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
