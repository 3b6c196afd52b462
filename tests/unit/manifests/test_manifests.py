"""The manifests as kustomize renders them: least privilege, restricted pods, samples that the schemas accept."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
KUBECTL = Path(sys.executable).parent / "kubectl"
OUR_GROUP = "modelcycle.dev"
OUR_KINDS = ("experiments", "modeldeployments", "driftmonitors")
IMAGES = {name: f"localhost/modelcycle-{name}@sha256:{'ab' * 32}" for name in ("operator", "training", "serving")}


def render(folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run([str(KUBECTL), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def base() -> list[dict[str, Any]]:
    return render(ROOT / "manifests" / "base")


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The dev overlay in a copy, with images as `make images` writes them."""
    copy = tmp_path_factory.mktemp("dev")
    for folder in ("manifests", "crds"):
        shutil.copytree(ROOT / folder, copy / folder)
    lines = [f"MODELCYCLE_{name.upper()}_IMAGE={image}\n" for name, image in IMAGES.items()]
    (copy / "manifests" / "overlays" / "dev" / "images.env").write_text("".join(lines))
    return render(copy / "manifests" / "overlays" / "dev")


def find(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    return found


def rules(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for o in objects if o["kind"] in ("ClusterRole", "Role") for rule in o["rules"]]


def operator_rules(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        rule for o in objects if o["metadata"]["name"].startswith("modelcycle-operator") for rule in o.get("rules", ())
    ]


def test_component_for_platforms_leaves_every_user_id_to_them(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    overlay = tmp_path / "manifests" / "overlays" / "ours"
    overlay.mkdir()
    body = {"resources": ["../../base"], "components": ["../../components/platform-ids"]}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(body))
    rendered = render(overlay)
    assert find(rendered, "ConfigMap", "modelcycle-settings")["data"]["MODELCYCLE_POD_USER"] == "platform"
    pod = find(rendered, "Deployment", "modelcycle-operator")["spec"]["template"]["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_no_rule_has_a_wildcard_or_a_secret(base: list[dict[str, Any]]) -> None:
    for rule in rules(base):
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not [r for r in rule["resources"] if r.startswith("secrets")]


def test_operator_makes_experiments_and_writes_our_kinds_in_status_only(base: list[dict[str, Any]]) -> None:
    ours = [rule for rule in operator_rules(base) if OUR_GROUP in rule["apiGroups"]]
    verbs: dict[str, set[str]] = {}
    for rule in ours:
        for resource in rule["resources"]:
            verbs.setdefault(resource, set()).update(rule["verbs"])
    assert verbs == {
        **{kind: {"get", "list", "watch"} for kind in OUR_KINDS},
        "experiments": {"get", "list", "watch", "create"},
        **{f"{kind}/status": {"get", "patch"} for kind in OUR_KINDS},
        **{f"{kind}/finalizers": {"update"} for kind in OUR_KINDS},
    }


def test_operator_cannot_give_itself_rights_or_run_in_pods(base: list[dict[str, Any]]) -> None:
    forbidden = {
        "pods/exec",
        "pods/attach",
        "serviceaccounts/token",
        "roles",
        "rolebindings",
        "clusterroles",
        "clusterrolebindings",
    }
    assert not [r for rule in operator_rules(base) for r in rule["resources"] if r in forbidden]
    assert not {"escalate", "bind", "impersonate"} & {v for rule in operator_rules(base) for v in rule["verbs"]}


def test_view_and_edit_are_aggregated(base: list[dict[str, Any]]) -> None:
    view, edit = find(base, "ClusterRole", "modelcycle-view"), find(base, "ClusterRole", "modelcycle-edit")
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    for role in (view, edit):
        assert sorted(role["rules"][0]["resources"]) == sorted(OUR_KINDS)
    assert set(view["rules"][0]["verbs"]) == {"get", "list", "watch"}


def test_editing_is_not_approving(base: list[dict[str, Any]]) -> None:
    holders = [o for o in base if any("approve" in rule["verbs"] for rule in o.get("rules", ()))]
    assert [o["metadata"]["name"] for o in holders] == ["modelcycle-approve"]
    labels = holders[0]["metadata"]["labels"]
    assert [k for k in labels if k.startswith("rbac.")] == ["rbac.authorization.k8s.io/aggregate-to-admin"]


def test_operator_pod_is_restricted(base: list[dict[str, Any]]) -> None:
    pod = find(base, "Deployment", "modelcycle-operator")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"] == "256Mi"
    assert {next(iter(set(v) - {"name"})) for v in pod["volumes"]} == {"emptyDir"}


def test_a_starved_operator_is_given_minutes_before_a_restart(base: list[dict[str, Any]]) -> None:
    """On a node at load 40 a minute for the start, and answers within a second, restarted it for ever."""
    (operator,) = find(base, "Deployment", "modelcycle-operator")["spec"]["template"]["spec"]["containers"]
    probes = {name: operator[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
    assert all(probe["timeoutSeconds"] >= 5 for probe in probes.values())
    seconds = {name: probe["periodSeconds"] * probe["failureThreshold"] for name, probe in list(probes.items())[:2]}
    assert seconds["startup"] >= 600
    assert seconds["liveness"] >= 180
    assert operator["resources"]["requests"]["cpu"] == "250m"


def test_an_overlay_sets_the_operators_priority(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    overlay = tmp_path / "manifests" / "overlays" / "mine"
    overlay.mkdir()
    parts = {"resources": ["../../base"], "components": ["../../components/priority"]}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(parts))
    rendered = render(overlay)
    pod = find(rendered, "Deployment", "modelcycle-operator")["spec"]["template"]["spec"]
    assert pod["priorityClassName"] == find(rendered, "PriorityClass", "modelcycle-operator")["metadata"]["name"]


def test_two_operators_never_overlap(base: list[dict[str, Any]]) -> None:
    spec = find(base, "Deployment", "modelcycle-operator")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_trust_is_not_shipped_so_that_applying_again_wipes_no_key(dev: list[dict[str, Any]]) -> None:
    assert [o["metadata"]["name"] for o in dev if o["kind"] == "ConfigMap"] == ["modelcycle-settings"]


def test_dev_overlay_names_images_by_digest(dev: list[dict[str, Any]]) -> None:
    template = find(dev, "Deployment", "modelcycle-operator")["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == IMAGES["operator"]
    settings = find(dev, "ConfigMap", "modelcycle-settings")["data"]
    assert settings["MODELCYCLE_TRAINING_IMAGE"] == IMAGES["training"]
    assert settings["MODELCYCLE_SERVING_IMAGE"] == IMAGES["serving"]
    assert settings["MODELCYCLE_LOG_FORMAT"] == "json"


def test_other_images_make_another_operator_pod(dev: list[dict[str, Any]]) -> None:
    annotations = find(dev, "Deployment", "modelcycle-operator")["spec"]["template"]["metadata"]["annotations"]
    assert set(annotations.values()) == {IMAGES["training"], IMAGES["serving"]}


def test_dev_overlay_holds_the_three_kinds_with_their_schema_version(dev: list[dict[str, Any]]) -> None:
    kinds = {o["metadata"]["name"]: o for o in dev if o["kind"] == "CustomResourceDefinition"}
    assert set(kinds) == {f"{kind}.{OUR_GROUP}" for kind in OUR_KINDS}
    assert {k["metadata"]["annotations"]["modelcycle.dev/schema"] for k in kinds.values()} == {"3"}


def test_every_namespaced_object_is_in_the_operators_namespace(dev: list[dict[str, Any]]) -> None:
    cluster = ("CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Namespace")
    assert {o["metadata"]["namespace"] for o in dev if o["kind"] not in cluster} == {"modelcycle-system"}


def schemas() -> dict[str, dict[str, Any]]:
    crds = [yaml.safe_load((ROOT / "crds" / f"{kind}.yaml").read_text()) for kind in OUR_KINDS]
    return {c["spec"]["names"]["kind"]: c["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for c in crds}


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with unknown fields refused, where the API server would prune them."""
    out = {k: v for k, v in schema.items() if not k.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        out["type"] = ["integer", "string"]
    if "properties" in schema:
        out["properties"] = {k: closed(v) for k, v in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            out["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = closed(schema["additionalProperties"])
    if "items" in schema:
        out["items"] = closed(schema["items"])
    return out


def samples() -> list[tuple[str, dict[str, Any]]]:
    files = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))
    return [(path.name, document) for path in files for document in yaml.safe_load_all(path.read_text()) if document]


@pytest.mark.parametrize(("file", "sample"), samples(), ids=lambda v: v if isinstance(v, str) else v["kind"])
def test_samples_match_the_schemas(file: str, sample: dict[str, Any]) -> None:
    schema = closed(schemas()[sample["kind"]])
    schema["properties"]["metadata"] = {"type": "object"}
    jsonschema.Draft202012Validator(schema).validate(sample)


def test_minimal_sample_is_three_objects_with_nothing_but_what_is_needed() -> None:
    documents = list(yaml.safe_load_all((ROOT / "manifests" / "samples" / "minimal.yaml").read_text()))
    assert [d["kind"] for d in documents] == ["Experiment", "ModelDeployment", "DriftMonitor"]
    assert documents[2]["spec"] == {"targetRef": {"name": "scrap"}}
