"""`kubectl modelcycle explain`: why an object is what it is, from its own status, and what would make it go on.

Owns the words; nothing is decided here. The figures of a rollout are those of `evidence`.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from modelcycle.api.fields import SpecError, part
from modelcycle.api.rollout import Analysis, Pause, SetWeight, Shadow, Step, parse_strategy, percent
from modelcycle.cli import advice, evidence, views
from modelcycle.cli.views import Object, columns, items, short, text
from modelcycle.deployment.evidence_entries import Found


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its lines."""

    heading: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is said about one object."""

    title: str
    sections: tuple[Section, ...]

    def as_text(self) -> str:
        """For a terminal."""
        blocks = [self.title, *("\n".join([s.heading, *(f"  {line}" for line in s.lines)]) for s in self.sections)]
        return "\n\n".join(blocks)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def explain(obj: Object, operator: str = "", kept: Found | None = None) -> Explanation:
    """Explain an object of any of the three kinds.

    `operator`: that it does not answer, or "". `kept`: the evidence of a rollout, where it was read; by default what status has of it.
    """
    state = views.common(obj)
    answered = "answered" if state.is_observed else "NOT answered by the operator yet"
    generation = obj["metadata"].get("generation", "?")
    title = f"{state.kind} {state.namespace}/{state.name}, generation {generation}, {answered}"
    about: Mapping[str, Callable[[Object], list[Section]]] = {
        "ModelDeployment": partial(_deployment, kept),
        "Experiment": _experiment,
        "DriftMonitor": _monitor,
    }
    silent = Section("The operator does not answer", (operator,) if operator else ())
    sections = [
        silent,
        _conditions(state),
        *about[state.kind](obj),
        Section("What would make it go on", advice.steps(obj)),
    ]
    return Explanation(title, tuple(section for section in sections if section.lines))


def _conditions(state: views.Common) -> Section:
    """Conditions that say the same in one line."""
    said: dict[tuple[str, str, str], list[str]] = {}
    for one in state.conditions:
        said.setdefault((one.reason, one.message, one.since), []).append(f"{one.type}={one.status}")
    lines = (f"{', '.join(types)}: {reason} since {since}: {words}" for (reason, words, since), types in said.items())
    return Section("Conditions", tuple(lines))


def _deployment(found: Found | None, obj: Object) -> list[Section]:
    status = part(obj, "status")
    kept = found or evidence.found(obj, None)
    return [
        Section("Revisions", tuple(_revisions(obj))),
        *(
            Section(f"Evidence on {metric.name}: {metric.verdict}", evidence.lines(obj, metric, kept))
            for metric in views.metrics(obj)
        ),
        Section(
            "Last looks, each judged alone from its own counts, beside the running scores", evidence.looks(obj, kept)
        ),
        Section("Rejected", tuple(_rejection(r) for r in items(status, "rejected"))),
        Section("Commands", tuple(_commands(obj))),
    ]


def _revisions(obj: Object) -> list[str]:
    status = part(obj, "status")
    lines = [f"{role}: {_revision(part(status, role))}" for role in ("stable", "retiring") if role in status]
    canary = part(status, "canary")
    if canary:
        lines.append(f"canary: {_revision(canary)}, since {text(canary, 'startedAt') or '?'}{_progress(obj, canary)}")
        weight = part(canary, "weight")
        if weight:
            shares = (f"{name} {text(weight, name) or '-'}" for name in ("desired", "applied", "realised"))
            lines.append(f"share of the canary in percent: {', '.join(shares)}")
    return lines


def _revision(raw: Object) -> str:
    ready = text(raw, "readyReplicas") or "0"
    return f"{short(raw.get('digest'))} (revision {text(raw, 'number') or '?'}), Ready pods: {ready}"


def _progress(obj: Object, canary: Object) -> str:
    stage = text(canary, "stage")
    try:
        steps = parse_strategy(part(part(part(obj, "spec"), "strategy"), "canary")).steps
    except SpecError:
        steps = ()
    if stage != "Steps" or not steps:
        return f", stage {stage}" if stage else ""
    at = views.whole(canary.get("step"))
    words = [f">{_step(step)}<" if number == at else _step(step) for number, step in enumerate(steps)]
    return f", step {at + 1} of {len(steps)}: {' | '.join(words)}"


def _step(step: Step) -> str:
    match step:
        case SetWeight(share):
            return f"setWeight {percent(share)}"
        case Pause(None):
            return "pause until Promote"
        case Pause(duration):
            return f"pause {duration}"
        case Analysis():
            return "analysis"
        case Shadow(share, duration):
            return f"shadow {percent(share)} for {duration}"


def _rejection(raw: Object) -> str:
    number = text(raw, "number") or "?"
    return f"{short(raw.get('digest'))} (revision {number}) at {text(raw, 'at')}: {text(raw, 'reason')}: {text(raw, 'message')}"


def _commands(obj: Object) -> list[str]:
    waiting = [f"waiting: {_command(e)}" for e in views.pending(obj)]
    done = [f"{e.result or 'done'} at {e.at}: {_command(e)}: {e.message}" for e in views.executed(obj)[-8:]]
    return [*waiting, *done]


def _command(entry: views.Entry) -> str:
    why = f" ({entry.reason})" if entry.reason else ""
    return f"{entry.verb} of {short(entry.digest)} by {entry.by}{why}"


def _experiment(obj: Object) -> list[Section]:
    status = part(obj, "status")
    counts = part(status, "trials")
    best = part(status, "currentOptimalTrial")
    found = [f"{text(m, 'name')}={text(m, 'value')}" for m in items(part(best, "observation"), "metrics")]
    chosen = [f"{text(a, 'name')}={text(a, 'value')}" for a in items(best, "parameterAssignments")]
    rows = [
        (f"{text(t, 'index')}.{text(t, 'attempt')}", text(t, "state"), text(t, "objective"), _because(t))
        for t in items(status, "recentTrials")
    ]
    data, model = part(status, "data"), part(status, "model")
    return [
        Section("Trials", (", ".join(f"{counts[name]} {name}" for name in counts),) if counts else ()),
        Section(
            "Failures", tuple(f"{text(f, 'count')} of class {text(f, 'class')}" for f in items(status, "failures"))
        ),
        Section(f"Best: trial {text(best, 'index')}", (", ".join(found), ", ".join(chosen)) if best else ()),
        Section("Last attempts (trial.attempt)", columns(rows)),
        Section("Data", (f"{short(data.get('digest'))}, {text(data, 'rows')} rows",) if data else ()),
        Section("Model", (f"{text(model, 'digest')} in {text(model, 'uri')}",) if model else ()),
    ]


def _because(trial: Object) -> str:
    return ": ".join(words for words in (text(trial, "reason"), text(trial, "message")) if words)


def _monitor(obj: Object) -> list[Section]:
    status = part(obj, "status")
    window, judged, advised = part(status, "lastWindow"), part(status, "judgement"), part(status, "recommendation")
    volume = f"{text(window, 'requests')} requests, {text(window, 'rows')} rows, complete {text(window, 'complete')}"
    span = f"{text(window, 'start')} to {text(window, 'end')}: {volume}"
    return [
        Section("Alarms", tuple(line for alarm in items(status, "alarms") for line in _alarm(alarm))),
        Section(
            "Recommendation", (f"{text(advised, 'action')} for {short(advised.get('digest'))}",) if advised else ()
        ),
        Section("Last comparison with the reference", _judgement(judged)),
        Section("Last window", (span,) if window else ()),
        Section("Features of the last window, rows per bin of the reference", _bins(window)),
    ]


def _alarm(raw: Object) -> tuple[str, ...]:
    owner = f", ask {text(raw, 'owner')}" if raw.get("owner") else ""
    head = f"{text(raw, 'priority')} {text(raw, 'cause')} since {text(raw, 'since')}{owner}: {text(raw, 'message')}"
    return (head, f"  did: {text(raw, 'did')}") if raw.get("did") else (head,)


def _judgement(judged: Object) -> tuple[str, ...]:
    """What was compared and what moved most."""
    if not judged:
        return ()
    head = (
        f"{text(judged, 'rows')} rows ({text(judged, 'rowsNeeded')} needed) of {text(judged, 'start')} to {text(judged, 'end')},"
        f" {text(judged, 'tests')} comparisons that share a budget of false alarms of {text(judged, 'falseDiscoveryRate')} a window"
    )
    rows = [tuple(text(m, name) for name in ("name", "effect", "p", "level", "change")) for m in items(judged, "most")]
    return (head, *(columns([("MOVED MOST", "EFFECT", "P", "LEVEL", "CHANGE"), *rows]) if rows else ()))


def _bins(window: Object) -> tuple[str, ...]:
    rows = [
        (
            text(f, "name"),
            _blocks(text(f, "bins")),
            *(text(f, n) or "0" for n in ("below", "above", "missing")),
            text(f, "psi") or "-",
        )
        for f in items(window, "features")
    ]
    return columns([("FEATURE", "BINS", "BELOW", "ABOVE", "MISSING", "PSI"), *rows]) if rows else ()


def _blocks(bins: str) -> str:
    """Counts `3,9,1` as `▃█▁`: each against the fullest."""
    counts = [int(count) for count in bins.split(",") if count.strip().isdigit()]
    top = max(counts, default=0)
    return "".join("▁▂▃▄▅▆▇█"[min(count * 8 // top, 7)] if count else " " for count in counts) if top else "-"
