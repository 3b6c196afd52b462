"""Children that others change: put back, and told of where that comes to nothing."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fakes.deployment_lab import NAME, NAMESPACE, OTHER_PEM, Lab, model
from fakes.field_ownership import JsonObject
from modelcycle.kube.kinds import CONFIG_MAP, DEPLOYMENT, SERVICE, Kind

Change = Callable[[dict[str, Any]], Any]


async def serving(**server: Any) -> Lab:
    lab = Lab()
    lab.apply(model=model("a"), server={"replicas": 1, **server})
    await lab.run(seconds=10)
    assert lab.reason == "Serving"
    return lab


def deployment(lab: Lab) -> dict[str, Any]:
    return lab.kube.find(DEPLOYMENT, NAMESPACE)[0]


def edit(lab: Lab, change: Change) -> None:
    """By hand, in the pod template's spec."""
    name = deployment(lab)["metadata"]["name"]
    lab.kube.edit(DEPLOYMENT, NAMESPACE, name, lambda body: change(body["spec"]["template"]["spec"]))


def told(lab: Lab) -> str:
    condition = lab.condition("ChildrenAltered")
    assert condition is None or (condition["status"], condition["reason"]) == ("True", "AlteredByOthers")
    return condition["message"] if condition else ""


NOT_OURS: dict[str, Change] = {
    "sidecar": lambda pod: pod["containers"].append({"name": "sidecar", "image": "evil:1"}),
    "init container": lambda pod: pod["initContainers"].append({"name": "first", "image": "evil:1"}),
    "hostNetwork": lambda pod: pod.update(hostNetwork=True),
    "root": lambda pod: pod["containers"][0]["securityContext"].update(runAsUser=0),
    "container that may be root": lambda pod: pod["containers"][0]["securityContext"].update(runAsNonRoot=False),
    "root pod": lambda pod: pod["securityContext"].update(runAsUser=0),
    "supplementalGroups": lambda pod: pod["securityContext"].update(supplementalGroups=[0]),
    "capability": lambda pod: pod["containers"][0]["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
    "env": lambda pod: pod["containers"][0]["env"].append({"name": "PYTHONPATH", "value": "/evil"}),
    "the same env twice": lambda pod: pod["initContainers"][0]["env"].append(
        {**pod["initContainers"][0]["env"][0], "value": "{}"}
    ),
    "envFrom": lambda pod: pod["containers"][0].update(envFrom=[{"secretRef": {"name": "x"}}]),
    "command": lambda pod: pod["containers"][0].update(command=["sh"]),
    "lifecycle": lambda pod: pod["containers"][0].update(lifecycle={"postStart": {"exec": {"command": ["sh"]}}}),
    "volume": lambda pod: pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
    "mount": lambda pod: pod["containers"][0]["volumeMounts"].append({"name": "trust", "mountPath": "/x"}),
    "bundle made writable": lambda pod: pod["containers"][0]["volumeMounts"][0].update(readOnly=False),
    "service account": lambda pod: pod.update(serviceAccountName="admin"),
    "image": lambda pod: pod["initContainers"][0].update(image="evil:1"),
}


@pytest.mark.parametrize("case", NOT_OURS)
async def test_what_is_not_ours_in_a_pod_template_is_put_back(case: str) -> None:
    lab = await serving()
    before = deployment(lab)["spec"]
    edit(lab, NOT_OURS[case])
    await lab.run(seconds=10)
    assert deployment(lab)["spec"] == before
    assert (lab.reason, told(lab)) == ("Serving", "")
    assert await lab.quiet() == []


async def test_each_of_several_edits_by_hand_is_put_back() -> None:
    lab = await serving()
    before = deployment(lab)["spec"]
    for case in ("sidecar", "sidecar", "hostNetwork"):
        edit(lab, NOT_OURS[case])
        await lab.run(seconds=10)
        assert deployment(lab)["spec"] == before


async def test_what_the_api_server_fills_in_is_left() -> None:
    lab = await serving()

    def fill_in(pod: dict[str, Any]) -> None:
        pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
        pod["containers"][0]["startupProbe"]["successThreshold"] = 1
        traffic = next(volume for volume in pod["volumes"] if volume["name"] == "traffic")
        traffic["downwardAPI"]["defaultMode"] = 420

    edit(lab, fill_in)
    filled = deployment(lab)["spec"]
    await lab.run(seconds=10)
    assert await lab.quiet() == []
    assert deployment(lab)["spec"] == filled


async def test_kubectl_rollout_restart_goes_on_working() -> None:
    lab = await serving()
    name = deployment(lab)["metadata"]["name"]

    def restart(body: dict[str, Any]) -> None:
        body["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "2026-11-24"

    lab.kube.edit(DEPLOYMENT, NAMESPACE, name, restart)
    await lab.run(seconds=10)
    assert await lab.quiet() == []
    edit(lab, NOT_OURS["sidecar"])
    await lab.run(seconds=10)
    template = deployment(lab)["spec"]["template"]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    assert len(template["spec"]["containers"]) == 1


async def test_paused_deployment_is_resumed() -> None:
    lab = await serving()
    name = deployment(lab)["metadata"]["name"]
    lab.kube.edit(DEPLOYMENT, NAMESPACE, name, lambda body: body["spec"].update(paused=True))
    await lab.run(seconds=10)
    assert "paused" not in deployment(lab)["spec"]


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["ports"][0].update(port=8080),
        lambda spec: spec["ports"].append({"name": "metrics", "port": 8081, "targetPort": 8081, "protocol": "TCP"}),
        lambda spec: spec["selector"].update(team="x"),
        lambda spec: spec.update(publishNotReadyAddresses=True),
    ],
)
async def test_service_that_was_changed_by_hand_is_put_back(change: Change) -> None:
    lab = await serving()
    before = lab.kube.read(SERVICE, NAMESPACE, NAME)
    assert before is not None
    lab._has_served = False  # the test takes the pods from the Service
    lab.kube.edit(SERVICE, NAMESPACE, NAME, lambda body: change(body["spec"]))
    await lab.run(seconds=10)
    after = lab.kube.read(SERVICE, NAMESPACE, NAME)
    assert after is not None
    assert (after["spec"], lab.reason) == (before["spec"], "Serving")
    assert await lab.quiet() == []


