"""`spec.traffic.provider` chooses what carries a canary's share."""

from collections.abc import Iterable

import pytest

from fakes.canary_lab import canary_spec, in_progress, shares, started
from fakes.deployment_lab import NAME, NAMESPACE
from modelcycle.api.modeldeployment import Provider, Spec
from modelcycle.deployment.intent import TrafficIntent
from modelcycle.deployment.routing import ROUTERS
from modelcycle.deployment.world import World
from modelcycle.engine.plan import AnnotatePods
from modelcycle.kube.kinds import MODEL_DEPLOYMENT


class Silent:
    """Tells nobody anything, and says so."""

    def instructions(
        self, world: World, spec: Spec, intent: TrafficIntent, revisions: Iterable[str]
    ) -> list[AnnotatePods]:
        return []

    def is_told(self, world: World, revision: str) -> bool:
        return False

    def is_applied(self, world: World, intent: TrafficIntent) -> bool:
        return False


def test_every_provider_of_the_enum_has_an_implementation() -> None:
    assert set(ROUTERS) == set(Provider)


async def test_the_provider_in_the_spec_carries_the_share() -> None:
    lab = await started(traffic={"provider": "InServer"})
    await lab.run(seconds=60, until=lambda: lab.status.get("canary", {}).get("weight", {}).get("applied") == "20")
    assert in_progress(lab)
    assert {2000} in shares(lab).values()


async def test_what_stands_in_the_registry_decides_what_pods_are_told_and_what_status_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ROUTERS, Provider.IN_SERVER, Silent())
    lab = await started()
    await lab.run(seconds=20)
    assert in_progress(lab)
    assert lab.status["canary"]["weight"] | {"realised": ""} == {"desired": "20", "applied": "0", "realised": ""}
    assert set.union(*shares(lab).values()) == {0}


async def test_an_unknown_provider_is_named_with_what_is_possible_and_stable_serves_on() -> None:
    lab = await started(traffic={"provider": "Mesh"})
    before = lab.sizes()
    await lab.run(seconds=20)
    ready = lab.condition("Stalled")
    assert ready is not None
    assert ready["reason"] == "InvalidSpec"
    assert ready["message"] == "spec.traffic.provider: 'Mesh' is unknown, expected one of InServer"
    assert (lab.serving, lab.sizes()) == ("a", before)
    lab.kube.edit(MODEL_DEPLOYMENT, NAMESPACE, NAME, lambda body: body.update(spec=canary_spec("b", [])))
    await lab.run(seconds=120)
    assert (lab.reason, lab.serving) == ("Serving", "b")
