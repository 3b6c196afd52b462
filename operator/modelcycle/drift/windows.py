"""Exact tumbling windows over counter runs, as a pure fold: (ledger, wish, samples) -> ledger.

Owns the rules of exactness. Each count of a run that was seen from its beginning lands in exactly one window, whatever restarts, births and
deaths lie between; what could not be seen lowers `complete` and is never made up. The ledger changes only when something must survive a
restart of the operator: a window ends, a run ends, a run is met late, a run is found broken.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from modelcycle.drift import consistency
from modelcycle.metrics.port import Counts, RunId, RunSample, Samples, Series
from modelcycle.metrics.runs import ran_backwards

KEPT_WINDOWS: Final = 14


@dataclass(frozen=True, slots=True)
class Run:
    """What must survive of one run of a pod's counters in the open window. Times are Unix seconds of the operator."""

    id: RunId
    base: Counts
    """Counts that lie before the window."""
    since: float
    """From here on the window sees this run."""
    seen: Counts | None = None
    """Last counts of a run that has ended; None while it lives or when they equal `base`."""
    seen_at: float | None = None
    gone_at: float | None = None
    broken: bool = False
    """A counter ran backwards: the run is left out of the window."""


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """The window that is being counted. Runs that began inside it and still live are not listed: their base is zero."""

    target: str
    start: float
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """A closed window. `start` and `end` are the readings that bound it."""

    start: float
    end: float
    counts: Counts
    thousandths: int
    """Share of the pods' lifetime that was seen, 0..1000."""
    left_out: int = 0
    """Runs left out because a counter ran backwards."""
    mismatches: tuple[str, ...] = ()
    """Sums that contradict each other."""

    @property
    def empty(self) -> bool:
        """Nothing was counted."""
        return not any(self.counts.values())

    @property
    def inconsistent(self) -> bool:
        """Some counts were left out or contradict each other."""
        return bool(self.left_out or self.mismatches)


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that survives a restart: the open window's baselines, the last windows, and totals of all closed windows."""

    open: OpenWindow | None = None
    windows: tuple[Window, ...] = ()
    totals: Counts = field(default_factory=dict)
    """Requests and rows of all closed windows."""
    floor: float = 0.0
    """End of the last closed window: nothing before it is ever counted again."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the spec asks for; `length` in seconds."""

    target: str
    length: float
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class _View:
    """One run as the open window sees it now."""

    id: RunId
    base: Counts
    since: float
    seen: Counts
    seen_at: float
    gone_at: float | None
    broken: bool
    born_inside: bool
    """Its base is zero by its epoch alone, so that nothing of it needs to be kept while it lives."""


def due(start: float, length: float) -> float:
    """When the window that began at `start` ends: a multiple of `length`, so that windows fall on full hours.

    It is half a length to one and a half lengths away.
    """
    return math.ceil((start + length / 2) / length) * length


def advance(ledger: Ledger, wish: Wish, samples: Samples | None) -> Ledger:
    """The ledger after `samples`. Equal to `ledger` when nothing has to be kept."""
    if samples is None:
        return ledger
    opened = ledger.open
    if opened and opened.target == samples.deployment and (wish.suspended or opened.target != wish.target):
        return replace(_close(ledger, opened, samples), open=None)
    if wish.suspended or samples.deployment != wish.target or (opened and opened.target != wish.target):
        return ledger
    opened = opened or _begin(ledger, samples)
    if opened is None or samples.taken_at.timestamp() < opened.start:
        return ledger
    if samples.taken_at.timestamp() >= due(opened.start, wish.length) and _worth_closing(ledger, opened, samples):
        return _close(ledger, opened, samples)
    return replace(ledger, open=replace(opened, runs=_kept(_views(opened, samples))))


def _begin(ledger: Ledger, samples: Samples) -> OpenWindow | None:
    """A window begins with the watch, or with the first pod when there was none; without a pod there is none."""
    earliest = max(samples.since.timestamp(), ledger.floor)
    living = [run for run, sample in samples.runs.items() if not _ended_by(sample, earliest)]
    if not living:
        return None
    start = max(earliest, min(run.epoch for run in living))
    return OpenWindow(samples.deployment, min(start, samples.taken_at.timestamp()))


def _ended_by(sample: RunSample, moment: float) -> bool:
    return sample.gone_at is not None and sample.gone_at.timestamp() <= moment


def _views(opened: OpenWindow, samples: Samples) -> list[_View]:
    kept = {run.id: run for run in opened.runs}
    views = [_known_view(run, samples) for run in opened.runs]
    views.extend(
        _new_view(sample, opened.start)
        for sample in samples.runs.values()
        if sample.run not in kept and not _ended_by(sample, opened.start)
    )
    return sorted(views, key=lambda view: view.id)


