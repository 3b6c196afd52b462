"""Writes the golden files of a release: worlds of its labs in the middle of their work, and its pods' pages, annotations and results.

Runs on the code of that release (README.md), so it imports nothing that came later.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from fakes import canary_lab, deployment_lab, drift_lab, experiment_lab
from fakes.field_ownership import Item
from fakes.jobs import KEY_HINT, candidate, inspected, trained
from fakes.memory_kube import MemoryKube
from fakes.workloads import Behaviour
from modelcycle.kube import kinds
from modelcycle.kube.port import FIELD_MANAGER, STATUS_FIELD_MANAGER
from modelcycle_bundle import metric_names as names
from modelcycle_bundle.contract import (
    CompareResult,
    Failure,
    FailureClass,
    FailureReason,
    FetchResult,
    InspectResult,
    SealResult,
    TrialResult,
    to_json,
)
from modelcycle_bundle.outputs import ValueOutputs
from modelcycle_bundle.profile import build
from modelcycle_bundle.traffic import Traffic, to_text
from modelcycle_serving.arm_counters import ArmCounters
from modelcycle_serving.counters import Counters
from modelcycle_serving.model import Model
from modelcycle_serving.oip import Signature

ROLLOUT = "6f1c2b-0a1b2c3d"


def objects(kube: MemoryKube) -> list[dict[str, Any]]:
    """Every object, with the leaves that somebody else manages."""
    found = []
    for entry in kube._entries.values():
        others = {
            manager: sorted((_plain(path) for path in paths), key=str)
            for manager, paths in entry.owners.items()
            if manager not in (FIELD_MANAGER, STATUS_FIELD_MANAGER) and paths
        }
        found.append({"body": entry.body, "others": others})
    return found


def _plain(path: Any) -> list[Any]:
    return [dict(step.keys) if isinstance(step, Item) else step for step in path]


def of_deployment(lab: deployment_lab.Lab) -> dict[str, Any]:
    lab.arms._follow()
    pods = {
        uid: {
            "epoch": state.epoch,
            "phase": state.phase,
            "rollout": state.rollout,
            "counts": [[arm, outcome, count] for (arm, outcome), count in state.counts.items()],
            "rescued": state.rescued,
        }
        for uid, state in lab.arms._pods.items()
    }
    return {"now": lab.now.isoformat(), "rate": lab.arms.rate, "pods": pods, "objects": objects(lab.kube)}


async def mid_canary() -> dict[str, Any]:
    """Evidence is being taken in the second of four steps, with keys and a test header; an older digest was rejected before."""
    lab = await canary_lab.started(letter="d", steps=[{"setWeight": 20}, {"analysis": {}}])
    lab.arms.failing[deployment_lab.digest("d")] = 1.0
    await lab.run(seconds=60, until=lambda: bool(lab.status.get("rejected")))
    steps: list[dict[str, Any]] = [
        {"setWeight": 20},
        {"analysis": {}},
        {"setWeight": "50%"},
        {"pause": {"duration": "1m"}},
    ]
    traffic = {"sticky": {"header": "X-User-Id"}, "testHeader": True}
    lab.apply(**canary_lab.canary_spec("b", steps, traffic=traffic))
    await lab.run(seconds=30, until=lambda: lab.status.get("canary", {}).get("step") == 1)
    await lab.run(seconds=12)
    return of_deployment(lab)


async def mid_pause() -> dict[str, Any]:
    """A pause for a person after a share of a half; a copy step came before; a request of a person was answered."""
    steps: list[dict[str, Any]] = [
        {"shadow": {"weight": 10, "duration": "10s"}},
        {"setWeight": 50},
        {"pause": {}},
        {"setWeight": 80},
    ]
    lab = await canary_lab.started(steps=steps, requests=[canary_lab.approve("early", "c")])
    await lab.run(seconds=60, until=lambda: lab.status.get("canary", {}).get("step") == 2)
    await lab.run(seconds=10)
    return of_deployment(lab)


async def guard_window() -> dict[str, Any]:
    """Promoted; the old pods forward everything and have not been scaled down."""
    lab = await canary_lab.started(steps=[{"setWeight": 20}, {"analysis": {"maxDuration": "30m"}}])
    lab.kube.edit(
        kinds.MODEL_DEPLOYMENT,
        deployment_lab.NAMESPACE,
        deployment_lab.NAME,
        lambda body: body["spec"]["strategy"]["canary"].update(guardWindow="30s"),
    )
    await lab.run(seconds=1800, until=lambda: lab.reason == "GuardWindow")
    await lab.run(seconds=3)
    return of_deployment(lab)


async def first_refused() -> dict[str, Any]:
    """Stalled: the first model's bytes are not those that were signed."""
    lab = deployment_lab.Lab({deployment_lab.digest("a"): Behaviour.TAMPERED})
    lab.apply(model=deployment_lab.model("a"))
    await lab.run(seconds=60)
    return of_deployment(lab)


