"""No field of a spec without a reader: samples, stored worlds and states run through the labs with every access of the specs recorded."""

import asyncio
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from fakes import deployment_lab, drift_lab, experiment_lab, released, retrain_lab
from fakes.deployment_lab import NAME, NAMESPACE, digest
from fakes.released import RELEASES
from modelcycle.api import acceptance, driftmonitor, experiment, modeldeployment, rollout, space
from modelcycle.kube.kinds import DRIFT_MONITOR, EXPERIMENT, MODEL_DEPLOYMENT, Kind

ROOT: Final = Path(__file__).parents[3]
OPERATOR: Final = ROOT / "operator" / "modelcycle"
DEPLOYMENT_SPECS: Final = (
    modeldeployment.Spec,
    modeldeployment.ModelSource,
    modeldeployment.Server,
    rollout.CanaryStrategy,
    rollout.AnalysisSpec,
    rollout.SetWeight,
    rollout.Pause,
    rollout.Shadow,
    rollout.UserRequest,
)
EXPERIMENT_SPECS: Final = (
    experiment.ExperimentSpec,
    experiment.Objective,
    space.Parameter,
    experiment.Data,
    experiment.Step,
    acceptance.Acceptance,
    acceptance.Bound,
    acceptance.NotWorseThan,
)
MONITOR_SPECS: Final = (
    driftmonitor.MonitorSpec,
    driftmonitor.FeatureSpec,
    driftmonitor.Effect,
    driftmonitor.Persistence,
    driftmonitor.RetrainSpec,
)
Touched = set[str]


def fields(specs: tuple[type, ...]) -> set[str]:
    return {f"{spec.__name__}.{field.name}" for spec in specs for field in dataclasses.fields(spec)}


def _recorder(spec: type, touched: Touched) -> Callable[[Any, str], Any]:
    def access(self: Any, name: str) -> Any:
        reader = Path(sys._getframe(1).f_code.co_filename)
        # Comparing, hashing and copying a dataclass touches every field and reads none.
        if OPERATOR in reader.parents:
            touched.add(f"{spec.__name__}.{name}")
        return object.__getattribute__(self, name)

    return access


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Touched]:
    found: Touched = set()
    for spec in (*DEPLOYMENT_SPECS, *EXPERIMENT_SPECS, *MONITOR_SPECS):
        monkeypatch.setattr(spec, "__getattribute__", _recorder(spec, found), raising=False)
    yield found
    monkeypatch.undo()


def bodies(kind: Kind) -> list[dict[str, Any]]:
    """Objects of a kind in samples and states."""
    files = [
        *sorted(ROOT.glob("manifests/samples/*.yaml")),
        *sorted(ROOT.glob(f"tests/states/{kind.kind.lower()}/*.yaml")),
    ]
    found = [body for file in files for body in yaml.safe_load_all(file.read_text()) if body["kind"] == kind.kind]
    assert len(found) > 2
    return found


def stored(kind: Kind) -> list[tuple[str, str]]:
    """Release and name of each world of tests/golden that has an object of this kind as its subject."""
    found = [
        (release, path.stem)
        for release in RELEASES
        for path in sorted((ROOT / "tests/golden" / release).glob("*.json"))
    ]
    subject = {MODEL_DEPLOYMENT: "rate", DRIFT_MONITOR: "profiles"}.get(kind)
    worlds = {at: released.world(*at) for at in found}
    if subject:
        return [at for at, kept in worlds.items() if subject in kept]
    return [at for at, kept in worlds.items() if "rate" not in kept and "profiles" not in kept]


def approved(letter: str) -> Callable[[dict[str, Any]], None]:
    """What `kubectl modelcycle approve` adds."""
    request = {"id": f"approve-{letter}", "verb": "Approve", "digest": digest(letter), "by": "ada", "reason": "seen"}
    return lambda body: body["spec"].update(requests=[request])


async def test_every_field_of_a_model_deployment_is_read(touched: Touched) -> None:
    for at in stored(MODEL_DEPLOYMENT):
        await released.deployment(*at).run(seconds=20)
    for body in bodies(MODEL_DEPLOYMENT):
        lab = deployment_lab.Lab()
        lab.enforce_policies()
        lab.experiment("a")
        lab.kube.seed(MODEL_DEPLOYMENT, NAMESPACE, {"metadata": {"name": NAME}, "spec": body["spec"]})
        for letter in "ab":
            lab.experiment(letter)
            await lab.run(seconds=20)
            lab.kube.edit(MODEL_DEPLOYMENT, NAMESPACE, NAME, approved(letter))
            await lab.run(seconds=20)
    assert fields(DEPLOYMENT_SPECS) - touched == set()


ACCEPTED: Final[Mapping[str, Any]] = {
    **experiment_lab.MINIMAL,
    "objective": {"type": "maximize", "objectiveMetricName": "roc_auc"},
    "acceptance": [{"metric": "roc_auc", "minimum": "0.5"}, {"metric": "log_loss", "maximum": "0.7"}],
}
"""No sample and no stored world shows `acceptance` with bounds."""


def test_every_field_of_an_experiment_is_read(touched: Touched) -> None:
    for at in stored(EXPERIMENT):
        released.experiment(*at).settle()
    for spec in (*(body["spec"] for body in bodies(EXPERIMENT)), ACCEPTED):
        lab = experiment_lab.Lab()
        lab.apply(spec)
        lab.settle()
    assert fields(EXPERIMENT_SPECS) - touched == set()


def test_every_field_of_a_drift_monitor_is_read(touched: Touched) -> None:
    asyncio.run(_monitors())
    for body in bodies(DRIFT_MONITOR):
        retrain = body["spec"].get("actions", {}).get("retrain")
        if retrain:
            lab = retrain_lab.Lab()
            lab.configure(**retrain)
            lab.settle()
    assert fields(MONITOR_SPECS) - touched == set()


async def _monitors() -> None:
    for at in stored(DRIFT_MONITOR):
        plant = released.monitor(*at)
        await plant.look(plant.now + 60)
    for body in bodies(DRIFT_MONITOR):
        lab = drift_lab.Shift(**{"window": {}, "interval": "15s", **body["spec"]})
        for _ in range(2):  # the first look asks for readings, the second has one
            await lab.plant.look(0)
        for hour, rows in enumerate((10, 600, 600, 600), 1):
            table = lab.table(rows, temperature=5.0)
            lab.pod.predict(table, lab.factory.answers(table))
            await lab.plant.look(3600 * hour)
