"""What the installed roles allow and refuse, asked of a real API server's authorizer."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Kubectl = Callable[..., str]
ROOT = Path(__file__).resolve().parents[2]
KUBECTL = Path(sys.executable).parent / "kubectl"
OPERATOR = "system:serviceaccount:modelcycle-system:modelcycle-operator"
KINDS = ("experiments", "modeldeployments", "driftmonitors")
OURS = tuple(f"{kind}.modelcycle.dev" for kind in KINDS)
CHILDREN = ("jobs.batch", "configmaps", "services", "deployments.apps", "controllerrevisions.apps")

Question = tuple[str, str]


@pytest.fixture(scope="module")
def installed(control_plane: Path) -> None:
    """The roles of manifests/base; the operator itself never starts, there is no node."""
    for part in ("namespace", "service_account", "rbac_operator", "rbac_users"):
        path = ROOT / "manifests" / "base" / f"{part}.yaml"
        namespace = ["-n", "modelcycle-system"] if part != "namespace" else []
        command = [str(KUBECTL), "apply", "--server-side", "--force-conflicts", *namespace, "-f", str(path)]
        subprocess.run(command, env={**os.environ, "KUBECONFIG": str(control_plane)}, check=True, capture_output=True)


def allowed(kubectl: Kubectl, user: str, questions: list[Question], namespace: str) -> list[Question]:
    """Those of `questions` that the API server says yes to, asked in one go."""
    asked = json.dumps({"apiVersion": "v1", "kind": "List", "items": [review(user, q, namespace) for q in questions]})
    answers = kubectl("create", "-f", "-", "-o", 'jsonpath={.status.allowed}{"\\n"}', stdin=asked).split()
    assert len(answers) == len(questions)
    return [question for question, one in zip(questions, answers, strict=True) if one == "true"]


def review(user: str, question: Question, namespace: str) -> dict[str, Any]:
    verb, resource = question
    name, _, subresource = resource.partition("/")
    plural, _, group = name.partition(".")
    wanted = {
        "namespace": namespace,
        "verb": verb,
        "group": group,
        "resource": plural,
        "subresource": subresource,
    }
    groups = ["system:serviceaccounts", "system:authenticated"] if ":serviceaccount:" in user else []
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups, "resourceAttributes": wanted},
    }


ALLOWED: list[Question] = [
    *[(verb, kind) for kind in OURS for verb in ("get", "list", "watch")],
    ("create", "experiments.modelcycle.dev"),
    *[("patch", f"{kind}/status") for kind in OURS],
    *[(verb, child) for child in CHILDREN for verb in ("get", "list", "watch", "create", "patch", "delete")],
    *[(verb, "pods") for verb in ("get", "list", "watch", "patch")],
    ("get", "pods/log"),
    *[(verb, "events.events.k8s.io") for verb in ("get", "create", "patch")],
    ("get", "customresourcedefinitions.apiextensions.k8s.io"),
    ("get", "namespaces"),
    ("list", "namespaces"),
]
FORBIDDEN: list[Question] = [
    *[(verb, kind) for kind in OURS for verb in ("update", "patch", "delete")],
    *[("create", kind) for kind in OURS if kind != "experiments.modelcycle.dev"],
    *[("update", f"{kind}/status") for kind in OURS],
    *[(verb, "secrets") for verb in ("get", "list", "watch", "create", "update", "patch", "delete")],
    *[("update", child) for child in CHILDREN],
    *[(verb, "pods") for verb in ("create", "delete", "update")],
    *[("patch", f"pods/{sub}") for sub in ("status", "ephemeralcontainers", "resize")],
    *[(verb, "validatingadmissionpolicies.admissionregistration.k8s.io") for verb in ("get", "patch", "delete")],
    ("approve", "modeldeployments.modelcycle.dev"),
    ("create", "pods/exec"),
    ("create", "serviceaccounts/token"),
    ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
    ("delete", "namespaces"),
    ("get", "leases.coordination.k8s.io"),
    ("get", "nodes"),
]


@pytest.mark.usefixtures("installed")
def test_operator_may_do_its_work_in_any_namespace(kubectl: Kubectl, namespace: str) -> None:
    assert allowed(kubectl, OPERATOR, ALLOWED, namespace) == ALLOWED


@pytest.mark.usefixtures("installed")
def test_operator_may_do_nothing_else(kubectl: Kubectl, namespace: str) -> None:
    assert allowed(kubectl, OPERATOR, FORBIDDEN, namespace) == []


@pytest.mark.usefixtures("installed")
def test_leases_are_the_operators_in_its_own_namespace_only(kubectl: Kubectl) -> None:
    questions = [(verb, "leases.coordination.k8s.io") for verb in ("get", "create", "update", "delete", "list")]
    assert allowed(kubectl, OPERATOR, questions, "modelcycle-system") == questions[:3]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("role", "verbs"),
    [
        ("view", ("get", "list", "watch")),
        ("edit", ("get", "list", "watch", "create", "update", "patch", "delete")),
    ],
)
def test_people_with_view_or_edit_have_it_for_our_kinds_but_not_their_status(
    kubectl: Kubectl, namespace: str, role: str, verbs: tuple[str, ...]
) -> None:
    kubectl("create", "rolebinding", f"anna-{role}", f"--clusterrole={role}", "--user=anna", "-n", namespace)
    every = ("get", "list", "watch", "create", "update", "patch", "delete")
    wanted = [(verb, kind) for kind in OURS for verb in every if verb in verbs]
    unwanted = [(verb, kind) for kind in OURS for verb in every if verb not in verbs]
    status = [("patch", f"{kind}/status") for kind in OURS]

    def granted() -> list[Question]:
        return allowed(kubectl, "anna", [*wanted, *unwanted, *status], namespace)

    # The controller manager copies our rules into view and edit a moment after they are applied.
    deadline = time.monotonic() + 30
    while granted() != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    assert granted() == wanted
