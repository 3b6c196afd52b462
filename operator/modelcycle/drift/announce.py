"""Events of a DriftMonitor: each thing is said when it begins and never again while it lasts. Pure.

Owns what is worth an Event. Compares with the status that was written last, so that a restart says nothing twice.
"""

from collections.abc import Mapping
from typing import Any, Final

from modelcycle.api.conditions import Outcome
from modelcycle.api.driftmonitor import Monitor, MonitorCondition, MonitorReason, Priority
from modelcycle.drift import alarms, status
from modelcycle.drift.alarms import Alarm
from modelcycle.drift.ledger import Book
from modelcycle.drift.status import Finding
from modelcycle.engine.plan import Emit, EventType
from modelcycle.kube import kinds

CLEARED: Final = "AlarmCleared"


def events(monitor: Monitor, finding: Finding, book: Book) -> tuple[Emit, ...]:
    """The Events that go with the status of `finding` and `book`."""
    troubles = _troubles(monitor, finding, book)
    # A ledger that cannot be read or written says nothing of alarms, and must not say that they are over.
    return tuple(troubles) if finding.outcome is Outcome.STALLED else (*troubles, *_alerts(monitor, book))


def _troubles(monitor: Monitor, finding: Finding, book: Book) -> list[Emit]:
    said = {c.get("type"): c for c in monitor.status.get("conditions", [])}
    found: list[Emit] = []
    if finding.outcome is Outcome.STALLED and said.get("Stalled", {}).get("reason") != finding.reason:
        found.append(_emit(monitor, EventType.WARNING, finding.reason, "Observe", finding.message))
    inconsistency = status.inconsistency(book.counts)
    if inconsistency and MonitorCondition.COUNTS_INCONSISTENT not in said:
        found.append(_emit(monitor, EventType.WARNING, MonitorReason.COUNTS_INCONSISTENT, "Observe", inconsistency))
    return found


def _alerts(monitor: Monitor, book: Book) -> list[Emit]:
    """An alarm that began, matters more than before or has spread; and one that is over."""
    before: Mapping[str, Mapping[str, Any]] = {str(a.get("fingerprint")): a for a in monitor.status.get("alarms", [])}
    standing = {alarm.fingerprint: alarm for alarm in alarms.standing(monitor, book.history)}
    least = monitor.spec.alert_min_priority
    found = [
        _emit(
            monitor,
            EventType.NORMAL if alarm.priority is Priority.P4 else EventType.WARNING,
            alarm.reason,
            "Alert",
            alarm.said,
        )
        for fingerprint, alarm in standing.items()
        if alarm.priority.at_least(least) and _is_news(before.get(fingerprint), alarm)
    ]
    for fingerprint, old in before.items():
        if fingerprint not in standing and Priority(old["priority"]).at_least(least):
            note = f"{old['cause']} of {', '.join(old['features'][:3])} is over"
            found.append(_emit(monitor, EventType.NORMAL, CLEARED, "Alert", note))
    return found


def _is_news(old: Mapping[str, Any] | None, alarm: Alarm) -> bool:
    if old is None or not Priority(old["priority"]).at_least(alarm.priority):
        return True
    # A list that was cut cannot tell whether a feature is new.
    known = old["features"]
    return len(known) < alarms.MAX_FEATURES and not {name[:253] for name in alarm.features} <= set(known)


def _emit(monitor: Monitor, kind: EventType, reason: str, action: str, note: str) -> Emit:
    return Emit(kinds.DRIFT_MONITOR, monitor.namespace, monitor.name, monitor.uid, kind, reason, action, note)
