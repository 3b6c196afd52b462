"""The rendered children: confined pods, no token, no key, defaults that never contradict, and a comparison that needs no apply at rest."""

import copy
from typing import Any

import pytest

from modelcycle.deployment import manifests
from modelcycle.deployment.compare import holds, same_quantity
from modelcycle.deployment.revision import Target
from modelcycle.deployment.world import PodDefaults
from modelcycle_bundle import layout, traffic
from modelcycle_bundle.contract import FetchTask, from_json

TARGET = Target("s3://models/scrap/sha256-" + "a" * 64, "sha256:" + "a" * 64, secret=None, image=None)


def template(target: Target = TARGET) -> dict[str, Any]:
    return manifests.pod_template("scrap", "uid-1", "abc", target, PodDefaults("serving:1"))


def test_pod_is_restricted_and_has_no_token() -> None:
    spec = template()["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_only_the_fetch_step_has_store_credentials_and_keys() -> None:
    spec = template()["spec"]
    fetch, server = spec["initContainers"][0], spec["containers"][0]
    assert fetch["envFrom"] == [{"prefix": "STORE_", "secretRef": {"name": "modelcycle-store", "optional": True}}]
    assert "envFrom" not in server
    assert {m["mountPath"] for m in server["volumeMounts"]} == {layout.BUNDLE_MOUNT, "/tmp", traffic.VOLUME_DIR}
    assert all(m.get("readOnly") for m in server["volumeMounts"] if m["mountPath"] == layout.BUNDLE_MOUNT)
    assert not any("secret" in volume for volume in spec["volumes"])


def test_fetch_task_travels_in_the_environment() -> None:
    env = template()["spec"]["initContainers"][0]["env"]
    assert from_json(FetchTask, env[0]["value"]) == FetchTask(TARGET.uri, TARGET.digest)


def test_text_of_the_spec_never_reaches_the_kubelets_substitution() -> None:
    uri = "s3://models/$(AWS_SECRET_ACCESS_KEY)/$$x"
    task = template(Target(uri, TARGET.digest, None, None))["spec"]["initContainers"][0]["env"][0]["value"]
    assert "$" not in task
    assert from_json(FetchTask, task).uri == uri


def test_pvc_is_mounted_read_only_in_the_fetch_step_alone() -> None:
    target = Target("pvc://models/scrap/sha256-1", TARGET.digest, None, None)
    spec = template(target)["spec"]
    claim = {"claimName": "models", "readOnly": True}
    assert {"name": "store", "persistentVolumeClaim": claim} in spec["volumes"]
    mount = {"name": "store", "mountPath": f"{layout.PVC_MOUNT}/models", "readOnly": True}
    assert mount in spec["initContainers"][0]["volumeMounts"]
    assert "store" not in {m["name"] for m in spec["containers"][0]["volumeMounts"]}


@pytest.mark.parametrize(
    ("requests", "limits", "expected"),
    [
        (None, None, {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}),
        ({"memory": "1Gi"}, None, {"requests": {"memory": "1Gi", "cpu": "100m"}}),
        (None, {"memory": "64Mi"}, {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}}),
        (
            {"cpu": "2"},
            {"cpu": "2"},
            {"requests": {"cpu": "2", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}},
        ),
    ],
)
def test_default_resources_never_contradict_the_users(
    requests: dict[str, str] | None, limits: dict[str, str] | None, expected: dict[str, Any]
) -> None:
    target = Target(TARGET.uri, TARGET.digest, None, None, requests, limits)
    assert template(target)["spec"]["containers"][0]["resources"] == expected


def test_names_of_the_longest_owner_fit() -> None:
    owner = "m" * 63
    for name in (
        manifests.deployment_name(owner, "u", "0123456789"),
        manifests.revision_name(owner, "u", "0123456789"),
        manifests.trust_name(owner, "u"),
    ):
        assert len(name) <= 63


def rendered() -> dict[str, Any]:
    return manifests.deployment("ns", "scrap", "uid-1", "abc", template(), 2)


def test_server_side_defaults_and_other_managers_need_no_apply() -> None:
    live = copy.deepcopy(rendered())
    live["metadata"] |= {"uid": "x", "resourceVersion": "7", "annotations": {"deployment.kubernetes.io/revision": "1"}}
    live["spec"]["progressDeadlineSeconds"] = 600
    live["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    live["spec"]["template"]["spec"]["containers"].append({"name": "sidecar"})
    live["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "0.1"
    assert holds(live, rendered())


@pytest.mark.parametrize(
    "change",
    [
        lambda live: live["spec"].update(replicas=1),
        lambda live: live["metadata"]["labels"].clear(),
        lambda live: live["spec"]["template"]["spec"]["containers"][0].update(image="other"),
        lambda live: live["spec"]["template"]["spec"]["containers"][0]["args"].append("--debug"),
        lambda live: live["spec"]["template"]["spec"]["volumes"].pop(),
    ],
)
def test_a_changed_field_of_ours_is_seen(change: Any) -> None:
    live = copy.deepcopy(rendered())
    change(live)
    assert not holds(live, rendered())


def test_extra_key_in_the_service_selector_is_seen() -> None:
    wanted = manifests.service("ns", "scrap", "uid-1", "abc")
    live = copy.deepcopy(wanted)
    live["spec"]["selector"]["team"] = "x"
    assert not holds(live, wanted)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("500m", "0.5", True),
        ("1Gi", "1024Mi", True),
        ("1e3", "1k", True),
        ("1", "1000m", True),
        ("1G", "1Gi", False),
        ("x", "y", False),
    ],
)
def test_quantities_are_compared_by_value(one: str, other: str, same: bool) -> None:
    assert same_quantity(one, other) is same
