"""All that a monitor must remember as the text of an owned ConfigMap, and back.

Owns the stored form: compact JSON in which lists of series are kept once and counts are arrays over them. Equal books give equal
text, so that writing again changes nothing. Never repairs what it cannot read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from modelcycle.api.driftmonitor import STATE_VERSION, Monitor
from modelcycle.drift import archive
from modelcycle.drift import retrain_state as retrains
from modelcycle.drift.history import History
from modelcycle.drift.retrain_state import RetrainState
from modelcycle.drift.windows import Ledger, OpenWindow, Run, Window
from modelcycle.kube import kinds, names
from modelcycle.metrics.port import Counts, RunId, Series

DATA_KEY: Final = "ledger.json"
LIMIT: Final = 900_000
"""Characters. A ConfigMap holds 1 MiB with everything around it."""


@dataclass(frozen=True, slots=True)
class Book:
    """What survives a restart: counts, what was judged of them, and how a retrain stands."""

    counts: Ledger = field(default_factory=Ledger)
    history: History = field(default_factory=History)
    retrain: RetrainState = field(default_factory=RetrainState)


class LedgerError(ValueError):
    """The text is not a ledger this code can read; the text of the error says why."""


class LedgerTooLarge(ValueError):
    """The baselines alone are more than a ConfigMap holds; the text names the size."""


def config_map_name(monitor: Monitor) -> str:
    """Name of the ConfigMap that keeps the counts of `monitor`."""
    return names.child_name(monitor.name, monitor.uid, "counts")


def config_map(monitor: Monitor, text: str) -> dict[str, Any]:
    """The ConfigMap with a ledger."""
    return {
        "apiVersion": kinds.CONFIG_MAP.api_version,
        "kind": kinds.CONFIG_MAP.kind,
        "metadata": {
            "name": config_map_name(monitor),
            "namespace": monitor.namespace,
            "labels": names.child_labels("monitor", names.LABEL_MONITOR, monitor.name),
            "ownerReferences": [names.owner_reference(kinds.DRIFT_MONITOR, monitor.name, monitor.uid)],
        },
        "data": {DATA_KEY: text},
    }


def render(book: Book) -> str:
    """The text of `book`; oldest windows are left out where the whole would not fit. Raises LedgerTooLarge."""
    text = _text(book)
    while len(text) > LIMIT:
        if not book.counts.windows:
            raise LedgerTooLarge(f"the counts of the pods need {len(text)} characters; a ConfigMap holds {LIMIT}")
        book = replace(book, counts=replace(book.counts, windows=book.counts.windows[1:]))
        text = _text(book)
    return text


def parse(text: str) -> Book:
    """The book in `text`. Raises LedgerError."""
    try:
        raw = json.loads(text)
        if raw["v"] > STATE_VERSION:
            raise LedgerError(f"written by a newer operator (version {raw['v']})")
        layouts = [[Series(item[0], tuple(item[1:])) for item in layout] for layout in raw["layouts"]]
        counts = Ledger(
            open=_open(raw["open"], layouts) if raw.get("open") else None,
            windows=tuple(_window(item, layouts) for item in raw["windows"]),
            totals=_counts(raw["totals"], layouts),
            floor=float(raw["floor"]),
        )
        # Version 1 counted and judged nothing.
        judged, retrained = raw.get("history"), raw.get("retrain")
        return Book(
            counts,
            archive.history(judged, lambda packed: _counts(packed, layouts)) if judged else History(),
            retrains.from_plain(retrained) if retrained else RetrainState(),
        )
    except LedgerError:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise LedgerError(f"not a ledger: {type(error).__name__}") from error


class _Layouts:
    """Lists of series, each kept once."""

    def __init__(self) -> None:
        self.known: dict[tuple[Series, ...], int] = {}

    def pack(self, counts: Counts) -> list[Any]:
        series = tuple(sorted(counts))
        return [self.known.setdefault(series, len(self.known)), [counts[item] for item in series]]


def _text(book: Book) -> str:
    layouts, ledger = _Layouts(), book.counts
    body = {
        "v": STATE_VERSION,
        "floor": ledger.floor,
        "totals": layouts.pack(ledger.totals),
        "open": _pack_open(ledger.open, layouts) if ledger.open else None,
        "windows": [_pack_window(window, layouts) for window in ledger.windows],
        "history": archive.plain(book.history, layouts.pack),
        "retrain": None if book.retrain == RetrainState() else retrains.to_plain(book.retrain),
    }
    body["layouts"] = [[[s.metric, *s.labels] for s in layout] for layout in layouts.known]
    return json.dumps(body, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _pack_open(opened: OpenWindow, layouts: _Layouts) -> dict[str, Any]:
    return {
        "target": opened.target,
        "start": opened.start,
        "runs": [
            {
                "id": [run.id.pod_uid, run.id.epoch],
                "base": layouts.pack(run.base),
                "since": run.since,
                "seen": None if run.seen is None else layouts.pack(run.seen),
                "seenAt": run.seen_at,
                "goneAt": run.gone_at,
                "broken": run.broken,
            }
            for run in opened.runs
        ],
    }


def _pack_window(window: Window, layouts: _Layouts) -> dict[str, Any]:
    return {
        "start": window.start,
        "end": window.end,
        "counts": layouts.pack(window.counts),
        "thousandths": window.thousandths,
        "leftOut": window.left_out,
        "mismatches": list(window.mismatches),
    }


def _open(raw: Mapping[str, Any], layouts: list[list[Series]]) -> OpenWindow:
    return OpenWindow(str(raw["target"]), float(raw["start"]), tuple(_run(item, layouts) for item in raw["runs"]))


def _run(raw: Mapping[str, Any], layouts: list[list[Series]]) -> Run:
    return Run(
        id=RunId(str(raw["id"][0]), float(raw["id"][1])),
        base=_counts(raw["base"], layouts),
        since=float(raw["since"]),
        seen=None if raw["seen"] is None else _counts(raw["seen"], layouts),
        seen_at=None if raw["seenAt"] is None else float(raw["seenAt"]),
        gone_at=None if raw["goneAt"] is None else float(raw["goneAt"]),
        broken=bool(raw["broken"]),
    )


def _window(raw: Mapping[str, Any], layouts: list[list[Series]]) -> Window:
    return Window(
        start=float(raw["start"]),
        end=float(raw["end"]),
        counts=_counts(raw["counts"], layouts),
        thousandths=int(raw["thousandths"]),
        left_out=int(raw["leftOut"]),
        mismatches=tuple(str(item) for item in raw["mismatches"]),
    )


def _counts(raw: Any, layouts: list[list[Series]]) -> Counts:
    layout, values = raw
    if len(layouts[layout]) != len(values) or not all(type(value) is int and value >= 0 for value in values):
        raise LedgerError("a list of counts does not fit its series")
    return dict(zip(layouts[layout], values, strict=True))
