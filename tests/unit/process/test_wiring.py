"""kopf as a shell: settings that keep it from writing, and events that become keys."""

import itertools
from collections.abc import Callable
from typing import Any

import kopf
import pytest

from fakes.engine import CountingObserver, LiveReconciler
from fakes.memory_kube import MemoryKube
from modelcycle import wiring
from modelcycle.engine.plan import Key, Plan
from modelcycle.engine.references import References
from modelcycle.kube import kinds, names

EXPERIMENT = Key("Experiment", "ns", "e")
MONITOR = Key("DriftMonitor", "ns", "m")


class Bench:
    """The handlers over an empty queue."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.references = References()
        self.observer = CountingObserver()
        reconciler = LiveReconciler(MemoryKube(), lambda world: Plan(), [MONITOR])
        self.registry = wiring.registry([reconciler], self.references, self.keys.append, self.observer)

    def handler(self, plural: str) -> Callable[..., Any]:
        (found,) = [h for h in self.registry._watching.get_all_handlers() if h.id == f"watch-{plural}"]
        return found.fn


def event(type_: str | None, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {"type": type_, "object": {"metadata": {"name": "e", "namespace": "ns", "labels": labels or {}}}}


async def test_our_object_and_those_that_read_it_are_looked_at() -> None:
    bench = Bench()
    bench.references.update(Key("ModelDeployment", "ns", "d"), [EXPERIMENT])
    answer = await bench.handler("experiments")(event=event("MODIFIED"))
    assert bench.keys == [EXPERIMENT, Key("ModelDeployment", "ns", "d")]
    assert bench.references.dependents(MONITOR) == (EXPERIMENT,)
    assert answer is None, "kopf would patch an answer into the status"


async def test_a_retrain_wakes_those_that_follow_its_lineage() -> None:
    bench = Bench()
    follower = Key("ModelDeployment", "ns", "d")
    bench.references.update(follower, [Key("Experiment", "ns", "root")])
    await bench.handler("experiments")(event=event("MODIFIED", {names.LABEL_LINEAGE: "root"}))
    assert bench.keys == [EXPERIMENT, follower]


async def test_a_deleted_object_is_looked_at_and_forgotten() -> None:
    bench = Bench()
    await bench.handler("experiments")(event=event(None))
    await bench.handler("experiments")(event=event("DELETED"))
    assert bench.keys == [EXPERIMENT, EXPERIMENT]
    assert bench.references.dependents(MONITOR) == ()
    assert (bench.observer.counts["seen Experiment"], bench.observer.counts["gone Experiment"]) == (1, 1)


@pytest.mark.parametrize("plural", ["jobs", "pods", "configmaps", "services", "deployments"])
async def test_a_child_of_any_kind_wakes_its_owner_engineering_16(plural: str) -> None:
    bench = Bench()
    await bench.handler(plural)(event=event("ADDED", {names.LABEL_EXPERIMENT: "e"}))
    assert bench.keys == [EXPERIMENT]


async def test_a_child_of_nobody_wakes_nobody() -> None:
    bench = Bench()
    await bench.handler("pods")(event=event("ADDED"))
    assert bench.keys == []


def test_only_event_handlers_are_registered() -> None:
    """The others of kopf write finalizers or annotations."""
    registry = Bench().registry
    assert not list(registry._changing.get_all_handlers())
    assert not list(registry._spawning.get_all_handlers())
    assert not list(registry._indexing.get_all_handlers())


def test_settings_keep_kopf_alone_and_silent() -> None:
    settings = wiring.settings()
    assert settings.peering.standalone
    assert not settings.posting.enabled
    assert isinstance(settings.watching.server_timeout, int), "the API server refuses fractions"
    assert settings.watching.client_timeout is not None
    assert settings.watching.client_timeout > settings.watching.server_timeout


def test_children_are_selected_by_the_server_engineering_76() -> None:
    selectors = wiring.settings().watching.label_selectors
    for kind in wiring.CHILD_KINDS:
        resource = kopf.Resource(kind.group, kind.version, kind.plural)
        assert selectors.collect(resource) == [f"{names.MANAGED_BY}={names.MANAGER}"]
    ours = kinds.EXPERIMENT
    assert selectors.collect(kopf.Resource(ours.group, ours.version, ours.plural)) == []


def test_backoffs_never_end_and_stay_below_half_a_minute_engineering_27() -> None:
    seconds = list(itertools.islice(iter(wiring.JitteredBackoffs()), 1000))
    assert len(seconds) == 1000
    assert max(seconds) <= 30.0
    assert min(seconds[10:]) >= 15.0
