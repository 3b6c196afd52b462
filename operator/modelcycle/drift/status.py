"""The status of a DriftMonitor as a function of the ledger and one finding. Pure.

Owns the shape of `status`. Holds sums only, never a value of the data; all lists are bounded. What happens inside the open window is not
shown, so that counting alone never writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from modelcycle.api import conditions
from modelcycle.api.driftmonitor import STATE_VERSION, Monitor, MonitorCondition, MonitorReason
from modelcycle.drift import alarms, consistency
from modelcycle.drift.alarms import Alarm
from modelcycle.drift.explain import moment
from modelcycle.drift.history import History, Judgement
from modelcycle.drift.ledger import Book
from modelcycle.drift.retrain import RetrainReason, RetrainStep
from modelcycle.drift.rows import Cause
from modelcycle.drift.windows import Ledger, Window
from modelcycle.drift.world import TargetModel
from modelcycle.metrics.port import Counts

MAX_FEATURES: Final = 100
MAX_NAME: Final = 253
MAX_TESTS: Final = 20
UNDER_WAY: Final = (RetrainReason.LOOKING_AT_DATA, RetrainReason.RETRAINING, RetrainReason.RETRAINED)
_COLUMN: Final = 18
"""Characters of the longest name in a printer column."""
_OUTSIDE: Final = ("missing", "below", "above")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said now."""

    outcome: conditions.Outcome
    reason: MonitorReason
    message: str


def render(
    monitor: Monitor,
    book: Book,
    target: TargetModel | None,
    finding: Finding,
    retrain: RetrainStep | None,
    now: datetime,
) -> dict[str, Any]:
    """The whole status. `retrain`: what was done about the alarms that ask for one; None when nothing was looked at."""
    standing = alarms.standing(monitor, book.history)
    status: dict[str, Any] = {
        "observedGeneration": monitor.generation,
        "stateVersion": STATE_VERSION,
        "conditions": conditions.build(
            monitor.status.get("conditions", []),
            outcome=finding.outcome,
            reason=finding.reason,
            message=finding.message,
            generation=monitor.generation,
            now=now,
            domain=[*_contradiction(book.counts), *_alarm_condition(monitor, standing), *_retrain_condition(retrain)],
        ),
    }
    if book.counts.windows:
        status |= _windows(book, standing)
    if book.history.judgement:
        status["judgement"] = _judgement(book.history, book.history.judgement)
    if standing:
        did = retrain.did if retrain else ""
        status["alarms"] = [alarms.render(each, alarms.did(each, monitor.spec, did)) for each in standing]
        advice = alarms.recommendation(standing[0], target.uid, target.digest) if target else None
        if advice:
            status["recommendation"] = advice
    return status


def _windows(book: Book, standing: Sequence[Alarm]) -> dict[str, Any]:
    last, totals = book.counts.windows[-1], book.counts.totals
    shown = last_window(last, _effects(book.history))
    first = standing[0] if standing else None
    return {
        "lastWindow": shown,
        "summary": {
            "requests": str(shown["requests"]),
            "window": _span(last),
            "features": str(_feature_count(last.counts)),
            "priority": first.priority.value if first else "-",
            "topFeature": _cut(first.features[0], _COLUMN) if first else "-",
        },
        "total": {"requests": consistency.total_requests(totals), "rows": totals.get(consistency.ROWS, 0)},
    }


def _effects(history: History) -> dict[str, float]:
    """PSI of the features as they were judged last."""
    tests = history.judgement.tests if history.judgement else ()
    return {test.name: test.effect for test in tests if test.cause is Cause.INPUT_DRIFT}


def _judgement(history: History, made: Judgement) -> dict[str, Any]:
    return {
        "start": moment(made.start),
        "end": moment(made.end),
        "profile": history.profile[:64],
        "rows": made.rows,
        "rowsNeeded": history.needed,
        "tests": made.tested,
        "falseDiscoveryRate": f"{made.q:.3g}",
        "most": [
            {
                "name": test.name[:MAX_NAME],
                "cause": test.cause.value,
                "effect": f"{test.effect:.4f}",
                "p": f"{test.p:.3g}",
                "level": test.level.name.title(),
                **({"change": test.text} if test.text else {}),
            }
            for test in made.tests[:MAX_TESTS]
        ],
    }


