"""The rules that keep users served whatever the record says, each on its own."""

from dataclasses import replace

from fakes.canary_lab import canary_spec
from fakes.deployment_lab import NAME, NAMESPACE, SYSTEM, Lab, digest, model
from fakes.workloads import Behaviour
from modelcycle.api.modeldeployment import Spec
from modelcycle.deployment.effects import effects
from modelcycle.deployment.reconciler import DeploymentReconciler
from modelcycle.deployment.revision import Target
from modelcycle.deployment.status import Retiring, RevisionRef, State
from modelcycle.deployment.steps import can_start
from modelcycle.deployment.world import World
from modelcycle.engine.plan import Apply, Key
from modelcycle.kube.kinds import DEPLOYMENT, MODEL_DEPLOYMENT, SERVICE
from modelcycle.settings import Settings


async def look(lab: Lab) -> tuple[World, Spec]:
    reconciler = DeploymentReconciler(lab.kube, Settings("t", lab.serving_image, operator_namespace=SYSTEM), {})
    world = await reconciler.observe(Key("ModelDeployment", NAMESPACE, NAME), lab.now)
    assert world is not None
    assert world.spec is not None
    return world, world.spec


def ref(letter: str) -> RevisionRef:
    wanted = model(letter)
    target = Target(wanted["uri"], wanted["digest"], None, None)
    return RevisionRef(target.hash, 1, wanted["digest"], wanted["uri"])


async def replacing(behaviour: Behaviour) -> Lab:
    lab = Lab({digest("b"): behaviour})
    lab.apply(model=model("a"), server={"replicas": 2})
    await lab.run(seconds=8)
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(seconds=4)
    return lab


async def test_what_the_service_points_to_is_never_scaled_down_or_deleted() -> None:
    lab = await replacing(Behaviour.SLOW)
    world, spec = await look(lab)
    actions = effects(world, replace(spec, history_limit=0), State())
    touched = [a.body["metadata"]["name"] for a in actions if isinstance(a, Apply) and a.kind is DEPLOYMENT]
    assert touched == [world.deployments[ref("b").revision].child.name]


async def test_service_does_not_move_to_a_revision_without_ready_pods() -> None:
    lab = await replacing(Behaviour.SLOW)
    world, spec = await look(lab)
    recorded = State(stable=ref("b"), retiring=Retiring(ref("a")))
    assert [a for a in effects(world, spec, recorded) if isinstance(a, Apply) and a.kind is SERVICE] == []


async def test_service_moves_to_an_unready_revision_when_the_old_one_has_nobody_either() -> None:
    lab = await replacing(Behaviour.SLOW)
    world, spec = await look(lab)
    dead = {revision: replace(view, ready=0, answering=0) for revision, view in world.deployments.items()}
    recorded = State(stable=ref("b"), retiring=Retiring(ref("a")))
    actions = effects(replace(world, deployments=dead), spec, recorded)
    moved = [a for a in actions if isinstance(a, Apply) and a.kind is SERVICE]
    assert moved[0].body["spec"]["selector"]["modelcycle.dev/revision"] == ref("b").revision


async def test_no_start_while_pods_of_an_earlier_attempt_are_left() -> None:
    lab = await replacing(Behaviour.TAMPERED)
    wanted = ref("b").revision
    world, _ = await look(lab)
    running = replace(world.deployments[wanted], replicas=2)
    assert not can_start(replace(world, deployments={wanted: running}), State(), wanted)
    scaled = {wanted: replace(running, replicas=0)}
    left = tuple(replace(pod, deployment=running.child.name) for pod in world.pods[:1])
    assert left
    assert not can_start(replace(world, deployments=scaled, pods=left), State(), wanted)
    assert can_start(replace(world, deployments=scaled, pods=()), State(), wanted)
    assert can_start(replace(world, deployments={}), State(), wanted)
    warm = State(stable=ref("a"), retiring=Retiring(ref("b")))
    assert can_start(replace(world, deployments={wanted: running}), warm, wanted)


async def test_lost_status_is_found_again_without_touching_pods() -> None:
    lab = Lab()
    lab.apply(model=model("a"), server={"replicas": 2})
    await lab.run(seconds=8)
    before, children = lab.status["stable"], lab.kube.find(DEPLOYMENT, NAMESPACE)
    lab.kube.edit(MODEL_DEPLOYMENT, NAMESPACE, NAME, lambda body: body.pop("status"))
    await lab.run(seconds=5)
    assert (lab.reason, lab.status["stable"]) == ("Serving", before)
    assert lab.kube.find(DEPLOYMENT, NAMESPACE) == children


async def test_lost_status_of_pods_that_are_down_lets_no_new_revision_pass_uncompared() -> None:
    lab = Lab()
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=8)
    lab._has_served = False  # the test takes the pods away
    lab.behaviours[digest("a")] = Behaviour.SLOW
    lab.workloads.kill(NAMESPACE, {"modelcycle.dev/deployment": NAME})
    lab.kube.edit(MODEL_DEPLOYMENT, NAMESPACE, NAME, lambda body: body.pop("status"))
    lab.apply(**canary_spec("b"))
    await lab.run(seconds=60)
    assert (lab.status["stable"]["digest"], lab.serving) == (digest("a"), "a")
    assert lab.status["canary"]["digest"] == digest("b")


async def test_evicted_pod_does_not_block_the_way_back() -> None:
    lab = await replacing(Behaviour.SLOW)
    lab.workloads.evict(NAMESPACE, {"modelcycle.dev/revision": ref("b").revision})
    lab.apply(model=model("a"), server={"replicas": 2})
    await lab.run(seconds=20)
    lab.behaviours[digest("b")] = Behaviour.HEALTHY
    lab.apply(model=model("b"), server={"replicas": 2})
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving) == ("Serving", "b")


async def test_what_an_evicted_pod_told_last_is_no_verdict_on_the_revision() -> None:
    lab = await replacing(Behaviour.GOLDEN)
    lab.workloads.evict(NAMESPACE, {"modelcycle.dev/deployment": NAME})
    world, _ = await look(lab)
    assert (world.pods, world.ending) == ((), ())
