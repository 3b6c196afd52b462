"""What the status of our objects says, as gauges: the numbers behind dashboards and alerts.

Owns the table of these series and the pure function from an object to its samples. Shows nothing that status does not hold, keeps nothing
of an object that is gone, and never lets a label take a value of the data: labels are names of objects, columns, metrics and reasons.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from modelcycle.kube import kinds
from modelcycle.kube.kinds import Kind
from modelcycle.kube.port import Object

PREFIX: Final = "modelcycle_operator"
TOP_FEATURES: Final = 10
"""Features with a series of their own per monitor: those that drifted most."""
PRIORITIES: Final = ("P1", "P2", "P3", "P4")
STAGES: Final = ("None", "Starting", "Steps", "Capacity", "Forwarding")
TRIAL_STATES: Final = ("succeeded", "running", "failed", "metricsUnavailable")


@dataclass(frozen=True, slots=True)
class Family:
    """One gauge: its name without PREFIX, its help text, its labels."""

    name: str
    text: str
    labels: tuple[str, ...]


_DEPLOYMENT: Final = ("namespace", "deployment")
_MONITOR: Final = ("namespace", "monitor", "deployment")
_EXPERIMENT: Final = ("namespace", "experiment")

CONDITION: Final = Family(
    "condition", "1 while the condition is True.", ("kind", "namespace", "name", "type", "reason")
)
STAGE: Final = Family("rollout_stage", "1 for the stage of the rollout that is under way.", (*_DEPLOYMENT, "stage"))
STEP: Final = Family("rollout_step", "Canary steps that are done.", _DEPLOYMENT)
STEPS: Final = Family("rollout_steps", "Canary steps of this rollout.", _DEPLOYMENT)
SHARE: Final = Family(
    "canary_share", "Share of the canary, 0 to 1: desired, applied, realised.", (*_DEPLOYMENT, "which")
)
READY: Final = Family("ready_replicas", "Ready pods by arm and its revision.", (*_DEPLOYMENT, "arm", "revision"))
EVIDENCE: Final = Family(
    "evidence", "Betting score of the evidence: for rollback, for promotion.", (*_DEPLOYMENT, "metric", "decision")
)
THRESHOLD: Final = Family(
    "evidence_threshold", "Score at which the decision is taken.", (*_DEPLOYMENT, "metric", "decision")
)
REQUESTS: Final = Family(
    "analysis_requests", "Requests judged in this rollout, by arm.", (*_DEPLOYMENT, "metric", "arm")
)
EVENTS: Final = Family(
    "analysis_events", "Requests judged to be answered badly, by arm.", (*_DEPLOYMENT, "metric", "arm")
)
NEEDED: Final = Family(
    "analysis_requests_needed", "Canary requests that promotion still takes.", (*_DEPLOYMENT, "metric")
)
LOOKS: Final = Family("analysis_looks", "Looks at the evidence of this rollout.", _DEPLOYMENT)
REJECTED: Final = Family("rejected_revisions", "Revisions that are remembered as rejected.", _DEPLOYMENT)
REJECTION_TIME: Final = Family(
    "last_rejection_timestamp_seconds", "When the latest revision was rejected, and why.", (*_DEPLOYMENT, "reason")
)
PROMOTION_TIME: Final = Family(
    "last_promotion_timestamp_seconds", "When the latest revision was promoted.", _DEPLOYMENT
)
PSI: Final = Family("drift_psi", "PSI of the last window, the ten largest.", (*_MONITOR, "feature"))
ALARMS: Final = Family("drift_alarms", "Open alarms by priority.", (*_MONITOR, "priority"))
WINDOW_REQUESTS: Final = Family("drift_window_requests", "Requests in the last window.", _MONITOR)
WINDOW_COMPLETE: Final = Family(
    "drift_window_complete", "Part of the last window's requests that was counted.", _MONITOR
)
TRIALS: Final = Family("trials", "Trials by state.", (*_EXPERIMENT, "state"))
OBJECTIVE: Final = Family("best_objective", "Value of the best trial.", (*_EXPERIMENT, "metric"))

FAMILIES: Final = (
    *(CONDITION, STAGE, STEP, STEPS, SHARE, READY, EVIDENCE, THRESHOLD, REQUESTS, EVENTS, NEEDED, LOOKS),
    *(REJECTED, REJECTION_TIME, PROMOTION_TIME, PSI, ALARMS, WINDOW_REQUESTS, WINDOW_COMPLETE, TRIALS, OBJECTIVE),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one family; `labels` in the family's order."""

    family: Family
    labels: tuple[str, ...]
    value: float


class ObjectGauges(Collector):
    """The latest samples of every object that exists; rendered when somebody scrapes."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str, str], tuple[Sample, ...]] = {}

    def seen(self, kind: Kind, obj: Object) -> None:
        """The object as it is now."""
        self._samples[_place(kind, obj)] = tuple(samples(kind, obj))

    def gone(self, kind: Kind, obj: Object) -> None:
        """The object was deleted: its series end."""
        self._samples.pop(_place(kind, obj), None)

    def listed(self, kind: Kind, objects: Sequence[Object]) -> None:
        """All objects of a kind: what is not among them is gone, whether its deletion was seen or not."""
        for place in [place for place in self._samples if place[0] == kind.kind]:
            del self._samples[place]
        for obj in objects:
            self.seen(kind, obj)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every family, also those without a sample."""
        made = {f: GaugeMetricFamily(f"{PREFIX}_{f.name}", f.text, labels=f.labels) for f in FAMILIES}
        for of_one in self._samples.values():
            for sample in of_one:
                made[sample.family].add_metric(sample.labels, sample.value)
        yield from made.values()