async def test_policy_that_sets_replicas_is_told_of_and_not_fought() -> None:
    lab = Lab()

    def at_least_three(kind: Kind, body: JsonObject) -> None:
        if kind is DEPLOYMENT:
            body["spec"]["replicas"] = max(3, body["spec"]["replicas"])

    lab.kube.mutate = at_least_three
    lab.apply(model=model("a"), server={"replicas": 1})
    await lab.run(seconds=60)
    assert (lab.reason, deployment(lab)["spec"]["replicas"]) == ("Serving", 3)
    assert "spec.replicas" in told(lab)
    assert "policy" in told(lab)
    assert await lab.quiet() == []
    lab.kube.mutate = lambda kind, body: None
    lab.now += timedelta(hours=1)
    await lab.run(seconds=20)
    assert (told(lab), deployment(lab)["spec"]["replicas"]) == ("", 1)


async def test_policy_that_allows_fewer_replicas_is_named_beside_what_is_missing() -> None:
    lab = Lab()

    def at_most_one(kind: Kind, body: JsonObject) -> None:
        if kind is DEPLOYMENT:
            body["spec"]["replicas"] = min(1, body["spec"]["replicas"])

    lab.kube.mutate = at_most_one
    lab.apply(model=model("a"), server={"replicas": 3})
    await lab.run(seconds=60)
    ready = lab.condition("Ready")
    assert ready is not None
    assert "1 of 3 replicas Ready, spec.replicas of Deployment scrap-" in ready["message"]
    assert "spec.replicas" in told(lab)


