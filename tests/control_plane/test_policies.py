"""The admission policies of manifests/base, each clause asked of a real API server by the users it is about.

The policies are applied as they stand; their bindings reach this module's namespace only, so that other tests go on writing status.
"""

import copy
import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conformance.refusals import refusal, refused_by
from modelcycle.api.policies import KNOWN, PODS, REQUESTS, STATUS, enforced
from modelcycle_bundle.traffic import ANNOTATION

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = "system:serviceaccount:modelcycle-system:modelcycle-operator"
FLUX = "system:serviceaccount:flux-system:kustomize-controller"
DIGEST = f"sha256:{'ab' * 32}"
Object = dict[str, Any]
Kubectl = Callable[..., str]
DOCUMENTS = list(yaml.safe_load_all((ROOT / "manifests" / "base" / "policies.yaml").read_text()))


def narrowed(binding: Object, namespace: str) -> Object:
    """The binding for one namespace, under a name of its own."""
    out = copy.deepcopy(binding)
    out["metadata"]["name"] += f"-{namespace}"
    out["spec"]["matchResources"] = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    }
    return out


class Plant:
    """One namespace with people, a pod that serves, a ModelDeployment, and the policies in force."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self.kubectl = kubectl
        self.namespace = namespace

    def apply(self, *objects: Object, user: str | None = None, manager: str = "test", dry_run: bool = False) -> str:
        options = [f"--as={user}"] if user else []
        options += ["--dry-run=server"] if dry_run else []
        body = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        command = ("apply", "--server-side", "--force-conflicts", f"--field-manager={manager}", "-f", "-")
        return self.kubectl(*command, "-n", self.namespace, *options, stdin=body)

    def patch(self, kind: str, name: str, patch: Object, user: str, *options: str) -> str:
        how = "strategic" if kind == "pod" else "merge"
        command = ("patch", kind, name, f"--type={how}", "-p", json.dumps(patch), *options)
        return self.kubectl(*command, "-n", self.namespace, f"--as={user}")

    def request(self, name: str, user: str, *requests: Object) -> str:
        """Replace the list of requests as `user`."""
        return self.patch("modeldeployment", name, {"spec": {"requests": list(requests)}}, user)

    def requests(self, name: str) -> list[str]:
        """Ids of the requests that are there."""
        found = json.loads(self.kubectl("get", "modeldeployment", name, "-n", self.namespace, "-o", "json"))
        return [request["id"] for request in found["spec"].get("requests", [])]

    def deployment(self, *requests: Object) -> str:
        """A new ModelDeployment of a new name, to which the authors of these requests have added them."""
        name = f"md-{uuid.uuid4().hex[:8]}"
        self.apply(model_deployment(name))
        for number, one in enumerate(requests, 1):
            self.request(name, one["by"], *requests[:number])
        return name


def model_deployment(name: str, **spec: Any) -> Object:
    return {
        "apiVersion": "modelcycle.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {"model": {"uri": "s3://models/scrap", "digest": DIGEST}, **spec},
    }


def request(identity: str, by: str, verb: str = "Retry", **more: str) -> Object:
    return {"id": identity, "verb": verb, "by": by, "digest": DIGEST, **more}


def pod(name: str, **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "annotations": {"team": "line-3"}},
        "spec": {"containers": [{"name": "server", "image": "localhost/none"}], "tolerations": []},
    }


@pytest.fixture(scope="module")
def plant(kubectl: Kubectl) -> Iterator[Plant]:
    plant = Plant(kubectl, f"policies-{uuid.uuid4().hex[:8]}")
    bindings = [narrowed(d, plant.namespace) for d in DOCUMENTS if d["kind"].endswith("Binding")]
    for part in ("namespace", "service_account", "rbac_operator", "rbac_users"):
        path = ROOT / "manifests" / "base" / f"{part}.yaml"
        within = ["-n", "modelcycle-system"] if part != "namespace" else []
        kubectl("apply", "--server-side", "--force-conflicts", *within, "-f", str(path))
    kubectl("create", "namespace", plant.namespace)
    try:
        people(kubectl, plant.namespace)
        until(lambda: not refusal(lambda: kubectl("get", "serviceaccount", "default", "-n", plant.namespace)))
        plant.apply(pod("serving", **{"modelcycle.dev/deployment": "scrap"}), pod("other", app="other"))
        plant.apply(model_deployment("probe"))
        # As an earlier release let it through.
        plant.apply(model_deployment("upgraded", requests=[request("old", "anna", "PromoteFull")]), user="anna")
        plant.apply(*[d for d in DOCUMENTS if not d["kind"].endswith("Binding")], *bindings)
        until(lambda: in_force(plant))
        yield plant
    finally:
        for binding in bindings:
            kubectl("delete", "validatingadmissionpolicybinding", binding["metadata"]["name"], "--ignore-not-found")
        kubectl("delete", "namespace", plant.namespace, "--wait=false")


def people(kubectl: Kubectl, namespace: str) -> None:
    """anna and ben edit, carla edits and approves, flux edits; each by roles of manifests/base."""
    for user in ("anna", "ben", "carla", FLUX):
        name = user.rpartition(":")[2]
        kubectl(
            "create", "rolebinding", f"{name}-edit", "--clusterrole=modelcycle-edit", f"--user={user}", "-n", namespace
        )
        kubectl(
            "create", "rolebinding", f"{name}-view", "--clusterrole=modelcycle-view", f"--user={user}", "-n", namespace
        )
    kubectl("create", "rolebinding", "approve", "--clusterrole=modelcycle-approve", "--user=carla", "-n", namespace)


def in_force(plant: Plant) -> bool:
    """The API server has compiled all three, some seconds after they were applied."""
    return (
        bool(refusal(lambda: plant.patch("pod", "other", traffic("{}"), OPERATOR, "--dry-run=server")))
        and bool(refusal(lambda: plant.apply(model_deployment("new", requests=[request("a", "eve")]), dry_run=True)))
        and bool(refusal(lambda: status(plant, "probe", "kubernetes-admin")))
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "not within 60 s"
        time.sleep(0.2)


def traffic(text: str) -> Object:
    return {"metadata": {"annotations": {ANNOTATION: text}}}


def status(plant: Plant, name: str, user: str, kind: str = "modeldeployment") -> str:
    return plant.patch(kind, name, {"status": {"observedGeneration": 1}}, user, "--subresource=status")


# ---- Pods ----


def test_operator_changes_the_share_of_a_serving_pod(plant: Plant) -> None:
    for text in ('{"share":"0.0500"}', '{"share":"0.0000"}'):
        plant.patch("pod", "serving", traffic(text), OPERATOR)
    path = f"jsonpath={{.metadata.annotations.{ANNOTATION.replace('.', chr(92) + '.')}}}"
    assert plant.kubectl("get", "pod", "serving", "-n", plant.namespace, "-o", path) == '{"share":"0.0000"}'


PODS_REFUSED: list[tuple[str, Object, str]] = [
    ("label", {"metadata": {"labels": {"app": "stolen"}}}, "nothing of a pod but"),
    ("label_removed", {"metadata": {"labels": {"modelcycle.dev/deployment": None}}}, "nothing of a pod but"),
    ("finalizer", {"metadata": {"finalizers": ["modelcycle.dev/stay"]}}, "nothing of a pod but"),
    ("image", {"spec": {"containers": [{"name": "server", "image": "localhost/evil"}]}}, "nothing of a pod but"),
    ("deadline", {"spec": {"activeDeadlineSeconds": 1}}, "nothing of a pod but"),
    (
        "annotation",
        {"metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}}},
        "no annotation",
    ),
    ("annotation_changed", {"metadata": {"annotations": {"team": "line-4"}}}, "no annotation"),
    ("annotation_removed", {"metadata": {"annotations": {"team": None}}}, "no annotation"),
    (
        "share_and_label",
        {"metadata": {"annotations": {ANNOTATION: "{}"}, "labels": {"app": "x"}}},
        "nothing of a pod but",
    ),
]


@pytest.mark.parametrize(("patch", "words"), [c[1:] for c in PODS_REFUSED], ids=[c[0] for c in PODS_REFUSED])
def test_operator_changes_nothing_else_of_a_serving_pod(plant: Plant, patch: Object, words: str) -> None:
    assert refused_by(lambda: plant.patch("pod", "serving", patch, OPERATOR), PODS, words)


def test_operator_changes_no_owner_of_a_pod(plant: Plant) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": str(uuid.uuid4())}
    patch = {"metadata": {"ownerReferences": [owner]}}
    assert refused_by(lambda: plant.patch("pod", "serving", patch, OPERATOR), PODS, "nothing of a pod but")


def test_operator_leaves_pods_that_serve_no_model_alone(plant: Plant) -> None:
    patch = traffic("{}")
    patch["metadata"]["labels"] = {"modelcycle.dev/deployment": "scrap"}
    for one in (traffic("{}"), patch):
        call = lambda one=one: plant.patch("pod", "other", one, OPERATOR)  # noqa: E731
        assert refused_by(call, PODS, "only pods with the label")


def test_other_accounts_change_pods_as_their_roles_say(plant: Plant) -> None:
    name, options = f"free-{uuid.uuid4().hex[:6]}", ("--type=merge", "-p", '{"metadata":{"labels":{"app":"mine"}}}')
    plant.apply(pod(name, **{"modelcycle.dev/deployment": "scrap"}))
    assert not refusal(lambda: plant.kubectl("patch", "pod", name, "-n", plant.namespace, *options))


# ---- Requests ----


@pytest.mark.parametrize("user", ["anna", FLUX])
def test_requests_of_ones_own_name_are_taken_delivery_65(plant: Plant, user: str) -> None:
    name = plant.deployment()
    plant.request(name, user, request("one", user), request("two", user, "Abort", reason="scrap rate rises"))
    assert plant.requests(name) == ["one", "two"]


@pytest.mark.parametrize("user", ["anna", "carla", FLUX])
def test_requests_of_anothers_name_are_refused_delivery_65(plant: Plant, user: str) -> None:
    name = plant.deployment(request("old", "ben"))
    call = lambda: plant.request(name, user, request("old", "ben"), request("new", "ben"))  # noqa: E731
    assert refused_by(call, REQUESTS, f"by must be your own user name, {user}")
    assert plant.requests(name) == ["old"]


def test_a_new_object_cannot_bring_anothers_request(plant: Plant) -> None:
    name = f"md-{uuid.uuid4().hex[:8]}"
    forged = model_deployment(name, requests=[request("a", "carla", "Approve")])
    assert refused_by(lambda: plant.apply(forged, user="anna"), REQUESTS, "by must be your own user name, anna")
    plant.apply(model_deployment(name, requests=[request("a", "anna")]), user="anna")
    assert plant.requests(name) == ["a"]


def test_approve_needs_its_own_right_delivery_65(plant: Plant) -> None:
    name = plant.deployment()
    asked = refused_by(lambda: plant.request(name, "anna", request("a", "anna", "Approve")), REQUESTS, "verb approve")
    assert asked
    plant.request(name, "carla", request("a", "carla", "Approve"))
    assert plant.requests(name) == ["a"]


def test_approve_with_a_new_object_needs_the_right_too(plant: Plant) -> None:
    name = f"md-{uuid.uuid4().hex[:8]}"
    call = lambda: plant.apply(  # noqa: E731
        model_deployment(name, requests=[request("a", "anna", "Approve")]), user="anna"
    )
    assert refused_by(call, REQUESTS, "verb approve")
    plant.apply(model_deployment(name, requests=[request("a", "carla", "Approve")]), user="carla")


@pytest.mark.parametrize("reason", [None, "", " \t"])
def test_a_full_promotion_needs_a_reason_whoever_writes_it(plant: Plant, reason: str | None) -> None:
    name = plant.deployment(request("old", "anna"))
    said = {} if reason is None else {"reason": reason}
    for user in ("anna", "carla"):
        entries = (request("old", "anna"), request("a", user, "PromoteFull", **said))
        call = lambda user=user, entries=entries: plant.request(name, user, *entries)  # noqa: E731
        assert refused_by(call, REQUESTS, "give the reason for the record")
    plant.request(name, "anna", request("old", "anna"), request("a", "anna", "PromoteFull", reason="a known fault"))
    assert plant.requests(name) == ["old", "a"]


def test_a_full_promotion_without_a_reason_from_before_the_policy_blocks_no_later_update(plant: Plant) -> None:
    old = request("old", "anna", "PromoteFull")
    plant.apply(model_deployment("upgraded", progressDeadlineSeconds=900), user=FLUX, manager="kustomize-controller")
    plant.request("upgraded", "ben", old, request("b", "ben"))
    assert plant.requests("upgraded") == ["old", "b"]
    call = lambda: plant.request("upgraded", "anna", old, request("b", "ben"), request("c", "anna", "PromoteFull"))  # noqa: E731
    assert refused_by(call, REQUESTS, "give the reason for the record")
    plant.request("upgraded", "anna", request("b", "ben"))
    assert plant.requests("upgraded") == ["b"]


def test_the_right_can_be_given_for_one_object_by_name(plant: Plant) -> None:
    name, other = plant.deployment(), plant.deployment()
    role = ("--verb=approve", "--resource=modeldeployments.modelcycle.dev", f"--resource-name={name}")
    plant.kubectl("create", "role", f"approve-{name}", *role, "-n", plant.namespace)
    plant.kubectl("create", "rolebinding", name, f"--role=approve-{name}", "--user=ben", "-n", plant.namespace)
    until(lambda: not refusal(lambda: plant.request(name, "ben", request("a", "ben", "Approve"))))
    assert refused_by(lambda: plant.request(other, "ben", request("a", "ben", "Approve")), REQUESTS, "verb approve")


@pytest.mark.parametrize("change", [{"verb": "Abort"}, {"digest": f"sha256:{'cd' * 32}"}, {"reason": "other"}])
def test_an_entry_stays_as_it_was_written(plant: Plant, change: dict[str, str]) -> None:
    name = plant.deployment(request("a", "anna"))
    call = lambda: plant.request(name, "anna", {**request("a", "anna"), **change})  # noqa: E731
    assert refused_by(call, REQUESTS, "cannot be changed")


def test_an_entry_cannot_pass_to_another_name(plant: Plant) -> None:
    name = plant.deployment(request("a", "anna"))
    assert refused_by(lambda: plant.request(name, "ben", request("a", "ben")), REQUESTS, "cannot be changed")


@pytest.mark.parametrize(("user", "may"), [("anna", True), ("ben", False), ("carla", True), (FLUX, False)])
def test_an_unexecuted_entry_is_withdrawn_by_author_or_approver(plant: Plant, user: str, may: bool) -> None:
    name = plant.deployment(request("a", "anna"), request("b", "ben"))
    said = refusal(lambda: plant.request(name, user, request("b", "ben")))
    assert ("withdrawn by its author" in said) is not may
    assert plant.requests(name) == (["b"] if may else ["a", "b"])


def test_anyone_drops_an_executed_entry(plant: Plant) -> None:
    name = plant.deployment(request("a", "anna"), request("b", "anna"))
    executed = {**request("a", "anna"), "at": "2026-11-25T08:00:00Z", "result": "Executed"}
    plant.patch("modeldeployment", name, {"status": {"requests": [executed]}}, OPERATOR, "--subresource=status")
    plant.request(name, "ben", request("b", "anna"))
    assert plant.requests(name) == ["b"]


def test_a_replacement_of_the_whole_object_does_not_lose_anothers_entry(plant: Plant) -> None:
    name = plant.deployment(request("a", "anna"))
    text = json.dumps({**model_deployment(name)})
    call = lambda: plant.kubectl("replace", "-n", plant.namespace, "--as=ben", "-f", "-", stdin=text)  # noqa: E731
    assert refused_by(call, REQUESTS, "withdrawn by its author")


def test_gitops_applies_the_spec_beside_peoples_requests_delivery_70(plant: Plant) -> None:
    name = plant.deployment()
    plant.apply(model_deployment(name), user=FLUX, manager="kustomize-controller")
    plant.apply(model_deployment(name, requests=[request("a", "anna")]), user="anna", manager="modelcycle-cli")
    spec = model_deployment(name, progressDeadlineSeconds=900)
    plant.apply(spec, user=FLUX, manager="kustomize-controller")
    assert plant.requests(name) == ["a"]


def test_deletion_and_its_finalizers_pass(plant: Plant) -> None:
    name = plant.deployment(request("a", "anna"))
    plant.kubectl("delete", "modeldeployment", name, "-n", plant.namespace, "--as=ben", "--cascade=foreground")
    until(lambda: bool(refusal(lambda: plant.kubectl("get", "modeldeployment", name, "-n", plant.namespace))))


# ---- Status ----


@pytest.mark.parametrize("kind", ["experiment", "modeldeployment", "driftmonitor"])
def test_status_is_the_operators_alone(plant: Plant, kind: str) -> None:
    name = f"status-{uuid.uuid4().hex[:6]}"
    plant.apply(of_kind(kind, name))
    status(plant, name, OPERATOR, kind)
    # The cluster's admin may do everything that roles give: only the policy stops him.
    admin = ("patch", kind, name, "-n", plant.namespace, "--subresource=status", "--type=merge", "-p")
    call = lambda: plant.kubectl(*admin, '{"status":{"observedGeneration":7}}')  # noqa: E731
    assert refused_by(call, STATUS, "written by the operator alone")


def of_kind(kind: str, name: str) -> Object:
    documents = yaml.safe_load_all((ROOT / "manifests" / "samples" / "minimal.yaml").read_text())
    (found,) = [d for d in documents if d["kind"].lower() == kind]
    found["metadata"]["name"] = name
    return dict(found)


# ---- The policies themselves ----


def test_the_operator_knows_the_policies_as_the_api_server_keeps_them(plant: Plant) -> None:
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": DOCUMENTS})
    options = ("--server-side", "--force-conflicts", "--dry-run=server", "-o", "json", "-f", "-")
    kept = json.loads(plant.kubectl("apply", *options, stdin=body))["items"]
    policies = {o["metadata"]["name"]: o for o in kept if not o["kind"].endswith("Binding")}
    bindings = {o["metadata"]["name"]: o for o in kept if o["kind"].endswith("Binding")}
    assert [name for name in KNOWN if enforced(policies[name], bindings[name])] == [PODS, REQUESTS, STATUS]


def test_the_policies_type_check(plant: Plant) -> None:
    def checked() -> list[Object]:
        found = [json.loads(plant.kubectl("get", "validatingadmissionpolicy", name, "-o", "json")) for name in KNOWN]
        return [
            f["status"] for f in found if f.get("status", {}).get("observedGeneration") == f["metadata"]["generation"]
        ]

    until(lambda: len(checked()) == len(KNOWN))
    assert [status["typeChecking"] for status in checked()] == [{}, {}, {}]


@pytest.mark.parametrize(("verb", "may"), [("get", "yes"), ("patch", "no"), ("delete", "no")])
@pytest.mark.parametrize("kind", ["validatingadmissionpolicies", "validatingadmissionpolicybindings"])
def test_operator_reads_these_policies_and_changes_none(plant: Plant, verb: str, may: str, kind: str) -> None:
    def answer(name: str) -> str:
        resource = f"{kind}.admissionregistration.k8s.io/{name}"
        try:
            return plant.kubectl("auth", "can-i", verb, resource, f"--as={OPERATOR}").strip()
        except subprocess.CalledProcessError as error:
            return str(error.stdout).strip()

    assert [answer(name) for name in KNOWN] == [may] * 3
    assert answer("somebody-elses") == "no"
