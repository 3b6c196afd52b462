"""The status of a DriftMonitor as a function of the ledger and one finding. Pure.

Owns the shape of `status`. Holds sums only, never a value of the data; all lists are bounded. What happens inside the open window is not
shown, so that counting alone never writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from modelcycle.api import conditions
from modelcycle.api.driftmonitor import STATE_VERSION, Monitor, MonitorCondition, MonitorReason
from modelcycle.drift import consistency
from modelcycle.drift.windows import Ledger, Window
from modelcycle.metrics.port import Counts

MAX_FEATURES: Final = 100
MAX_NAME: Final = 253
_OUTSIDE: Final = ("missing", "below", "above")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said now."""

    outcome: conditions.Outcome
    reason: MonitorReason
    message: str


def render(monitor: Monitor, ledger: Ledger, finding: Finding, now: datetime) -> dict[str, Any]:
    """The whole status."""
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
            domain=_domain(ledger),
        ),
    }
    if ledger.windows:
        last = last_window(ledger.windows[-1])
        status["lastWindow"] = last
        status["summary"] = {
            "requests": str(last["requests"]),
            "window": _span(ledger.windows[-1]),
            "features": str(_feature_count(ledger.windows[-1].counts)),
        }
        totals = ledger.totals
        status["total"] = {"requests": consistency.total_requests(totals), "rows": totals.get(consistency.ROWS, 0)}
    return status


def inconsistency(ledger: Ledger) -> str | None:
    """A sentence when the open or the last window holds counts that contradict each other."""
    broken = sum(run.broken for run in ledger.open.runs) if ledger.open else 0
    if broken:
        return f"a counter ran backwards within its epoch in {_pods(broken)}: left out of the open window"
    if ledger.windows and ledger.windows[-1].inconsistent:
        last = ledger.windows[-1]
        parts = [f"{_pods(last.left_out)} left out, a counter ran backwards"] if last.left_out else []
        return f"window until {_moment(last.end)}: " + "; ".join([*parts, *last.mismatches])
    return None


def _domain(ledger: Ledger) -> list[conditions.Condition]:
    message = inconsistency(ledger)
    if message is None:
        return []
    return [
        conditions.Condition(MonitorCondition.COUNTS_INCONSISTENT, True, MonitorReason.COUNTS_INCONSISTENT, message)
    ]


def last_window(window: Window) -> dict[str, Any]:
    """`status.lastWindow`."""
    tables = consistency.feature_bins(window.counts)
    rows_of = {profile: _profile_rows(table) for profile, table in tables.items()}
    rows = window.counts.get(consistency.ROWS, 0)
    out: dict[str, Any] = {
        "start": _moment(window.start),
        "end": _moment(window.end),
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
        out["features"] = [_feature(name, bins) for name, bins in features]
    return out


def _feature(name: str, bins: Mapping[str, int]) -> dict[str, Any]:
    inner = ",".join(str(bins[b]) for b in sorted(bins) if b not in _OUTSIDE)
    return {
        "name": name[:MAX_NAME],
        "rows": sum(bins.values()),
        **{outside: bins.get(outside, 0) for outside in _OUTSIDE},
        "bins": inner[:1024],
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


def _moment(seconds: float) -> str:
    return conditions.timestamp(_at(seconds))


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
