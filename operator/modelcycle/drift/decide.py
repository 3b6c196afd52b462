"""What to do about one DriftMonitor. Pure, total, deterministic.

Owns the order of the effects. The ConfigMap with counts and judgements is written first and status is derived from it, so that a crash
between the two changes nothing that is counted or judged. Outages hold: without a fresh reading no window ends.
"""

from dataclasses import replace
from typing import Any, Final

from modelcycle.api.conditions import Outcome
from modelcycle.api.driftmonitor import STATE_VERSION, Monitor, MonitorReason
from modelcycle.drift import alarms, announce, findings, history, reference, retrain, status, windows
from modelcycle.drift import ledger as ledgers
from modelcycle.drift.history import Live
from modelcycle.drift.ledger import Book
from modelcycle.drift.retrain import RetrainStep
from modelcycle.drift.status import Finding
from modelcycle.drift.world import MonitorWorld
from modelcycle.engine import newer
from modelcycle.engine.plan import Action, Apply, Create, Plan, WriteStatus
from modelcycle.kube import kinds

SLOW_RETRY: Final = 300.0
"""Seconds between looks at something a person has to put right."""


def decide(world: MonitorWorld) -> Plan:
    """The plan for `world`."""
    monitor = world.monitor
    if monitor.state_version > STATE_VERSION:
        return Plan(newer.held(kinds.DRIFT_MONITOR, _metadata(monitor), monitor.status, STATE_VERSION, world.now))
    before = world.stored.book if world.stored else Book()
    refusal = _refusal(world)
    if refusal:
        return Plan(_status_actions(world, before, refusal, None), requeue_after=SLOW_RETRY)
    after, step = _next(world, before)
    try:
        writes = _ledger_actions(world, before, after)
    except ledgers.LedgerTooLarge as error:
        finding = Finding(
            Outcome.STALLED,
            MonitorReason.LEDGER_TOO_LARGE,
            f"{error}: watch fewer features or run fewer, larger pods",
        )
        return Plan(_status_actions(world, before, finding, None), requeue_after=SLOW_RETRY)
    actions = (*writes, *(step.actions if step else ()))
    again = None if monitor.spec.suspend else findings.stale_after(monitor).total_seconds()
    said = findings.of(world, after)
    if said is None:
        return Plan(actions, requeue_after=again)
    return Plan((*actions, *_status_actions(world, after, said, step)), requeue_after=again)


def _metadata(monitor: Monitor) -> dict[str, Any]:
    return {
        "namespace": monitor.namespace,
        "name": monitor.name,
        "uid": monitor.uid,
        "resourceVersion": monitor.resource_version,
        "generation": monitor.generation,
    }


def _next(world: MonitorWorld, before: Book) -> tuple[Book, RetrainStep | None]:
    """Count, judge what has been counted, and go on with the retrain that a judgement asks for."""
    spec, digest = world.monitor.spec, world.target.digest if world.target else ""
    counts = windows.advance(before.counts, windows.Wish(spec.target, spec.window, spec.suspend), world.samples)
    counted_for = counts.open.target if counts.open else spec.target
    judged = history.of_target(before.history, counted_for, counts.floor)
    judged = history.advance(judged, counts.windows, Live(reference.profiles(world), digest), spec)
    after = replace(before, counts=counts, history=judged)
    if world.retrain is None:
        return after, None
    standing = () if spec.suspend else alarms.standing(world.monitor, judged)
    step = retrain.advance(world.retrain, alarms.wish(standing, spec, digest))
    return replace(after, retrain=step.state), step


def _refusal(world: MonitorWorld) -> Finding | None:
    stored, name = world.stored, ledgers.config_map_name(world.monitor)
    if world.monitor.problem is not None:
        return Finding(Outcome.STALLED, MonitorReason.INVALID_SPEC, world.monitor.problem)
    if stored and stored.owner is not None:
        return Finding(
            Outcome.STALLED,
            MonitorReason.NAME_TAKEN,
            f"ConfigMap {name} belongs to {stored.owner}: delete or rename it",
        )
    if stored and stored.problem is not None:
        return Finding(
            Outcome.STALLED,
            MonitorReason.LEDGER_UNREADABLE,
            f"ConfigMap {name}: {stored.problem}; delete it to start counting anew (its windows are lost)",
        )
    return None


def _ledger_actions(world: MonitorWorld, before: Book, after: Book) -> tuple[Action, ...]:
    if after == before:
        return ()
    body = ledgers.config_map(world.monitor, ledgers.render(after))
    if world.stored is None:
        return (Create(kinds.CONFIG_MAP, body),)
    # The resourceVersion makes two operators at once harmless: the second one's windows are refused, not added.
    metadata = {**body["metadata"], "uid": world.stored.uid, "resourceVersion": world.stored.resource_version}
    return (Apply(kinds.CONFIG_MAP, {**body, "metadata": metadata}, world.stored.uid),)


def _status_actions(world: MonitorWorld, book: Book, finding: Finding, step: RetrainStep | None) -> tuple[Action, ...]:
    monitor = world.monitor
    write = WriteStatus(
        kinds.DRIFT_MONITOR,
        monitor.namespace,
        monitor.name,
        monitor.resource_version,
        status.render(monitor, book, world.target, finding, step, world.now),
        monitor.status,
    )
    return (write, *announce.events(monitor, finding, book))