def samples(kind: Kind, obj: Object) -> Iterator[Sample]:
    """What an object of one of our kinds shows. Reads status that an older or newer operator wrote: what is missing is left out."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    place = (metadata["namespace"], metadata["name"])
    for condition in status.get("conditions", ()):
        labels = (kind.kind, *place, str(condition.get("type")), str(condition.get("reason")))
        yield Sample(CONDITION, labels, float(condition.get("status") == "True"))
    if kind == kinds.MODEL_DEPLOYMENT:
        yield from _of_deployment(place, status)
    elif kind == kinds.DRIFT_MONITOR:
        target = str(obj.get("spec", {}).get("targetRef", {}).get("name", ""))
        yield from _of_monitor((*place, target), status)
    elif kind == kinds.EXPERIMENT:
        yield from _of_experiment(place, status)


def _of_deployment(place: tuple[str, ...], status: Mapping[str, Any]) -> Iterator[Sample]:
    canary = status.get("canary") or {}
    stage = str(canary.get("stage", "Starting" if canary else "None"))
    for known in STAGES:
        yield Sample(STAGE, (*place, known), float(known == stage))
    weight = canary.get("weight") or {}
    for which in ("desired", "applied", "realised"):
        # Without a canary the share is known to be 0; with one, what is not known is left out.
        yield from _some(SHARE, (*place, which), weight.get(which) if canary else 0, 0.01)
    yield from _some(STEP, place, canary.get("step", 0))
    yield from _some(STEPS, place, canary.get("stepCount", 0))
    for arm, revision in (("stable", status.get("stable") or {}), ("canary", canary)):
        yield from _some(READY, (*place, arm, str(revision.get("revision", ""))), revision.get("readyReplicas", 0))
    yield from _of_analysis(place, status.get("analysis") or {})
    rejected, history = status.get("rejected") or (), status.get("history") or ()
    yield Sample(REJECTED, place, float(len(rejected)))
    if rejected:
        latest = max(rejected, key=lambda item: str(item.get("at", "")))
        yield from _some(REJECTION_TIME, (*place, str(latest.get("reason", ""))), _moment(latest.get("at")))
    if history:
        yield from _some(PROMOTION_TIME, place, _moment(history[-1].get("at")))


def _of_analysis(place: tuple[str, ...], analysis: Mapping[str, Any]) -> Iterator[Sample]:
    yield from _some(LOOKS, place, analysis.get("looks"))
    for judged in analysis.get("metrics") or ():
        at = (*place, str(judged.get("name")))
        evidence = judged.get("evidence") or {}
        for decision in ("rollback", "promote"):
            yield from _some(EVIDENCE, (*at, decision), evidence.get(decision))
            yield from _some(THRESHOLD, (*at, decision), evidence.get(f"{decision}At"))
        for arm in ("stable", "canary"):
            counted = judged.get(arm) or {}
            yield from _some(REQUESTS, (*at, arm), counted.get("n"))
            yield from _some(EVENTS, (*at, arm), counted.get("events"))
        yield from _some(NEEDED, at, judged.get("needed"))


def _of_monitor(place: tuple[str, ...], status: Mapping[str, Any]) -> Iterator[Sample]:
    open_alarms = [str(alarm.get("priority")) for alarm in status.get("alarms") or ()]
    for priority in PRIORITIES:
        yield Sample(ALARMS, (*place, priority), float(open_alarms.count(priority)))
    window = status.get("lastWindow") or {}
    yield from _some(WINDOW_REQUESTS, place, window.get("requests"))
    yield from _some(WINDOW_COMPLETE, place, window.get("complete"))
    found = [(_number(f.get("psi")), str(f.get("name"))) for f in window.get("features") or ()]
    drifted = sorted(((-psi, name) for psi, name in found if psi is not None))[:TOP_FEATURES]
    for negated, name in drifted:
        yield Sample(PSI, (*place, name), -negated)


def _of_experiment(place: tuple[str, ...], status: Mapping[str, Any]) -> Iterator[Sample]:
    trials = status.get("trials") or {}
    for state in TRIAL_STATES:
        yield from _some(TRIALS, (*place, state), trials.get(state, 0))
    metrics = ((status.get("currentOptimalTrial") or {}).get("observation") or {}).get("metrics") or ()
    # The objective is the first of the metrics.
    for metric in metrics[:1]:
        yield from _some(OBJECTIVE, (*place, str(metric.get("name"))), metric.get("value"))


def _some(family: Family, labels: tuple[str, ...], raw: object, scale: float = 1.0) -> Iterable[Sample]:
    value = _number(raw)
    return () if value is None else (Sample(family, labels, value * scale),)


def _number(raw: object) -> float | None:
    """Status carries fractions as text; a dash or a word stands for a number that is not known."""
    try:
        value = float(raw) if isinstance(raw, int | float | str) else math.nan
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _moment(raw: object) -> float | None:
    try:
        return datetime.fromisoformat(str(raw).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def _place(kind: Kind, obj: Object) -> tuple[str, str, str]:
    return kind.kind, obj["metadata"]["namespace"], obj["metadata"]["name"]