def _alarm_condition(monitor: Monitor, standing: Sequence[Alarm]) -> list[conditions.Condition]:
    """Only while something stands that is worth an alert."""
    alerts = [each for each in standing if each.priority.at_least(monitor.spec.alert_min_priority)]
    return [conditions.Condition(MonitorCondition.ALARM, True, alerts[0].reason, said(alerts))] if alerts else []


def _retrain_condition(retrain: RetrainStep | None) -> list[conditions.Condition]:
    found = retrain.finding if retrain else None
    if found is None:
        return []
    under_way = found.reason in UNDER_WAY
    return [conditions.Condition(MonitorCondition.RETRAIN, under_way, found.reason, found.message)]


def said(standing: Sequence[Alarm]) -> str:
    """All alarms in one sentence, the first first."""
    return "; ".join(each.said for each in standing)


def inconsistency(ledger: Ledger) -> str | None:
    """A sentence when the open or the last window holds counts that contradict each other."""
    broken = sum(run.broken for run in ledger.open.runs) if ledger.open else 0
    if broken:
        return f"a counter ran backwards within its epoch in {_pods(broken)}: left out of the open window"
    if ledger.windows and ledger.windows[-1].inconsistent:
        last = ledger.windows[-1]
        parts = [f"{_pods(last.left_out)} left out, a counter ran backwards"] if last.left_out else []
        return f"window until {moment(last.end)}: " + "; ".join([*parts, *last.mismatches])
    return None


def _contradiction(ledger: Ledger) -> list[conditions.Condition]:
    message = inconsistency(ledger)
    if message is None:
        return []
    return [
        conditions.Condition(MonitorCondition.COUNTS_INCONSISTENT, True, MonitorReason.COUNTS_INCONSISTENT, message)
    ]


def last_window(window: Window, effects: Mapping[str, float]) -> dict[str, Any]:
    """`status.lastWindow`. `effects`: PSI by feature, as far as it was judged."""
    tables = consistency.feature_bins(window.counts)
    rows_of = {profile: _profile_rows(table) for profile, table in tables.items()}
    rows = window.counts.get(consistency.ROWS, 0)
    out: dict[str, Any] = {
        "start": moment(window.start),
        "end": moment(window.end),
        "requests": consistency.total_requests(window.counts),
        "rows": rows,
        "complete": f"{window.thousandths // 1000}.{window.thousandths % 1000:03d}",
    }
    if rows_of:
        # Bins of two profiles cannot be added: the one with the most rows is shown, the others by volume alone.
        shown = max(rows_of, key=lambda profile: (rows_of[profile], profile))
        features = sorted(tables[shown].items())[:MAX_FEATURES]
        out["profile"] = shown[:64]
        out["otherProfileRows"] = sum(rows_of.values()) - rows_of[shown]
        out["features"] = [_feature(name, bins, effects.get(name)) for name, bins in features]
    return out


def _feature(name: str, bins: Mapping[str, int], psi: float | None) -> dict[str, Any]:
    inner = ",".join(str(bins[b]) for b in sorted(bins) if b not in _OUTSIDE)
    return {
        "name": name[:MAX_NAME],
        "rows": sum(bins.values()),
        **{outside: bins.get(outside, 0) for outside in _OUTSIDE},
        "bins": inner[:1024],
        **({} if psi is None else {"psi": f"{psi:.4f}"}),
    }


def _profile_rows(table: Mapping[str, Mapping[str, int]]) -> int:
    return max(sum(bins.values()) for bins in table.values())


def _feature_count(counts: Counts) -> int:
    return len({feature for table in consistency.feature_bins(counts).values() for feature in table})


def _span(window: Window) -> str:
    """`07:00-08:00`, with seconds where the window is shorter than ten minutes. UTC."""
    form = "%H:%M" if window.end - window.start >= 600 else "%H:%M:%S"
    return f"{_at(window.start).strftime(form)}-{_at(window.end).strftime(form)}"


def _pods(count: int) -> str:
    return f"{count} pod" if count == 1 else f"{count} pods"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
