"""What comes of each value that a spec lets people choose: a table of the choices with a lab for each. Holds no assertion.

A choice is a field whose values are the members of an enumeration, or the kinds of a step.
"""

import asyncio
import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from fakes import drift_lab, experiment_lab, retrain_lab
from fakes.canary_lab import canary_spec, started
from fakes.deployment_lab import NAME, NAMESPACE, Lab, digest
from modelcycle.api import driftmonitor, experiment, modeldeployment
from modelcycle.api.driftmonitor import Priority
from modelcycle.kube.kinds import JOB, POD
from modelcycle_bundle import layout, traffic

Json = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """One field, a spec that has it at a value, and what comes of each value."""

    field: str
    """In the API's types; "" for one that is parsed into another field."""
    spec: Callable[[str], Json]
    outcome: Callable[[Json], object]
    """What a lab shows of a spec."""
    cases: Mapping[str, object]
    """By value."""


# ---- ModelDeployment ----------------------------------------------------------------------------------------------


def _canary(**more: Any) -> Json:
    return canary_spec("b", **more)


def _after(seconds: float, rate: float, show: Callable[[Lab], object]) -> Callable[[Json], object]:
    """A canary b beside stable a, some time later."""

    async def run(spec: Json) -> object:
        lab = await started(rate=rate)
        lab.apply(**copy.deepcopy(spec))
        await lab.run(seconds=seconds)
        return show(lab)

    return lambda spec: asyncio.run(run(spec))


def _serves(lab: Lab) -> str:
    return f"{lab.reason}, {lab.serving} serves"


def _step(spec: Json) -> object:
    """After a share of 20 %: the step's word, the share and the copied share, as the pods were told."""

    def show(lab: Lab) -> object:
        told = [
            traffic.parse((pod["metadata"].get("annotations") or {}).get(traffic.ANNOTATION, ""))
            for pod in lab.kube.find(POD, NAMESPACE)
        ]
        return str(lab.reason), max(one.share for one in told), max(one.shadow for one in told)

    return _after(12, 100, show)(spec)


def _approval(value: str) -> Json:
    approval = {"required": False} if value == "None" else {"required": True, "source": value}
    return _canary(approval=approval)


def _approved_by(spec: Json) -> object:
    """Whether a canary gets requests without anybody's word: named by its digest, and by an Experiment."""

    async def run(named: Json) -> bool:
        lab = Lab()
        lab.enforce_policies()
        lab.apply(**canary_spec("a"))
        await lab.run(seconds=10)
        lab.arms.rate = 100
        lab.experiment("b")
        lab.apply(**{**copy.deepcopy(spec), **named})
        await lab.run(seconds=15)
        return lab.arms.by_digest.get(digest("b"), 0) > 0

    by_experiment = {"model": {"experimentRef": {"name": NAME}}}
    return asyncio.run(run({})), asyncio.run(run(by_experiment))


