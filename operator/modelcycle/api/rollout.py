"""The parts of a ModelDeployment's spec that steer a rollout, as frozen data: steps, analysis, approval, people's requests.

Owns their names and defaults (the CRD's, repeated for objects stored before a default existed). Does no I/O; decides nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from modelcycle.api.fields import SpecError, choice, decimal, duration, mapping, shown, text
from modelcycle_bundle.traffic import SHARE_DENOMINATOR

DEFAULT_INTERVAL: Final = timedelta(seconds=2)
DEFAULT_MAX_DURATION: Final = timedelta(hours=2)
DEFAULT_VALID_FOR: Final = timedelta(hours=168)
_WEIGHT: Final = re.compile(r"^(100(?:\.0{1,2})?|[0-9]{1,2}(?:\.[0-9]{1,2})?)%?$")


class Source(StrEnum):
    """Where counts come from."""

    PODS = "Pods"
    """Each pod's own /metrics."""
    PROMETHEUS = "Prometheus"
    """The Prometheus of the operator's settings."""


class Metric(StrEnum):
    """What the arms are compared by."""

    ERRORS = "errors"
    """Failed and late answers."""


class OnInconclusive(StrEnum):
    """What follows when the time for evidence has run out."""

    PAUSE = "Pause"
    """Keep the share and wait for a person."""
    PROMOTE = "Promote"
    """Promote without evidence."""
    ROLLBACK = "Rollback"
    """Take the canary back."""


class Approval(StrEnum):
    """Who has to agree before a canary gets a request."""

    NONE = "None"
    """Nobody."""
    REQUEST = "Request"
    """A holder of the verb `approve`, by an entry in `spec.requests`."""
    GIT = "Git"
    """Whoever reviews the commit: `spec.model` has to pin the digest."""


class Verb(StrEnum):
    """What people can ask for in `spec.requests`."""

    PROMOTE = "Promote"
    """End the current step; the evidence for the last promotion is still waited for."""
    PROMOTE_FULL = "PromoteFull"
    """End all steps and promote without waiting for evidence."""
    ABORT = "Abort"
    """Take the canary back and remember its digest as rejected."""
    RETRY = "Retry"
    """Forget that a digest was rejected and try it anew, from zero evidence."""
    UNDO = "Undo"
    """Go back to the revision that served before."""
    APPROVE = "Approve"
    """Agree that a digest gets requests."""


