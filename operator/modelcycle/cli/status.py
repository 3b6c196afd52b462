"""`kubectl modelcycle status`: the three kinds of a namespace in one view. Owns tables and bars; reads nothing, decides nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from modelcycle.cli import views
from modelcycle.cli.views import NONE, Common, Deployment, Experiment, Metric, Monitor, Object, Score

WIDE = 132
"""Columns of a terminal from which on the evidence stands in the table; below, it gets lines of its own."""
_BAR = 10


@dataclass(frozen=True, slots=True)
class Overview:
    """What a namespace holds."""

    namespace: str
    deployments: tuple[Deployment, ...] = ()
    experiments: tuple[Experiment, ...] = ()
    monitors: tuple[Monitor, ...] = ()
    operator: str = ""
    """Why nothing moves, when the operator does not answer."""


def overview(namespace: str, objects: Sequence[Object], operator: str = "") -> Overview:
    """Sort objects of the three kinds by name."""
    ordered = sorted(objects, key=lambda o: str(o["metadata"]["name"]))
    return Overview(
        namespace,
        tuple(views.deployment(o) for o in ordered if o["kind"] == "ModelDeployment"),
        tuple(views.experiment(o) for o in ordered if o["kind"] == "Experiment"),
        tuple(views.monitor(o) for o in ordered if o["kind"] == "DriftMonitor"),
        operator,
    )


def render(seen: Overview, width: int) -> RenderableType:
    """Tables with the messages below; `width` in columns of the terminal."""
    blocks: list[tuple[RenderableType, ...]] = [
        (_deployments(seen.deployments, width), *_rollouts(seen.deployments, width)) if seen.deployments else (),
        (_experiments(seen.experiments), *_messages(e.common for e in seen.experiments)) if seen.experiments else (),
        (_monitors(seen.monitors), *_messages(m.common for m in seen.monitors)) if seen.monitors else (),
    ]
    said = [(Text(seen.operator, style="red"),)] if seen.operator else []
    parts: list[RenderableType] = [part for block in (*said, *blocks) if block for part in (*block, Text())][:-1]
    return Group(*parts) if parts else Text(f"nothing of modelcycle in namespace {seen.namespace} (-n names another)")


def bar(score: Score, width: int) -> str:
    """How far a score is on its way to its bar."""
    filled = round(score.progress * width)
    return "█" * filled + "░" * (width - filled)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _deployments(deployments: Sequence[Deployment], width: int) -> Table:
    evidence = ("HARM (E)", "NO HARM (P)") if width >= WIDE else ()
    table = _table("MODELDEPLOYMENT", "STATUS", "STABLE", "CANARY", "WEIGHT", *evidence, "NEEDED", "ETA")
    for one in deployments:
        metric = one.metrics[0] if one.metrics else None
        weight = one.weight if one.weight == NONE else f"{one.weight} %"
        scores = (_harm(metric), _no_harm(metric)) if evidence else ()
        needed = (metric.still, metric.eta) if metric else (NONE, NONE)
        table.add_row(one.common.name, _state(one.common), one.stable, one.canary, weight, *scores, *needed)
    return table


def _rollouts(deployments: Sequence[Deployment], width: int) -> list[Text]:
    """What does not fit into the table, below it."""
    lines = []
    for one in deployments:
        if width < WIDE:
            lines += [
                Text.assemble(f"  {one.common.name}: harm (E) ", _harm(m), ", no harm (P) ", _no_harm(m))
                for m in one.metrics
            ]
        lines += [*_messages([one.common]), *([_pending(one)] if one.pending else [])]
    return lines


def _harm(metric: Metric | None) -> Text:
    return _score(metric.rollback, "red") if metric else Text(NONE)


def _no_harm(metric: Metric | None) -> Text:
    return _score(metric.promote, "green") if metric else Text(NONE)


def _score(score: Score, style: str) -> Text:
    return Text.assemble((bar(score, _BAR), style), " ", score.text)


def _experiments(experiments: Sequence[Experiment]) -> Table:
    table = _table("EXPERIMENT", "STATUS", "TRIALS", "BEST", "MODEL")
    for one in experiments:
        table.add_row(one.common.name, _state(one.common), one.trials, one.best, one.model)
    return table


def _monitors(monitors: Sequence[Monitor]) -> Table:
    table = _table("DRIFTMONITOR", "STATUS", "PRIORITY", "TOP FEATURE", "REQUESTS", "WINDOW")
    for one in monitors:
        table.add_row(one.common.name, _state(one.common), one.priority, one.top_feature, one.requests, one.window)
    return table


def _state(state: Common) -> Text:
    stalled = any(c.type == "Stalled" and c.status == "True" for c in state.conditions)
    style = "red" if stalled else "green" if state.ready == "True" and state.is_observed else "yellow"
    return Text(state.reason if state.is_observed else f"{state.reason}?", style=style)


def _messages(states: Iterable[Common]) -> list[Text]:
    return [Text(f"  {state.name}: {state.message}", style="dim") for state in states if state.message]


def _pending(one: Deployment) -> Text:
    asked = ", ".join(f"{entry.verb} of {views.short(entry.digest)} by {entry.by}" for entry in one.pending)
    return Text(f"  {one.common.name}: asked and not done yet: {asked}", style="dim")
