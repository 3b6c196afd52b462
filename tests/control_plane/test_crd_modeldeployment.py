"""The API of a ModelDeployment on the real API server: each bound and rule with an accept and a reject, and the operator's own writes."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelcycle.api.modeldeployment import parse
from modelcycle.deployment import manifests
from modelcycle.deployment.compare import holds
from modelcycle.deployment.revision import Target
from modelcycle.deployment.status import RevisionRef
from modelcycle.deployment.world import PodDefaults
from modelcycle.kube.errors import ApiError
from modelcycle.kube.kinds import CONFIG_MAP, CONTROLLER_REVISION, DEPLOYMENT, MODEL_DEPLOYMENT, SERVICE
from modelcycle.kube.port import Kube

DIGEST = "sha256:" + "a" * 64
URI = "s3://models/scrap/sha256-" + "a" * 64
BY_URI = {"uri": URI, "digest": DIGEST}
CRD = Path(__file__).resolve().parents[2] / "crds" / "modeldeployments.yaml"


def deployment(spec: dict[str, Any], name: str = "scrap") -> dict[str, Any]:
    return {
        "apiVersion": MODEL_DEPLOYMENT.api_version,
        "kind": MODEL_DEPLOYMENT.kind,
        "metadata": {"name": name},
        "spec": spec,
    }


ACCEPTED: dict[str, dict[str, Any]] = {
    "minimal": {"model": {"experimentRef": {"name": "scrap"}}},
    "by uri": {"model": BY_URI},
    "pvc": {"model": {"uri": "pvc://models/scrap/sha256-1", "digest": DIGEST}},
    "azure": {"model": {"uri": "az://container/scrap", "digest": DIGEST}},
    "all fields": {
        "model": {**BY_URI, "secretRef": {"name": "store-credentials"}},
        "server": {
            "replicas": 3,
            "image": "registry.example/serving@sha256:" + "1" * 64,
            "resources": {"requests": {"cpu": "250m", "memory": "128Mi"}, "limits": {"cpu": 1, "memory": "256Mi"}},
        },
        "strategy": {"canary": {"guardWindow": "1h30m"}},
        "progressDeadlineSeconds": 60,
        "paused": True,
        "revisionHistoryLimit": 0,
    },
    "equal request and limit, other spelling": {
        "model": BY_URI,
        "server": {"resources": {"requests": {"cpu": "0.5"}, "limits": {"cpu": "500m"}}},
    },
}

REJECTED: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({}, "spec.model"),
    "uri and experimentRef": ({"model": {**BY_URI, "experimentRef": {"name": "scrap"}}}, "exactly one of uri"),
    "neither": ({"model": {}}, "exactly one of uri"),
    "uri without digest": ({"model": {"uri": URI}}, "spec.model.digest"),
    "digest without uri": ({"model": {"experimentRef": {"name": "x"}, "digest": DIGEST}}, "spec.model.digest"),
    "short digest": ({"model": {"uri": URI, "digest": "sha256:abc"}}, "spec.model.digest"),
    "unknown scheme": ({"model": {"uri": "ftp://models/scrap", "digest": DIGEST}}, "spec.model.uri"),
    "pvc without path": ({"model": {"uri": "pvc://models", "digest": DIGEST}}, "spec.model.uri"),
    "file": ({"model": {"uri": "file:///etc/passwd", "digest": DIGEST}}, "spec.model.uri"),
    "no replicas": ({"model": BY_URI, "server": {"replicas": 0}}, "spec.server.replicas"),
    "many replicas": ({"model": BY_URI, "server": {"replicas": 501}}, "spec.server.replicas"),
    "bad quantity": (
        {"model": BY_URI, "server": {"resources": {"requests": {"cpu": "lots"}}}},
        "spec.server.resources.requests",
    ),
    "request over limit": (
        {"model": BY_URI, "server": {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "512Mi"}}}},
        "a request must not be larger",
    ),
    "request of an unknown resource": (
        {"model": BY_URI, "server": {"resources": {"requests": {"gpu": 1}}}},
        "a name with a domain",
    ),
    "limit of an unknown resource": (
        {"model": BY_URI, "server": {"resources": {"limits": {"ram": "1Gi"}}}},
        "a name with a domain",
    ),
    "guard window without unit": (
        {"model": BY_URI, "strategy": {"canary": {"guardWindow": "30"}}},
        "spec.strategy.canary.guardWindow",
    ),
    "deadline of a second": ({"model": BY_URI, "progressDeadlineSeconds": 1}, "spec.progressDeadlineSeconds"),
    "long history": ({"model": BY_URI, "revisionHistoryLimit": 51}, "spec.revisionHistoryLimit"),
    "secret with capitals": ({"model": {**BY_URI, "secretRef": {"name": "Store"}}}, "spec.model.secretRef.name"),
}


@pytest.mark.parametrize("case", ACCEPTED)
async def test_accepted(case: str, rest_kube: Kube, namespace: str) -> None:
    made = await rest_kube.create(MODEL_DEPLOYMENT, namespace, deployment(ACCEPTED[case]))
    assert made["spec"]["model"] == ACCEPTED[case]["model"]


@pytest.mark.parametrize("case", REJECTED)
async def test_rejected_with_the_field_named(case: str, rest_kube: Kube, namespace: str) -> None:
    spec, said = REJECTED[case]
    with pytest.raises(ApiError) as caught:
        await rest_kube.create(MODEL_DEPLOYMENT, namespace, deployment(spec))
    assert caught.value.status == 422
    assert said in str(caught.value)


@pytest.mark.parametrize(("name", "accepted"), [("m" * 63, True), ("m" * 64, False), ("a.b", False), ("7up", False)])
async def test_name_must_make_a_service(name: str, accepted: bool, rest_kube: Kube, namespace: str) -> None:
    body = deployment(ACCEPTED["minimal"], name)
    if accepted:
        await rest_kube.create(MODEL_DEPLOYMENT, namespace, body)
        return
    with pytest.raises(ApiError, match=r"metadata\.name"):
        await rest_kube.create(MODEL_DEPLOYMENT, namespace, body)


async def test_defaults_and_their_return_when_a_field_is_removed(rest_kube: Kube, namespace: str) -> None:
    bare = deployment({"model": BY_URI, "server": {}, "strategy": {"canary": {}}})
    made = await rest_kube.create(MODEL_DEPLOYMENT, namespace, bare)
    assert made["spec"]["server"] == {"replicas": 1}
    steps = [{"setWeight": 5}, {"analysis": {}}, {"setWeight": 25}, {"analysis": {}}]
    assert made["spec"]["strategy"] == {"canary": {"guardWindow": "30s", "steps": steps}}
    metadata = {"name": "other", "namespace": namespace}
    await rest_kube.apply(MODEL_DEPLOYMENT, namespace, {**deployment(ACCEPTED["all fields"]), "metadata": metadata})
    after = await rest_kube.apply(MODEL_DEPLOYMENT, namespace, {**deployment({"model": BY_URI}), "metadata": metadata})
    assert after["spec"] == {"model": BY_URI, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 5}
    defaults = parse({"model": BY_URI})
    assert parse(after["spec"]) == defaults
    assert parse(made["spec"]) == defaults


async def test_rendered_children_are_accepted_and_need_no_second_apply(rest_kube: Kube, namespace: str) -> None:
    owner = await rest_kube.create(MODEL_DEPLOYMENT, namespace, deployment(ACCEPTED["minimal"]))
    uid = owner["metadata"]["uid"]
    target = Target("pvc://models/scrap", DIGEST, None, None, {"cpu": "0.5", "memory": "1024Mi"}, {"memory": "2048Mi"})
    template = manifests.pod_template("scrap", uid, target.hash, target, PodDefaults("localhost/serving:dev"))
    ref = RevisionRef(target.hash, 1, target.digest, target.uri)
    children = [
        (SERVICE, manifests.service(namespace, "scrap", uid, manifests.NO_REVISION)),
        (CONFIG_MAP, manifests.trust_map(namespace, "scrap", uid, "pem")),
        (CONTROLLER_REVISION, manifests.controller_revision(namespace, "scrap", uid, ref, template)),
        (DEPLOYMENT, manifests.deployment(namespace, "scrap", uid, target.hash, template, 2)),
    ]
    for kind, body in children:
        live = await rest_kube.create(kind, namespace, body)
        assert holds(live, body), kind.kind
    stored = await rest_kube.get(CONTROLLER_REVISION, namespace, children[2][1]["metadata"]["name"])
    assert stored is not None
    assert stored["data"]["template"] == template


async def test_selector_move_replaces_the_whole_selector(rest_kube: Kube, namespace: str) -> None:
    owner = await rest_kube.create(MODEL_DEPLOYMENT, namespace, deployment(ACCEPTED["minimal"]))
    uid = owner["metadata"]["uid"]
    first = manifests.service(namespace, "scrap", uid, "one")
    first["spec"]["selector"]["stray"] = "x"
    await rest_kube.create(SERVICE, namespace, first)
    moved = await rest_kube.apply(SERVICE, namespace, manifests.service(namespace, "scrap", uid, "two"))
    assert moved["spec"]["selector"] == manifests.selector("scrap", "two")


async def test_largest_status_is_accepted_and_small_enough(rest_kube: Kube, namespace: str) -> None:
    made = await rest_kube.create(MODEL_DEPLOYMENT, namespace, deployment(ACCEPTED["all fields"]))
    moment = "2026-11-24T08:00:00Z"
    ref = {"digest": DIGEST, "uri": "s3://" + "u" * 1019, "number": 7}
    status: dict[str, Any] = {
        "observedGeneration": 1,
        "stateVersion": 1,
        "endpoint": "http://scrap.ns.svc:80",
        "summary": {"stable": "a" * 8, "canary": "-"},
        "stable": {**ref, "revision": "r", "readyReplicas": 500},
        "canary": {**ref, "revision": "s", "readyReplicas": 0, "startedAt": moment, "trust": "t", "heldSince": moment},
        "retiring": {**ref, "revision": "q", "readyReplicas": 1, "movedAt": moment},
        "rejected": [
            {
                **ref,
                "revision": f"r{i}",
                "reason": "DigestMismatch",
                "message": "m" * 512,
                "at": moment,
                "generation": 1,
            }
            for i in range(20)
        ],
        "history": [{"from": DIGEST, "to": DIGEST, "number": i, "at": moment, "reason": "Ready"} for i in range(20)],
    }
    version = made["metadata"]["resourceVersion"]
    written = await rest_kube.apply_status(MODEL_DEPLOYMENT, namespace, "scrap", status, version)
    assert written["status"] == status
    assert len(yaml.safe_dump(dict(written))) < 256 * 1024
    longer = copy.deepcopy(status)
    longer["rejected"].append({"revision": "r20"})
    with pytest.raises(ApiError, match="rejected"):
        await rest_kube.apply_status(
            MODEL_DEPLOYMENT, namespace, "scrap", longer, written["metadata"]["resourceVersion"]
        )


def test_every_field_is_described_and_bounded() -> None:
    schema = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    missing = list(_unbounded("", schema))
    assert missing == []


def _unbounded(path: str, node: dict[str, Any]) -> list[str]:
    found = [] if node.get("description") or path in ("", ".metadata") else [f"{path}: description"]
    kind = node.get("type")
    bounded = "maxLength" in node or "enum" in node or node.get("format") == "date-time"
    if kind == "string" and not bounded and path not in (".apiVersion", ".kind"):
        found.append(f"{path}: maxLength")
    if kind == "integer" and "minimum" not in node:
        found.append(f"{path}: minimum")
    if kind == "array" and not {"maxItems", "x-kubernetes-list-type"} <= node.keys():
        found.append(f"{path}: maxItems, list type")
    for name, child in node.get("properties", {}).items():
        found += _unbounded(f"{path}.{name}", child)
    for name in ("items", "additionalProperties"):
        if isinstance(node.get(name), dict):
            found += _unbounded(f"{path}.{name}", node[name])
    return found
