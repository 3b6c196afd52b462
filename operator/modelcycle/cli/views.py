"""Objects of the three kinds as the plugin shows them: frozen, typed, read from JSON that may come from an older or newer operator.

Owns reading only. What is missing or not understood becomes None or "-", never an error: a plugin must be able to show any object.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelcycle.api.fields import part

NONE: Final = "-"
Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition."""

    type: str
    status: str
    reason: str
    message: str
    since: str


@dataclass(frozen=True, slots=True)
class Arm:
    """Answers of one arm and how many of them were bad."""

    n: int
    events: int

    @property
    def rate(self) -> str:
        """`16 of 7840 (0.20 %)`."""
        share = f" ({self.events / self.n * 100:.2f} %)" if self.n else ""
        return f"{self.events} of {self.n}{share}"


@dataclass(frozen=True, slots=True)
class Score:
    """A betting score and the bar at which it decides; None where it is not known."""

    now: float | None
    bar: float | None

    @property
    def progress(self) -> float:
        """Way to the bar, 0 to 1: bets multiply, so in logarithms. A score of 1 or below has not left the start."""
        if self.now is None or self.bar is None or self.now <= 1 or self.bar <= 1:
            return 0.0
        return min(math.log(self.now) / math.log(self.bar), 1.0)

    @property
    def text(self) -> str:
        """`2.3 of 20`."""
        return NONE if self.now is None or self.bar is None else f"{self.now:.3g} of {self.bar:.4g}"


@dataclass(frozen=True, slots=True)
class Metric:
    """One judged metric. `needed` are canary requests."""

    name: str
    verdict: str
    canary: Arm
    stable: Arm
    rollback: Score
    promote: Score
    needed: int | None
    eta: str

    @property
    def still(self) -> str:
        """`needed` to two digits: it is a forecast."""
        return NONE if self.needed is None else str(int(float(f"{self.needed:.2g}")))


@dataclass(frozen=True, slots=True)
class Entry:
    """One command of a person. `result` "": not executed yet."""

    id: str
    verb: str
    digest: str
    by: str
    reason: str
    at: str = ""
    result: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Common:
    """What all three kinds have."""

    kind: str
    namespace: str
    name: str
    ready: str
    reason: str
    message: str
    is_observed: bool
    """False: status speaks of an older spec, or there is none."""
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A ModelDeployment."""

    common: Common
    stable: str
    canary: str
    weight: str
    metrics: tuple[Metric, ...]
    pending: tuple[Entry, ...]
    """In spec and not executed."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An Experiment."""

    common: Common
    trials: str
    best: str
    model: str


@dataclass(frozen=True, slots=True)
class Monitor:
    """A DriftMonitor."""

    common: Common
    priority: str
    top_feature: str
    requests: str
    window: str


def common(obj: Object) -> Common:
    """Name and state of any of the three kinds."""
    meta, status = obj["metadata"], part(obj, "status")
    conditions = tuple(_condition(c) for c in items(status, "conditions"))
    ready = next((c for c in conditions if c.type == "Ready"), None)
    is_observed = ready is not None and status.get("observedGeneration") == meta.get("generation")
    waiting = "" if is_observed else f"the operator has not answered generation {meta.get('generation', '?')} yet"
    return Common(
        kind=str(obj.get("kind", "")),
        namespace=str(meta.get("namespace", "")),
        name=str(meta["name"]),
        ready=ready.status if ready else "Unknown",
        reason=ready.reason if ready else "Pending",
        message="; ".join(words for words in (waiting, ready.message if ready else "") if words),
        is_observed=is_observed,
        conditions=conditions,
    )


def deployment(obj: Object) -> Deployment:
    """A ModelDeployment as listed."""
    status = part(obj, "status")
    summary = part(status, "summary")
    return Deployment(
        common=common(obj),
        stable=text(summary, "stable") or NONE,
        canary=text(summary, "canary") or NONE,
        weight=text(summary, "weight") or NONE,
        metrics=tuple(_metric(m) for m in items(part(status, "analysis"), "metrics")) if "canary" in status else (),
        pending=pending(obj),
    )


def experiment(obj: Object) -> Experiment:
    """An Experiment as listed."""
    summary = part(part(obj, "status"), "summary")
    trials, best, model = (text(summary, name) or NONE for name in ("trials", "best", "model"))
    return Experiment(common(obj), trials, best, model)


def monitor(obj: Object) -> Monitor:
    """A DriftMonitor as listed."""
    summary = part(part(obj, "status"), "summary")
    names = ("priority", "topFeature", "requests", "window")
    priority, top_feature, requests, window = (text(summary, name) or NONE for name in names)
    return Monitor(common(obj), priority, top_feature, requests, window)


def metrics(obj: Object) -> tuple[Metric, ...]:
    """The evidence of this rollout or of the last one."""
    return tuple(_metric(m) for m in items(part(part(obj, "status"), "analysis"), "metrics"))


def executed(obj: Object) -> tuple[Entry, ...]:
    """Commands with their outcome, as status keeps them."""
    return tuple(_entry(r) for r in items(part(obj, "status"), "requests"))


def pending(obj: Object) -> tuple[Entry, ...]:
    """Commands in spec that have no outcome yet."""
    done = {entry.id for entry in executed(obj)}
    return tuple(_entry(r) for r in items(part(obj, "spec"), "requests") if r.get("id") not in done)


def arm(raw: Object) -> Arm:
    """Counts as status writes them."""
    return Arm(whole(raw.get("n")), whole(raw.get("events")))


def number(raw: object) -> float | None:
    """A decimal string of status, or None."""
    try:
        value = float(str(raw))
    except ValueError:
        return None
    return None if math.isnan(value) else value


def whole(raw: object) -> int:
    """A count of status; 0 when there is none."""
    return raw if isinstance(raw, int) else 0


def short(digest: object) -> str:
    """The first eight hex digits of a digest, as kubectl get shows it."""
    return str(digest).removeprefix("sha256:")[:8] if digest else NONE


def items(obj: Object, name: str) -> Sequence[Object]:
    """The objects of the list at `name`; empty when there is none."""
    found = obj.get(name)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def text(obj: Object, name: str) -> str:
    """The text at `name`; "" when there is none."""
    found = obj.get(name)
    return "" if found is None else str(found)


def columns(rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Rows as lines with aligned columns."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    return tuple("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _condition(raw: Object) -> Condition:
    names = ("type", "status", "reason", "message", "lastTransitionTime")
    return Condition(*(text(raw, name) for name in names))


def _metric(raw: Object) -> Metric:
    evidence = part(raw, "evidence")
    needed = raw.get("needed")
    return Metric(
        name=text(raw, "name"),
        verdict=text(raw, "verdict") or NONE,
        canary=arm(part(raw, "canary")),
        stable=arm(part(raw, "stable")),
        rollback=Score(number(evidence.get("rollback")), number(evidence.get("rollbackAt"))),
        promote=Score(number(evidence.get("promote")), number(evidence.get("promoteAt"))),
        needed=needed if isinstance(needed, int) else None,
        eta=text(raw, "eta") or NONE,
    )


def _entry(raw: Object) -> Entry:
    return Entry(*(text(raw, name) for name in ("id", "verb", "digest", "by", "reason", "at", "result", "message")))