async def rejected() -> dict[str, Any]:
    """Stable serves and the next model was rolled back on evidence."""
    lab = await canary_lab.started()
    lab.arms.failing[deployment_lab.digest("b")] = 0.2
    await lab.run(seconds=600, until=lambda: lab.reason == "CanaryRejected" or bool(lab.status.get("rejected")))
    await lab.run(seconds=60)
    return of_deployment(lab)


async def starting() -> dict[str, Any]:
    """The canary's pods come up."""
    lab = await canary_lab.started()
    lab.behaviours[deployment_lab.digest("b")] = Behaviour.SLOW
    await lab.run(seconds=8)
    return of_deployment(lab)


def of_experiment(lab: experiment_lab.Lab) -> dict[str, Any]:
    return {"now": lab.now.isoformat(), "objects": objects(lab.kube)}


def mid_search() -> dict[str, Any]:
    """Two of six trials are over, one of them failed, two run."""
    lab = experiment_lab.Lab()
    lab.jobs.hold = lambda job: "run" if len(lab.ledger()) >= 2 else ""
    failure = Failure(FailureClass.PARAMETERS, FailureReason.TRAINER_RAISED, "max_depth: too deep")
    programs = lab.jobs.programs
    programs.trial = lambda task: trained(task) if task.index else to_json(_failed_trial(task, failure))
    lab.apply(experiment_lab.search(maxTrialCount=6, parallelTrialCount=2, maxFailedTrialCount=3))
    for _ in range(40):
        lab.reconcile()
        lab.jobs.step(lab.now)
        lab.now += timedelta(seconds=1)
    return of_experiment(lab)


def _failed_trial(task: Any, failure: Failure) -> Any:
    return replace(trained(task), metrics={}, candidate_digest=None, failure=failure)


def stalled_search() -> dict[str, Any]:
    """The data cannot be used."""
    lab = experiment_lab.Lab()
    failure = Failure(FailureClass.DATA, FailureReason.TARGET_MISSING, "train.csv: no column is_scrap")
    lab.jobs.programs.inspect = lambda task: replace(inspected(task), failure=failure)
    lab.apply(experiment_lab.search())
    lab.settle()
    return of_experiment(lab)


def finished_search() -> dict[str, Any]:
    """Sealed and published."""
    lab = experiment_lab.Lab()
    lab.apply(experiment_lab.search())
    lab.settle()
    return of_experiment(lab)


def mid_sealing() -> dict[str, Any]:
    """The winner is compared with the deployed model; the Job runs."""
    lab = experiment_lab.Lab()
    lab.deploy()
    lab.jobs.hold = lambda job: "run" if "compare" in job["metadata"]["name"] else ""
    lab.apply(experiment_lab.search(acceptance=[experiment_lab.NOT_WORSE]))
    lab.settle()
    return of_experiment(lab)


def of_monitor(line: drift_lab.Shift) -> dict[str, Any]:
    pods = {
        pod.uid: {"epoch": pod.epoch, "counts": [[s.metric, list(s.labels), n] for s, n in pod.counts.items()]}
        for pod in line.plant.pods
    }
    profiles = {name: json.loads(profile.to_json()) for name, profile in line.plant.profiles.items()}
    return {"now": line.plant.now, "pods": pods, "profiles": profiles, "objects": objects(line.plant.kube)}


