"""The worlds of tests/golden: what a released operator had written in the middle of its work, given to today's labs.

Owns the reading of those files. A lab that is given one goes on with today's code from the next reconciliation, as an upgraded operator
does.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fakes import deployment_lab, drift_lab, experiment_lab, field_ownership
from fakes.arms import PodState
from fakes.counting_pods import CountingPod
from fakes.field_ownership import Item, Owners
from fakes.field_ownership import Path as FieldPath
from fakes.memory_kube import MemoryKube
from fakes.workloads import REPLICA_SET
from modelcycle.kube import kinds
from modelcycle.kube.kinds import OWN_KINDS, Kind
from modelcycle.kube.port import FIELD_MANAGER, STATUS_FIELD_MANAGER
from modelcycle.metrics.port import Series
from modelcycle_bundle.profile import Profile

GOLDEN: Final = Path(__file__).parents[1] / "golden"
RELEASES: Final = ("dbc8e77",)
STORED: Final = (
    *OWN_KINDS,
    kinds.POD,
    kinds.CONFIG_MAP,
    kinds.SERVICE,
    kinds.JOB,
    kinds.DEPLOYMENT,
    kinds.CONTROLLER_REVISION,
    REPLICA_SET,
)
KINDS: Final = {kind.kind: kind for kind in STORED}
Json = dict[str, Any]


def world(release: str, name: str) -> Json:
    """One file of a release."""
    read: Json = json.loads((GOLDEN / release / f"{name}.json").read_text())
    return read


def wire(release: str, name: str) -> str:
    """What crossed the network, as text."""
    return (GOLDEN / release / "wire" / name).read_text()


def bodies(kept: Json, kind: Kind) -> list[Json]:
    """Objects of a kind in a world."""
    return [item["body"] for item in kept["objects"] if item["body"]["kind"] == kind.kind]


def deployment(release: str, name: str) -> deployment_lab.Lab:
    """A ModelDeployment under load, its pods with the counters that they had."""
    kept = world(release, name)
    lab = deployment_lab.Lab(now=datetime.fromisoformat(kept["now"]))
    _fill(lab.kube, kept)
    lab.arms.rate = kept["rate"]
    lab.arms.earlier_image = True
    for uid, pod in kept["pods"].items():
        counts = {(arm, outcome): count for arm, outcome, count in pod["counts"]}
        lab.arms._pods[uid] = PodState(pod["epoch"], pod["phase"], pod["rollout"], counts, pod["rescued"])
    # Addresses that were given out before are taken.
    lab.workloads._addresses = len(lab.kube.find(kinds.SERVICE)) + 1
    return lab


def experiment(release: str, name: str) -> experiment_lab.Lab:
    """An Experiment and its Jobs."""
    kept = world(release, name)
    lab = experiment_lab.Lab(now=datetime.fromisoformat(kept["now"]))
    _fill(lab.kube, kept)
    return lab


def monitor(release: str, name: str) -> drift_lab.Plant:
    """A DriftMonitor and its target's pods, which count on where they were."""
    kept = world(release, name)
    plant = drift_lab.Plant(now=kept["now"])
    _fill(plant.kube, kept)
    plant.pods = [
        CountingPod(uid, pod["epoch"], counts={Series(metric, tuple(labels)): n for metric, labels, n in pod["counts"]})
        for uid, pod in kept["pods"].items()
    ]
    plant.profiles = {key: Profile.parse(json.dumps(plain)) for key, plain in kept["profiles"].items()}
    return plant


def _fill(kube: MemoryKube, kept: Json) -> None:
    for item in kept["objects"]:
        body, kind = item["body"], KINDS[item["body"]["kind"]]
        others = {manager: {_path(path) for path in paths} for manager, paths in item["others"].items()}
        kube.restore(kind, body, {**others, **_ours(kind, body, others)})


def _ours(kind: Kind, body: Json, others: Owners) -> Owners:
    """What nobody else manages is the operator's; of a kind of our own only its status."""
    taken = {path for paths in others.values() for path in paths}
    rest = {path for path, _ in field_ownership.leaves(body)} - taken
    if kind not in OWN_KINDS:
        return {FIELD_MANAGER: rest}
    status = {path for path in rest if path[0] == "status"}
    return {STATUS_FIELD_MANAGER: status, "kubectl": rest - status}


def _path(plain: list[Any]) -> FieldPath:
    return tuple(_steps(plain))


def _steps(plain: list[Any]) -> Iterator[str | Item]:
    for step in plain:
        yield step if isinstance(step, str) else Item(tuple(step.items()))
