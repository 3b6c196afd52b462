"""The history of judgements as plain JSON values, and back. Owns the stored form; equal histories give equal values.

Counts are packed by the ledger, which keeps lists of series once. Raises ValueError, KeyError or TypeError for what it did not write.
"""

from collections.abc import Callable, Mapping
from typing import Any

from modelcycle.drift.history import Episode, History, Judgement, Pending, Row
from modelcycle.drift.judge import Level, Test
from modelcycle.drift.rows import Cause
from modelcycle.metrics.port import Counts


def plain(history: History, pack: Callable[[Counts], Any]) -> dict[str, Any]:
    """`history` as JSON values."""
    pending, made, short = history.pending, history.judgement, history.short
    return {
        "target": history.target,
        "profile": history.profile,
        "until": history.until,
        "needed": history.needed,
        "shiftsJudged": history.shifts_judged,
        "pending": None if pending is None else [pending.start, pack(pending.counts)],
        "rows": [[r.cause, r.name, r.levels, r.standing, r.quiet, r.effect, r.text] for r in history.rows],
        "episodes": [[e.cause, e.start, e.end, e.digest] for e in history.episodes],
        "judgement": None if made is None else _plain_judgement(made),
        "short": None if short is None else list(short),
    }


def history(raw: Mapping[str, Any], unpack: Callable[[Any], Counts]) -> History:
    """The history that `plain` wrote."""
    pending, made, short = raw["pending"], raw["judgement"], raw["short"]
    return History(
        target=str(raw["target"]),
        profile=str(raw["profile"]),
        until=float(raw["until"]),
        needed=int(raw["needed"]),
        shifts_judged=bool(raw["shiftsJudged"]),
        pending=None if pending is None else Pending(float(pending[0]), unpack(pending[1])),
        rows=tuple(_row(item) for item in raw["rows"]),
        episodes=tuple(Episode(Cause(c), float(start), float(end), str(d)) for c, start, end, d in raw["episodes"]),
        judgement=None if made is None else _judgement(made),
        short=None if short is None else (int(short[0]), float(short[1])),
    )


def _row(item: Any) -> Row:
    cause, name, levels, standing, quiet, effect, text = item
    past = tuple(Level(level) for level in levels)
    return Row(Cause(cause), str(name), past, Level(standing), int(quiet), float(effect), str(text))


def _plain_judgement(made: Judgement) -> dict[str, Any]:
    return {
        "start": made.start,
        "end": made.end,
        "rows": made.rows,
        "tested": made.tested,
        "q": made.q,
        "shifts": made.shifts,
        "tests": [[t.cause, t.name, t.p, t.effect, t.level, t.quiet, t.text] for t in made.tests],
    }


def _judgement(raw: Mapping[str, Any]) -> Judgement:
    return Judgement(
        start=float(raw["start"]),
        end=float(raw["end"]),
        rows=int(raw["rows"]),
        tested=int(raw["tested"]),
        q=float(raw["q"]),
        tests=tuple(_test(item) for item in raw["tests"]),
        shifts=bool(raw.get("shifts")),
    )


def _test(item: Any) -> Test:
    cause, name, p, effect, level, quiet, text = item
    return Test(Cause(cause), str(name), float(p), float(effect), Level(level), bool(quiet), str(text))