async def test_policy_that_adds_a_sidecar_to_deployments_is_told_of_and_not_fought() -> None:
    lab = Lab()

    def inject(kind: Kind, body: JsonObject) -> None:
        if kind is DEPLOYMENT:
            containers = body["spec"]["template"]["spec"]["containers"]
            if not any(one["name"] == "proxy" for one in containers):
                containers.append({"name": "proxy", "image": "mesh:1"})

    lab.kube.mutate = inject
    lab.apply(model=model("a"), server={"replicas": 1})
    await lab.run(seconds=60)
    assert "spec.template.spec.containers[proxy]" in told(lab)
    assert lab.reason == "Serving"
    assert await lab.quiet() == []
    edit(lab, NOT_OURS["hostNetwork"])
    await lab.run(seconds=10)
    assert "hostNetwork" not in deployment(lab)["spec"]["template"]["spec"]
    assert "hostNetwork" not in told(lab)
    assert await lab.quiet() == []


async def test_controller_that_undoes_every_write_is_answered_a_few_times_an_hour() -> None:
    lab = await serving()
    generations = []
    for _ in range(40):
        edit(lab, lambda pod: pod.update(hostNetwork=True))
        await lab.run(seconds=20)
        generations.append("hostNetwork" not in deployment(lab)["spec"]["template"]["spec"])
    assert sum(generations) == 4
    assert "spec.template.spec.hostNetwork" in told(lab)
    assert "again and again" in told(lab)
    lab.now += timedelta(hours=1)
    await lab.run(seconds=10)
    assert (told(lab), "hostNetwork" in deployment(lab)["spec"]["template"]["spec"]) == ("", False)


async def test_scaling_by_the_spec_is_no_alteration_however_often() -> None:
    lab = await serving()
    for replicas in (2, 1, 2, 1, 2, 1, 2, 3):
        lab.apply(model=model("a"), server={"replicas": replicas})
        await lab.run(seconds=20)
        assert (deployment(lab)["spec"]["replicas"], told(lab), lab.reason) == (replicas, "", "Serving")


def repairs(lab: Lab) -> list[str]:
    return [event.note for event in lab.recorder.events if event.reason == "ChildRepaired"]


CHANGED: dict[str, tuple[Kind, Change, str]] = {
    "replicas": (DEPLOYMENT, lambda body: body["spec"].update(replicas=5), "spec.replicas"),
    "sidecar": (
        DEPLOYMENT,
        lambda body: NOT_OURS["sidecar"](body["spec"]["template"]["spec"]),
        "spec.template.spec.containers[sidecar]",
    ),
    "image": (
        DEPLOYMENT,
        lambda body: NOT_OURS["image"](body["spec"]["template"]["spec"]),
        "spec.template.spec.initContainers[fetch].image",
    ),
    "selector": (SERVICE, lambda body: body["spec"].update(selector={"app": "mine"}), "spec.selector"),
    "trusted keys": (CONFIG_MAP, lambda body: body["data"].update({next(iter(body["data"])): "mine"}), "data."),
}


@pytest.mark.parametrize("case", CHANGED)
async def test_repair_is_one_event_that_names_object_and_field(case: str) -> None:
    kind, change, field = CHANGED[case]
    lab = await serving()
    lab._has_served = False  # the Service is led astray by the test
    name = lab.kube.find(kind, NAMESPACE)[0]["metadata"]["name"]
    lab.kube.edit(kind, NAMESPACE, name, change)
    await lab.run(seconds=30)
    (note,) = repairs(lab)
    assert note.startswith(f"{kind.kind} {name}: {field}")


@pytest.mark.parametrize("kind", [DEPLOYMENT, SERVICE, CONFIG_MAP])
async def test_child_that_was_deleted_by_hand_is_made_again_and_told_of(kind: Kind) -> None:
    lab = await serving()
    lab._has_served = False
    name = lab.kube.find(kind, NAMESPACE)[0]["metadata"]["name"]
    lab.kube.remove(kind, NAMESPACE, name)
    await lab.run(seconds=30)
    assert repairs(lab) == [f"{kind.kind} {name} was deleted by others, made again"]


async def test_what_the_operator_changes_itself_is_no_repair() -> None:
    lab = await serving()
    lab.apply(model=model("a"), server={"replicas": 3})
    await lab.run(seconds=30)
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(seconds=90)
    lab.trust(OTHER_PEM)
    await lab.run(seconds=30)
    assert (lab.serving, repairs(lab)) == ("b", [])
