"""Which admission policies the operator relies on, and whether they stand as this version knows them. Pure; reads nothing by itself.

Owns the hashes of manifests/base/policies.yaml: an approval is worth what the API server checks, so an altered policy counts as none.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

PODS: Final = "modelcycle-pods"
"""The operator changes nothing of a pod but the share of traffic."""
REQUESTS: Final = "modelcycle-requests"
"""Entries of `spec.requests` carry the name of who wrote them, and Approve the right to it."""
STATUS: Final = "modelcycle-status"
"""Status is written by the operator alone."""

KNOWN: Final[Mapping[str, str]] = {
    PODS: "e3d38107dff16ec10d5823bd8b6173068a73b53289e6da077617be7c9d4a7672",
    REQUESTS: "62c77cf4fa78c9ffc7f1192fdc0f0b87e75cdbdf012a023e10b0b3be2a61b1ae",
    STATUS: "a81f451a29257f0bf48dc95a02de14a16aea8256ddec51b1e1e0363bad236afc",
}
"""Name of each ValidatingAdmissionPolicy and of its ValidatingAdmissionPolicyBinding, with `fingerprint` of the policy's spec."""

_BINDING: Final = {"validationActions": ["Deny"]}
"""A binding's spec but for its `policyName`: everything else would narrow it."""


def enforced(policy: Mapping[str, Any] | None, binding: Mapping[str, Any] | None) -> bool:
    """Whether a policy and the binding of the same name, as read from the API server, are there and unaltered."""
    if policy is None or binding is None:
        return False
    name = policy["metadata"]["name"]
    return (
        name in KNOWN
        and fingerprint(policy["spec"]) == KNOWN[name]
        and binding["metadata"]["name"] == name
        and _filled(binding["spec"]) == {"policyName": name, **_BINDING}
    )


def fingerprint(spec: Mapping[str, Any]) -> str:
    """SHA-256 in hex over canonical JSON without empty values and without the defaults that the API server writes in."""
    filled = _filled(spec)
    constraints = filled.get("matchConstraints", {})
    if constraints.get("matchPolicy") == "Equivalent":
        del constraints["matchPolicy"]
    return hashlib.sha256(json.dumps(filled, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _filled(value: Any) -> Any:
    if isinstance(value, Mapping):
        inner = {key: _filled(item) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item not in ({}, [], "", None)}
    if isinstance(value, list):
        return [_filled(item) for item in value]
    return value