@dataclass(frozen=True, slots=True)
class SetWeight:
    """Give the canary a share, of SHARE_DENOMINATOR."""

    share: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait; `duration` None: for a person."""

    duration: timedelta | None


@dataclass(frozen=True, slots=True)
class Analysis:
    """Wait for the evidence."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """Copy a share, of SHARE_DENOMINATOR, of the requests that stable answers to the canary, for `duration`."""

    share: int
    duration: timedelta


Step = SetWeight | Pause | Analysis | Shadow
_STEPS: Final = ("setWeight", "pause", "analysis", "shadow")
DEFAULT_STEPS: Final[tuple[Step, ...]] = (SetWeight(500), Analysis(), SetWeight(2500), Analysis())


@dataclass(frozen=True, slots=True)
class AnalysisSpec:
    """What counts as evidence. Probabilities in (0, 0.5), `harm_ratio` above 1, `harm_floor` in (0, 0.5]."""

    alpha: float = 0.01
    beta: float = 0.05
    harm_ratio: float = 2.0
    harm_floor: float = 0.01
    interval: timedelta = DEFAULT_INTERVAL
    source: Source = Source.PODS
    on_inconclusive: OnInconclusive = OnInconclusive.PAUSE
    max_duration: timedelta = DEFAULT_MAX_DURATION


DEFAULT_ANALYSIS: Final = AnalysisSpec()


@dataclass(frozen=True, slots=True)
class CanaryStrategy:
    """How a new revision takes over. Without steps: as soon as it is Ready."""

    steps: tuple[Step, ...] = DEFAULT_STEPS
    analysis: AnalysisSpec = DEFAULT_ANALYSIS


DEFAULT_STRATEGY: Final = CanaryStrategy()


@dataclass(frozen=True, slots=True)
class UserRequest:
    """One entry of `spec.requests`. `digest` None: whatever it concerns now."""

    id: str
    verb: Verb
    digest: str | None
    by: str
    reason: str


def parse_strategy(canary: Mapping[str, Any]) -> CanaryStrategy:
    """Read `spec.strategy.canary`. Raises SpecError."""
    path = "spec.strategy.canary"
    steps = canary.get("steps")
    if steps is None:
        return CanaryStrategy(analysis=_analysis(mapping(canary, path, "analysis")))
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        raise SpecError(f"{path}.steps: {shown(steps)} is not a list")
    parsed = tuple(_step(raw, f"{path}.steps[{at}]") for at, raw in enumerate(steps))
    first = next((at for at, step in enumerate(parsed) if isinstance(step, Analysis)), None)
    if first is not None and not any(isinstance(step, SetWeight) and step.share for step in parsed[:first]):
        raise SpecError(f"{path}.steps[{first}].analysis: needs a setWeight above 0 before it")
    return CanaryStrategy(parsed, _analysis(mapping(canary, path, "analysis")))


def parse_approval(approval: Mapping[str, Any]) -> Approval:
    """Read `spec.approval`. Raises SpecError."""
    if approval.get("required") is not True:
        return Approval.NONE
    source = text(approval, "spec.approval", "source") or Approval.REQUEST.value
    if source not in (Approval.REQUEST, Approval.GIT):
        raise SpecError(f"spec.approval.source: {source!r} is unknown, expected one of Request, Git")
    return Approval(source)


def parse_valid_for(approval: Mapping[str, Any]) -> timedelta:
    """Read `spec.approval.validFor`. Raises SpecError."""
    found = duration("spec.approval.validFor", approval.get("validFor"), DEFAULT_VALID_FOR)
    if not found:
        raise SpecError("spec.approval.validFor: no approval would ever count; give a duration such as 168h")
    return found


def parse_requests(raw: object) -> tuple[UserRequest, ...]:
    """Read `spec.requests`. Raises SpecError."""
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise SpecError(f"spec.requests: {shown(raw)} is not a list")
    return tuple(_request(item, f"spec.requests[{at}]") for at, item in enumerate(raw))


def percent(share: int) -> str:
    """A share as status shows it: `5`, `0.5`, `100`."""
    return f"{share * 100 / SHARE_DENOMINATOR:g}"


def _step(raw: object, path: str) -> Step:
    if not isinstance(raw, Mapping) or len(known := [name for name in _STEPS if name in raw]) != 1:
        raise SpecError(f"{path}: a step names exactly one of {', '.join(_STEPS[:-1])} and {_STEPS[-1]}")
    if known == ["setWeight"]:
        return SetWeight(_weight(raw["setWeight"], f"{path}.setWeight"))
    if known == ["analysis"]:
        return Analysis()
    if known == ["shadow"]:
        return _shadow(mapping(raw, path, "shadow"), f"{path}.shadow")
    wait = mapping(raw, path, "pause").get("duration")
    return Pause(None if wait is None else duration(f"{path}.pause.duration", wait, timedelta(0)))


def _shadow(raw: Mapping[str, Any], path: str) -> Shadow:
    share = _weight(raw.get("weight"), f"{path}.weight")
    if not share:
        raise SpecError(f"{path}.weight: nothing would be copied")
    if raw.get("duration") is None:
        raise SpecError(f"{path}.duration: a shadow step says how long it takes")
    return Shadow(share, duration(f"{path}.duration", raw["duration"], timedelta(0)))


def _weight(raw: object, path: str) -> int:
    match = _WEIGHT.match(str(raw)) if isinstance(raw, int | str) and not isinstance(raw, bool) else None
    if match is None:
        raise SpecError(f"{path}: {shown(raw)} is not a percentage from 0 to 100 in steps of 0.01")
    return round(float(match.group(1)) * SHARE_DENOMINATOR / 100)


def _analysis(raw: Mapping[str, Any]) -> AnalysisSpec:
    path = "spec.strategy.canary.analysis"
    metrics = raw.get("metrics", ())
    if not isinstance(metrics, Sequence) or isinstance(metrics, str):
        raise SpecError(f"{path}.metrics: {shown(metrics)} is not a list")
    errors: Mapping[str, Any] = {}
    for at, metric in enumerate(metrics):
        if not isinstance(metric, Mapping):
            raise SpecError(f"{path}.metrics[{at}]: {shown(metric)} is not an object")
        if choice(metric, f"{path}.metrics[{at}]", "name", Metric) is Metric.ERRORS:
            errors = metric
    return AnalysisSpec(
        alpha=decimal(raw, path, "alpha", 0.01, 1e-5, 0.5),
        beta=decimal(raw, path, "beta", 0.05, 1e-5, 0.5),
        harm_ratio=decimal(errors, f"{path}.metrics[errors]", "harmRatio", 2.0, 1.1, 100.0),
        harm_floor=decimal(errors, f"{path}.metrics[errors]", "harmFloor", 0.01, 1e-5, 0.5),
        interval=duration(f"{path}.interval", raw.get("interval"), DEFAULT_INTERVAL),
        source=choice(raw, path, "source", Source, Source.PODS),
        on_inconclusive=choice(raw, path, "onInconclusive", OnInconclusive, OnInconclusive.PAUSE),
        max_duration=duration(f"{path}.maxDuration", raw.get("maxDuration"), DEFAULT_MAX_DURATION),
    )


def _request(raw: object, path: str) -> UserRequest:
    if not isinstance(raw, Mapping):
        raise SpecError(f"{path}: {shown(raw)} is not an object")
    return UserRequest(
        id=text(raw, path, "id") or "",
        verb=choice(raw, path, "verb", Verb),
        digest=text(raw, path, "digest"),
        by=text(raw, path, "by") or "",
        reason=text(raw, path, "reason") or "",
    )