def _known_view(run: Run, samples: Samples) -> _View:
    last = run.seen if run.seen is not None else run.base
    sample = samples.runs.get(run.id)
    if sample is None:
        gone_at = run.gone_at
        if gone_at is None and _replaced(run.id, samples):
            gone_at = samples.taken_at.timestamp()
        seen_at = run.seen_at if run.seen_at is not None else run.since
        return _View(run.id, run.base, run.since, last, seen_at, gone_at, run.broken, False)
    ended = sample.gone_at.timestamp() if sample.gone_at else None
    if ended is not None and run.gone_at is not None:
        ended = run.gone_at
    stepped_back = sample.backwards_at is not None and sample.backwards_at.timestamp() > run.since
    broken = run.broken or stepped_back or ran_backwards(last, sample.counts)
    seen = {**last, **sample.counts}
    return _View(run.id, run.base, run.since, seen, sample.seen_at.timestamp(), ended, broken, False)


def _replaced(run: RunId, samples: Samples) -> bool:
    """Whether a run that this watch never saw has ended: its pod is gone, or counts anew."""
    return run.pod_uid not in samples.listed or any(other.pod_uid == run.pod_uid for other in samples.runs)


def _new_view(sample: RunSample, start: float) -> _View:
    seen_at = sample.seen_at.timestamp()
    gone_at = sample.gone_at.timestamp() if sample.gone_at else None
    if sample.run.epoch >= start:
        since = min(sample.run.epoch, seen_at)
        return _View(
            sample.run, {}, since, sample.counts, seen_at, gone_at, sample.backwards_at is not None, born_inside=True
        )
    # Met late: what it counted before its first reading may belong to an earlier window, so it is not counted at all.
    return _View(sample.run, sample.counts, seen_at, sample.counts, seen_at, gone_at, False, born_inside=False)


def _kept(views: list[_View]) -> tuple[Run, ...]:
    kept = []
    for view in views:
        if view.born_inside and view.gone_at is None and not view.broken:
            continue
        ended = view.gone_at is not None
        moved = ended and view.seen != view.base
        kept.append(
            Run(
                view.id,
                view.base,
                view.since,
                seen=view.seen if moved else None,
                seen_at=view.seen_at if ended else None,
                gone_at=view.gone_at,
                broken=view.broken,
            )
        )
    return tuple(kept)


def _worth_closing(ledger: Ledger, opened: OpenWindow, samples: Samples) -> bool:
    """At rest nothing is written: an empty window after an empty one stays open until something is counted."""
    if not ledger.windows or not ledger.windows[-1].empty or ledger.windows[-1].inconsistent:
        return True
    return any(view.broken or (view.gone_at or 0.0) > opened.start or _moved(view) for view in _views(opened, samples))


def _moved(view: _View) -> bool:
    return any(value != view.base.get(series, 0) for series, value in view.seen.items())


def _close(ledger: Ledger, opened: OpenWindow, samples: Samples) -> Ledger:
    views = _views(opened, samples)
    end = samples.taken_at.timestamp()
    counts = add(*(_delta(view) for view in views if not view.broken))
    window = Window(
        start=opened.start,
        end=end,
        counts=counts,
        thousandths=_thousandths(views, opened.start, end),
        left_out=sum(view.broken for view in views),
        mismatches=consistency.mismatches(counts),
    )
    return Ledger(
        open=OpenWindow(opened.target, end, _next_bases(views, opened.start, end)),
        windows=(*ledger.windows, window)[-KEPT_WINDOWS:],
        totals=add(ledger.totals, _volume(counts)),
        floor=end,
    )


def _delta(view: _View) -> Counts:
    return {series: value - view.base.get(series, 0) for series, value in view.seen.items()}


def _volume(counts: Counts) -> Counts:
    """Requests and rows: what is also kept as a total over all windows."""
    kept = {*consistency.requests(counts), consistency.ROWS}
    return {series: value for series, value in counts.items() if series in kept}


def _next_bases(views: list[_View], start: float, end: float) -> tuple[Run, ...]:
    """Living runs go on from what was seen. Runs that ended in this window are kept for one more, in case their pod only seemed gone."""
    return tuple(
        Run(view.id, view.seen, end, gone_at=view.gone_at, seen_at=None if view.gone_at is None else view.seen_at)
        for view in views
        if view.gone_at is None or view.gone_at > start
    )


def _thousandths(views: list[_View], start: float, end: float) -> int:
    lived = seen = 0.0
    for view in views:
        until = min(view.gone_at, end) if view.gone_at is not None else end
        began = min(max(start, view.id.epoch), until)
        lived += max(0.0, until - max(start, began))
        if not view.broken:
            seen += max(0.0, min(view.seen_at, until) - max(view.since, began, start))
    if seen >= lived:
        return 1000
    return min(999, int(1000 * seen / lived))


def add(*parts: Mapping[Series, int]) -> dict[Series, int]:
    """Sum per series."""
    total: dict[Series, int] = {}
    for part in parts:
        for series, value in part.items():
            total[series] = total.get(series, 0) + value
    return total