async def mid_window() -> dict[str, Any]:
    """One window without a finding is over, the second has begun."""
    line = drift_lab.Shift(features=drift_lab.IMPORTANT)
    await line.window(line.table(1500))
    line.pod.predict(line.table(400), line.factory.answers(line.table(400)))
    await line.plant.look(60 * line.minute + 20)
    return of_monitor(line)


async def alarmed() -> dict[str, Any]:
    """An alarm stands, and a retrain looks at new data."""
    line = drift_lab.Shift(mode="act", features=drift_lab.IMPORTANT, actions={"retrain": drift_lab.RETRAIN})
    spec = dict(experiment_lab.MINIMAL)
    line.plant.kube.seed(kinds.EXPERIMENT, "plant-7", {"metadata": {"name": "scrap"}, "spec": spec})
    for _ in range(2):
        await line.window(line.table(2000, temperature=1.5))
    return of_monitor(line)


def page() -> str:
    """A serving pod's page in the middle of a rollout."""
    rng = np.random.default_rng(7)
    inputs = rng.normal(size=(500, 2)).astype(np.float32)
    profile = build(["temperature", "pressure"], inputs, ValueOutputs(rng.normal(size=500).astype(np.float32)))
    signature = Signature(("temperature", "pressure"), (), accepts_missing=True)
    model = Model("sha256:" + "a" * 64, signature, profile, b"", lambda rows: {}, 0.0, 0.0)
    counters, arms = Counters(model, "395c90c2aa", "pod-1", 1795416200.25), ArmCounters()
    counters.count_request(200)
    counters.count_rows(inputs[:40], {"prediction": np.zeros((40, 1), dtype=np.float32)})
    arms.apply(Traffic(ROLLOUT, 3, 2000, "10.96.0.2:80"))
    outcomes = [(arm, outcome) for arm, all_of in names.ARM_OUTCOMES.items() for outcome in all_of]
    for more, (arm, outcome) in enumerate(outcomes):
        for _ in range(10 + more):
            arms.count(ROLLOUT, arm, outcome)
            arms.drawn(ROLLOUT, names.DRAWN_BY_SHARE, arm)
    arms.rescued(ROLLOUT)
    return (counters.exposition() + arms.exposition()).decode()


def annotations() -> list[str]:
    """Traffic annotations, the smallest and the fullest."""
    plain = Traffic(ROLLOUT, 3, 2000, "10.96.0.2:80")
    full = Traffic(
        ROLLOUT, 9, 10000, "[fd00::2]:80", 0.25, close=True, shadow=500, sticky="x-user-id", test_header=True
    )
    return [to_text(traffic) for traffic in (Traffic(), plain, full)]


def results() -> Iterator[tuple[str, str]]:
    """Termination messages, good and failed."""
    failure = Failure(
        FailureClass.POLICY, FailureReason.DIGEST_MISMATCH, "model/model.onnx has other bytes than signed"
    )
    digest = candidate(1)
    yield "InspectResult", to_json(InspectResult(True, "PEM", KEY_HINT, digest, 569, 31, 560, "s3://factory/a.csv"))
    yield "TrialResult", to_json(TrialResult(1, "roc_auc", {"roc_auc": "0.91"}, digest, digest, 569))
    yield "SealResult", to_json(SealResult("s3://models/scrap/a", digest, KEY_HINT, 4096, 32))
    yield "FetchResult", to_json(FetchResult(failure=failure))
    yield "CompareResult", to_json(CompareResult(failure=failure))


def written(folder: Path, name: str, made: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made if isinstance(made, str) else json.dumps(made, indent=1, sort_keys=True) + "\n")


def main(folder: Path) -> None:
    for world in (mid_canary, mid_pause, guard_window, first_refused, rejected, starting, mid_window, alarmed):
        written(folder, f"{world.__name__.replace('_', '-')}.json", asyncio.run(world()))
    for search in (mid_search, stalled_search, finished_search, mid_sealing):
        written(folder, f"{search.__name__.replace('_', '-')}.json", search())
    written(folder, "wire/metrics.txt", page())
    written(folder, "wire/annotations.json", annotations())
    written(folder, "wire/results.json", dict(results()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
