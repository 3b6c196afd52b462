"""Where the model comes from, names that are taken, Secrets that are forbidden, specs that do not parse."""

from typing import Any

import pytest

from fakes.canary_lab import started
from fakes.deployment_lab import NAME, NAMESPACE, Lab, digest, model
from fakes.workloads import Behaviour
from modelcycle.api.modeldeployment import SpecError, parse
from modelcycle.deployment.reconciler import DeploymentReconciler
from modelcycle.engine.plan import Key
from modelcycle.kube.kinds import DEPLOYMENT, SERVICE
from modelcycle.settings import Settings

REF: dict[str, Any] = {"experimentRef": {"name": NAME}}


async def test_experiment_is_waited_for_then_its_model_is_followed() -> None:
    lab = Lab()
    lab.apply(model=REF)
    await lab.run(seconds=3)
    assert (lab.reason, lab.condition("Stalled")) == ("WaitingForExperiment", None)
    lab.experiment(None)
    await lab.run(seconds=3)
    assert lab.reason == "WaitingForModel"
    lab.experiment("a")
    await lab.run(seconds=8)
    assert (lab.reason, lab.serving) == ("Serving", "a")
    lab.experiment("b")
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving) == ("Serving", "b")


async def test_experiment_that_goes_leaves_the_service_alone() -> None:
    lab = Lab()
    lab.experiment("a")
    lab.apply(model=REF)
    await lab.run(seconds=8)
    lab.experiment(None)
    await lab.run(seconds=5)
    assert (lab.reason, lab.serving, lab.sizes()) == ("WaitingForModel", "a", {"a": 1})
    assert "keeps serving" in lab.condition("Ready")["message"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"output": {"secretRef": {"name": "store-credentials"}}}, "store-credentials"),
        ({}, "modelcycle-store"),
    ],
)
async def test_store_secret_is_inherited_from_the_experiment(spec: dict[str, Any], expected: str) -> None:
    lab = Lab()
    lab.experiment("a", **spec)
    lab.apply(model=REF)
    await lab.run(seconds=3)
    fetch = lab.kube.find(DEPLOYMENT, NAMESPACE)[0]["spec"]["template"]["spec"]["initContainers"][0]
    assert fetch["envFrom"][0]["secretRef"]["name"] == expected


@pytest.mark.parametrize(
    ("experiment", "secret"),
    [({}, "modelcycle-signing-key"), ({"seal": {"keySecretRef": {"name": "our-key"}}}, "our-key")],
)
async def test_signing_key_never_reaches_serving_pods(experiment: dict[str, Any], secret: str) -> None:
    lab = Lab()
    lab.experiment("a", **experiment)
    lab.apply(model={**REF, "secretRef": {"name": secret}})
    await lab.run(seconds=3)
    assert lab.reason == "ForbiddenSecret"
    assert lab.kube.find(DEPLOYMENT, NAMESPACE) == []


async def test_service_of_someone_else_is_never_touched_and_names_its_owner() -> None:
    lab = Lab()
    theirs = {
        "metadata": {
            "name": NAME,
            "ownerReferences": [{"kind": "Website", "name": "shop", "uid": "u-9", "controller": True}],
        },
        "spec": {"selector": {"app": "shop", "modelcycle.dev/revision": "x"}},
    }
    lab.kube.before_read = lambda read: None
    lab.kube.after_write = lambda write: None
    lab.kube.collect_at_once = False
    lab.kube.seed(SERVICE, NAMESPACE, theirs)
    lab.apply(model=model("a"))
    for _ in range(3):
        await lab.reconcile()
    assert lab.reason == "NameTaken"
    assert "Service scrap" in lab.condition("Stalled")["message"]  # type: ignore[index]
    assert "Website shop" in lab.condition("Stalled")["message"]  # type: ignore[index]
    assert lab.kube.read(SERVICE, NAMESPACE, NAME)["spec"] == theirs["spec"]  # type: ignore[index]
    assert lab.kube.find(DEPLOYMENT, NAMESPACE) == []
    lab.kube.remove(SERVICE, NAMESPACE, NAME)
    await lab.reconcile()
    assert lab.reason == "RevisionStarting"


async def test_service_of_a_former_namesake_is_waited_for() -> None:
    lab = Lab()
    lab.kube.after_write = lambda write: None
    owner = {"kind": "ModelDeployment", "name": NAME, "uid": "former", "controller": True}
    lab.kube.seed(SERVICE, NAMESPACE, {"metadata": {"name": NAME, "ownerReferences": [owner]}, "spec": {}})
    lab.apply(model=model("a"))
    await lab.reconcile()
    assert lab.reason == "WaitingForCleanup"


def test_references_name_the_experiment() -> None:
    reconciler = DeploymentReconciler(Lab().kube, Settings("t", "s"), {})
    body = {"metadata": {"namespace": NAMESPACE, "name": "x"}, "spec": {"model": REF}}
    assert list(reconciler.references(body)) == [Key("Experiment", NAMESPACE, NAME)]
    assert list(reconciler.references({"metadata": {"namespace": NAMESPACE}, "spec": {"model": model("a")}})) == []


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec.model"),
        ({"model": {**model("a"), **REF}}, "spec.model"),
        ({"model": {"uri": "s3://x/y"}}, "spec.model.digest"),
        ({"model": {"uri": "s3://x/y", "digest": "sha256:abc"}}, "spec.model.digest"),
        ({"model": model("a"), "server": {"replicas": "2"}}, "spec.server.replicas"),
        ({"model": model("a"), "server": []}, "spec.server"),
        ({"model": model("a"), "strategy": {"canary": {"guardWindow": "soon"}}}, "spec.strategy.canary.guardWindow"),
    ],
)
def test_unusable_spec_names_the_field(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(spec)
    assert str(caught.value).startswith(field)


async def test_unusable_spec_is_stalled_and_clears() -> None:
    lab = Lab()
    lab.apply(model={"uri": "s3://x/y"})
    await lab.run(seconds=2)
    assert (lab.reason, lab.condition("Stalled")["status"]) == ("InvalidSpec", "True")  # type: ignore[index]
    lab.apply(model=model("a"))
    await lab.run(seconds=8)
    assert lab.reason == "Serving"


async def test_the_sampler_is_told_which_pods_answer_so_that_a_ready_canary_is_read_at_once() -> None:
    lab = await started(rate=0.0)
    lab.behaviours[digest("b")] = Behaviour.SLOW
    await lab.run(seconds=6)
    assert lab.arms.tracked is not None
    serving = lab.arms.tracked.ready
    assert len(serving) == 2
    lab.behaviours[digest("b")] = Behaviour.HEALTHY
    await lab.run(seconds=6, until=lambda: lab.arms.tracked is not None and len(lab.arms.tracked.ready) == 3)
    assert lab.arms.tracked.ready > serving
