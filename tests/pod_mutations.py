"""Admission policies that change new pods of one namespace, as a platform of somebody else's does. Owns the objects; no test."""

import json
from collections.abc import Mapping
from typing import Any, Final

_API: Final = "admissionregistration.k8s.io/v1"


def pod_mutation(name: str, namespace: str, conditions: Mapping[str, str], change: Mapping[str, Any]) -> str:
    """The policy and its binding, for `kubectl apply` and `delete`. `conditions` are CEL by name, `change` one item of `mutations`."""
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    spec = {
        "matchConstraints": {"namespaceSelector": selector, "resourceRules": [pods]},
        "matchConditions": [{"name": key, "expression": value} for key, value in conditions.items()],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [change],
    }
    policy = {"apiVersion": _API, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec}
    binding = {**policy, "kind": "MutatingAdmissionPolicyBinding", "spec": {"policyName": name}}
    return "\n---\n".join(map(json.dumps, (policy, binding)))