PAUSED: Final[list[Json]] = [{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]


def _asked(value: str) -> Json:
    request = {"id": "1", "verb": value, "digest": digest("b"), "by": "ada", "reason": "seen"}
    return _canary(steps=PAUSED, requests=[request])


def _answered(spec: Json) -> object:
    """What is said to a request about a canary that pauses at 10 %, and what serves then; and the same once its digest is rejected."""

    async def run(*before: Json) -> str:
        lab = Lab()
        lab.enforce_policies()
        lab.apply(**canary_spec("a"))
        await lab.run(seconds=10)
        lab.arms.rate = 20
        for requests in ([], [*before], [*before, *spec["requests"]]):
            lab.apply(**{**copy.deepcopy(spec), "requests": requests})
            await lab.run(seconds=8)
        weight = lab.status.get("canary", {}).get("weight", {}).get("desired", "none")
        return f"{lab.status['requests'][-1]['result']}: {_serves(lab)}, canary {weight}"

    abort = {"id": "0", "verb": "Abort", "digest": digest("b"), "by": "ada", "reason": "seen"}
    return asyncio.run(run()), asyncio.run(run(abort))


# ---- Experiment ---------------------------------------------------------------------------------------------------


def _search(**fields: Any) -> Json:
    return experiment_lab.search(**fields)


def _searched(space: Json, kind: str = "double", **fields: Any) -> Json:
    return _search(parameters=[{"name": "p", "parameterType": kind, "feasibleSpace": space}], **fields)


def _tasks(spec: Json) -> list[Json]:
    """The tasks of the trials as their pods read them, in the order of the trials."""
    lab = experiment_lab.Lab()
    lab.apply(spec)
    found: dict[int, Json] = {}
    for _ in range(30):
        lab.reconcile()
        for job in lab.kube.find(JOB):
            (container,) = job["spec"]["template"]["spec"]["containers"]
            (text,) = [env["value"] for env in container["env"] if env["name"] == layout.TASK_ENV]
            task = json.loads(text)
            if "index" in task and "parameters" in task:
                found[task["index"]] = task
        lab.jobs.step(lab.now)
        lab.now += timedelta(seconds=1)
    return [found[index] for index in sorted(found)]


def _points(spec: Json) -> object:
    """What the trials were given, with the types of JSON."""
    return json.dumps([task["parameters"].get("p") for task in _tasks(spec)])


def _best(spec: Json) -> object:
    """Which trial was sealed: the metric grows with the index."""
    lab = experiment_lab.Lab()
    lab.apply(spec)
    lab.settle()
    return lab.status["currentOptimalTrial"]["index"]


SPACES: Final[Mapping[str, Json]] = {
    "double": {"min": "1", "max": "3", "step": "1"},
    "int": {"min": "1", "max": "3", "step": "1"},
    "discrete": {"list": ["01", "2", "3"]},
    "categorical": {"list": ["01", "2", "3"]},
}

# ---- DriftMonitor -------------------------------------------------------------------------------------------------


def _watched(show: Callable[[drift_lab.Shift], object]) -> Callable[[Json], object]:
    """Two windows in which two inputs and the answers have moved, and some values are missing."""

    async def run(spec: Json) -> object:
        line = drift_lab.Shift(**{name: value for name, value in spec.items() if name != "targetRef"})
        for _ in range(2):
            rows = line.table(5000, temperature=1.0, pressure=0.9)
            sound = rows.copy()
            rows[:250, line.factory.names.index("speed")] = float("nan")
            await line.window(rows, sound)
        return show(line)

    return lambda spec: asyncio.run(run(spec))


def _monitor(**spec: Any) -> Json:
    return {"targetRef": {"name": "scrap"}, **spec}


def _input_drift(line: drift_lab.Shift) -> object:
    return next((a["priority"], a["features"]) for a in line.alarms if a["cause"] == "input-drift")


def _alerted(line: drift_lab.Shift) -> object:
    return sorted({event.note[:2] for event in line.plant.events if event.action == "Alert"})


def _retraining(spec: Json) -> object:
    """The priorities of alarms that begin a retrain, of those that an alarm has today."""
    found = []
    for priority in (Priority.P2, Priority.P3, Priority.P4):
        lab = retrain_lab.Lab(wish=replace(retrain_lab.WISH, priority=priority))
        lab.configure(mode=spec["mode"], **spec["actions"]["retrain"])
        lab.settle()
        found += [priority.value] if lab.retrains() else []
    return found


def _retrain(mode: str = "act", **retrain: Any) -> Json:
    data = {"uri": retrain_lab.LATEST}
    actions = {"retrain": {"experimentTemplateRef": {"name": "scrap"}, "data": data, **retrain}}
    return _monitor(mode=mode, actions=actions)


STEP: Final[Mapping[str, object]] = {
    "setWeight": 50,
    "pause": {},
    "analysis": {},
    "shadow": {"weight": 30, "duration": "1h"},
}

CHOICES: Final[Mapping[str, Choice]] = {
    "ModelDeployment spec.strategy.canary.analysis.source": Choice(
        "AnalysisSpec.source",
        lambda value: _canary(analysis={"source": value}),
        _after(60, 100, _serves),
        {"Pods": "Serving, b serves", "Prometheus": "MetricsUnavailable, a serves"},
    ),
    "ModelDeployment spec.strategy.canary.analysis.onInconclusive": Choice(
        "AnalysisSpec.on_inconclusive",
        lambda value: _canary(analysis={"maxDuration": "60s", "onInconclusive": value}),
        _after(180, 0, _serves),
        {
            "Pause": "CanaryPaused, a serves",
            "Promote": "Serving, b serves",
            "Rollback": "Inconclusive, a serves",
        },
    ),
    "ModelDeployment spec.strategy.canary.analysis.metrics[].name": Choice(
        "",
        lambda value: _canary(analysis={"metrics": [{"name": value}]}),
        _after(60, 100, _serves),
        {"errors": "Serving, b serves"},
    ),
    "ModelDeployment spec.strategy.canary.steps[]": Choice(
        "CanaryStrategy.steps",
        lambda value: _canary(steps=[{"setWeight": 20}, {value: STEP.get(value)}]),
        _step,
        {
            "setWeight": ("CanaryInProgress", 5000, 0),
            "pause": ("CanaryPaused", 2000, 0),
            "analysis": ("CanaryInProgress", 2000, 0),
            "shadow": ("CanaryInProgress", 2000, 3000),
        },
    ),
    "ModelDeployment spec.traffic.provider": Choice(
        "Spec.provider",
        lambda value: _canary(steps=PAUSED, traffic={"provider": value}),
        _step,
        {"InServer": ("CanaryPaused", 1000, 0)},
    ),
    "ModelDeployment spec.approval.source": Choice(
        "Spec.approval",
        _approval,
        _approved_by,
        {"None": (True, True), "Request": (False, False), "Git": (True, False)},
    ),
    "ModelDeployment spec.requests[].verb": Choice(
        "UserRequest.verb",
        _asked,
        _answered,
        {
            "Promote": (
                "Executed: CanaryPaused, a serves, canary 50",
                "Refused: Aborted, a serves, canary none",
            ),
            "PromoteFull": (
                "Executed: GuardWindow, b serves, canary none",
                "Refused: Aborted, a serves, canary none",
            ),
            "Abort": (
                "Executed: Aborted, a serves, canary none",
                "Refused: Aborted, a serves, canary none",
            ),
            "Retry": (
                "Refused: CanaryPaused, a serves, canary 10",
                "Executed: CanaryPaused, a serves, canary 10",
            ),
            "Undo": (
                "Refused: CanaryPaused, a serves, canary 10",
                "Refused: Aborted, a serves, canary none",
            ),
            "Approve": (
                "Executed: CanaryPaused, a serves, canary 10",
                "Executed: Aborted, a serves, canary none",
            ),
        },
    ),
    "Experiment spec.objective.type": Choice(
        "Objective.direction",
        lambda value: _search(objective={"type": value, "objectiveMetricName": "roc_auc"}),
        _best,
        {"maximize": 3, "minimize": 0},
    ),
    "Experiment spec.algorithm.algorithmName": Choice(
        "ExperimentSpec.algorithm",
        lambda value: _searched(SPACES["double"], algorithm={"algorithmName": value, "seed": 3}),
        _points,
        {"random": "[3.0, 1.0, 2.0]", "grid": "[1.0, 2.0, 3.0]"},
    ),
    "Experiment spec.parameters[].parameterType": Choice(
        "Parameter.type",
        lambda value: _searched(SPACES.get(value, {}), value, algorithm={"algorithmName": "grid"}),
        _points,
        {
            "double": "[1.0, 2.0, 3.0]",
            "int": "[1, 2, 3]",
            "discrete": "[1.0, 2, 3]",
            "categorical": '["01", 2, 3]',
        },
    ),
    "Experiment spec.parameters[].feasibleSpace.distribution": Choice(
        "Parameter.distribution",
        lambda value: _searched({"min": "1", "max": "1000", "distribution": value}),
        _points,
        {
            "uniform": "[340.217, 885.485, 269.219, 570.505]",
            "logUniform": "[10.4392, 453.014, 6.38942, 51.3127]",
        },
    ),
    "Experiment spec.data.format": Choice(
        "Data.format",
        lambda value: _search(data={**experiment_lab.MINIMAL["data"], "format": value}),
        lambda spec: sorted({task["data"]["format"] for task in _tasks(spec)}),
        {"csv": ["csv"]},
    ),
    "Experiment spec.data.task": Choice(
        "Data.task",
        lambda value: _search(data={**experiment_lab.MINIMAL["data"], "task": value}),
        lambda spec: sorted({task["data"]["task"] for task in _tasks(spec)}),
        {"classification": ["classification"], "regression": ["regression"]},
    ),
    "DriftMonitor spec.mode": Choice(
        "MonitorSpec.mode",
        lambda value: _retrain(mode=value),
        _retraining,
        {"observe": [], "act": ["P2"]},
    ),
    "DriftMonitor spec.reference": Choice(
        "MonitorSpec.reference",
        lambda value: _monitor(reference=value),
        _watched(lambda line: str(line.plant.reason[1])),
        {"training": "DriftDetected"},
    ),
    "DriftMonitor spec.features[].importance": Choice(
        "FeatureSpec.importance",
        lambda value: _monitor(features=[{"name": "temperature", "importance": value}]),
        _watched(_input_drift),
        {
            "high": ("P2", ["temperature", "pressure"]),
            "medium": ("P4", ["temperature", "pressure"]),
            "low": ("P4", ["pressure", "temperature"]),
        },
    ),
    "DriftMonitor spec.actions.alert.minPriority": Choice(
        "MonitorSpec.alert_min_priority",
        lambda value: _monitor(actions={"alert": {"minPriority": value}}),
        _watched(_alerted),
        {"P1": [], "P2": ["P2"], "P3": ["P2", "P3"], "P4": ["P2", "P3", "P4"]},
    ),
    "DriftMonitor spec.actions.retrain.minPriority": Choice(
        "RetrainSpec.min_priority",
        lambda value: _retrain(minPriority=value),
        _retraining,
        {"P1": [], "P2": ["P2"], "P3": ["P2", "P3"], "P4": ["P2", "P3", "P4"]},
    ),
}


def refusal(kind: str, spec: Json) -> str:
    """What the operator says of a spec that it cannot use; "" for one that it can."""
    try:
        if kind == "DriftMonitor":
            meta = {"namespace": NAMESPACE, "name": "scrap", "uid": "u", "resourceVersion": "1", "generation": 1}
            return driftmonitor.parse({"metadata": meta, "spec": spec}).problem or ""
        if kind == "Experiment":
            experiment.parse({"spec": spec})
        else:
            modeldeployment.parse(spec)
    except ValueError as error:
        return str(error)
    return ""
