"""`spec.reference` chooses what counts are compared with; a value of a newer CRD is said and not guessed."""

import pytest

from fakes.drift_lab import RETRAIN, Plant, Shift
from modelcycle.api.driftmonitor import Reference
from modelcycle.drift.reference import REFERENCES
from modelcycle.kube.kinds import DRIFT_MONITOR


def test_every_reference_of_the_enum_has_a_lookup() -> None:
    assert set(REFERENCES) == set(Reference)


async def test_the_lookup_in_the_registry_decides_what_windows_are_judged_by(monkeypatch: pytest.MonkeyPatch) -> None:
    judged, blind = Shift(reference="training"), Shift(reference="training")
    await judged.window(judged.table())
    monkeypatch.setitem(REFERENCES, Reference.TRAINING, lambda world: {})
    await blind.window(blind.table())
    assert judged.plant.reason == ("True", "Observing")
    assert "judgement" in judged.plant.status
    assert blind.plant.reason == ("False", "ProfileUnknown")
    assert "judgement" not in blind.plant.status


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"reference": "yesterday"}, "spec.reference: 'yesterday' is unknown, expected one of training"),
        ({"mode": "enforce"}, "spec.mode: 'enforce' is unknown, expected one of observe, act"),
        (
            {"actions": {"alert": {"minPriority": "P9"}}},
            "spec.actions.alert.minPriority: 'P9' is unknown, expected one of P1, P2, P3, P4",
        ),
        (
            {"actions": {"retrain": {**RETRAIN, "minPriority": "P9"}}},
            "spec.actions.retrain.minPriority: 'P9' is unknown, expected one of P1, P2, P3, P4",
        ),
        (
            {"features": [{"name": "t"}, {"name": "u", "importance": "vital"}]},
            "spec.features[1].importance: 'vital' is unknown, expected one of high, medium, low",
        ),
        ({"interval": "1d"}, "spec.interval: '1d' is not a duration such as 90s, 15m or 1h30m"),
    ],
)
async def test_a_value_of_a_newer_crd_is_named_with_what_is_possible(spec: dict[str, object], message: str) -> None:
    plant = Plant()
    plant.apply(**spec)
    plant.deploy()
    await plant.look(0)
    assert plant.reason == ("False", "InvalidSpec")
    assert plant.condition("Stalled")["message"] == message


async def test_counts_are_kept_while_a_spec_cannot_be_used() -> None:
    lab = Shift()
    await lab.window(lab.table())
    before, spec = lab.plant.counts_map(), {"window": {"length": "60s"}, "interval": "2s"}
    lab.plant.kube.edit(DRIFT_MONITOR, "plant-7", "scrap", lambda o: o["spec"].update(reference="yesterday"))
    await lab.plant.look(70)
    assert lab.plant.reason == ("False", "InvalidSpec")
    assert lab.plant.counts_map() == before
    lab.plant.kube.edit(
        DRIFT_MONITOR, "plant-7", "scrap", lambda o: o.update(spec={"targetRef": {"name": "scrap"}, **spec})
    )
    await lab.plant.look(80)
    assert lab.plant.reason == ("True", "Observing")
