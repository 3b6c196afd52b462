"""What to do about one DriftMonitor. Pure, total, deterministic.

Owns the order of the answers and the choice of words. The ConfigMap with the counts is written first and status is derived from it, so
that a crash between the two changes nothing that is counted. Outages hold: without a fresh reading no window ends.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from modelcycle.api.conditions import Outcome, timestamp
from modelcycle.api.driftmonitor import STATE_VERSION, Monitor, MonitorCondition, MonitorReason
from modelcycle.drift import ledger as ledgers
from modelcycle.drift import status, windows
from modelcycle.drift.status import Finding
from modelcycle.drift.windows import Ledger
from modelcycle.engine.plan import Action, Apply, Create, Emit, EventType, Plan, WriteStatus
from modelcycle.kube import kinds
from modelcycle.metrics.port import FailingPod, Samples

STALE_ROUNDS: Final = 3
"""Intervals without a reading after which counts are too old."""
SLOW_RETRY: Final = 300.0
"""Seconds between looks at something a person has to put right."""


@dataclass(frozen=True, slots=True)
class LedgerObject:
    """The ConfigMap with the counts as found."""

    uid: str
    resource_version: str
    owner: str | None
    """Who it belongs to when it is not ours, for people; None: ours."""
    ledger: Ledger
    problem: str | None = None
    """Why its text is no ledger."""


@dataclass(frozen=True, slots=True)
class MonitorWorld:
    """Everything the decision needs."""

    monitor: Monitor
    now: datetime
    target_exists: bool
    stored: LedgerObject | None
    samples: Samples | None
    problem: str | None = None
    """Why the last reading failed as a whole."""


def decide(world: MonitorWorld) -> Plan:
    """The plan for `world`."""
    monitor = world.monitor
    if monitor.state_version > STATE_VERSION:
        return Plan()
    before = world.stored.ledger if world.stored else Ledger()
    refusal = _refusal(world)
    if refusal:
        return Plan(_status_actions(world, before, refusal), requeue_after=SLOW_RETRY)
    wish = windows.Wish(monitor.spec.target, monitor.spec.window, monitor.spec.suspend)
    after = windows.advance(before, wish, world.samples)
    try:
        writes = _ledger_actions(world, before, after)
    except ledgers.LedgerTooLarge as error:
        finding = Finding(
            Outcome.STALLED,
            MonitorReason.LEDGER_TOO_LARGE,
            f"{error}: watch fewer features or run fewer, larger pods",
        )
        return Plan(_status_actions(world, before, finding), requeue_after=SLOW_RETRY)
    again = None if monitor.spec.suspend else _stale_after(monitor).total_seconds()
    said = _finding(world, after)
    if said is None:
        return Plan(writes, requeue_after=again)
    return Plan((*writes, *_status_actions(world, after, said)), requeue_after=again)


def _refusal(world: MonitorWorld) -> Finding | None:
    stored, name = world.stored, ledgers.config_map_name(world.monitor)
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


def _ledger_actions(world: MonitorWorld, before: Ledger, after: Ledger) -> tuple[Action, ...]:
    if after == before:
        return ()
    body = ledgers.config_map(world.monitor, ledgers.render(after))
    if world.stored is None:
        return (Create(kinds.CONFIG_MAP, body),)
    # The resourceVersion makes two operators at once harmless: the second one's windows are refused, not added.
    metadata = {**body["metadata"], "uid": world.stored.uid, "resourceVersion": world.stored.resource_version}
    return (Apply(kinds.CONFIG_MAP, {**body, "metadata": metadata}, world.stored.uid),)


def _finding(world: MonitorWorld, ledger: Ledger) -> Finding | None:
    """What to say; None: say what was said before, nothing is known yet."""
    monitor, target = world.monitor, world.monitor.spec.target
    if monitor.spec.suspend:
        return Finding(Outcome.READY, MonitorReason.SUSPENDED, "spec.suspend is true: nothing is read")
    if not world.target_exists:
        return Finding(
            Outcome.RECONCILING,
            MonitorReason.WAITING_FOR_TARGET,
            f"ModelDeployment {target} does not exist in namespace {monitor.namespace}",
        )
    samples = world.samples if world.samples and world.samples.deployment == target else None
    missing = _missing(world, samples)
    if missing is None and samples is None:
        return None
    if missing is not None:
        return Finding(Outcome.RECONCILING, MonitorReason.NO_DATA, missing)
    inconsistency = status.inconsistency(ledger)
    if inconsistency:
        return Finding(Outcome.RECONCILING, MonitorReason.COUNTS_INCONSISTENT, inconsistency)
    assert samples is not None
    return Finding(Outcome.READY, MonitorReason.OBSERVING, _observing(monitor, samples))


def _missing(world: MonitorWorld, samples: Samples | None) -> str | None:
    """Why there is nothing to count, or None."""
    monitor, target = world.monitor, world.monitor.spec.target
    if samples is None:
        said = monitor.status.get("observedGeneration") == monitor.generation
        return world.problem or (None if said else "the first reading of the pods has not finished")
    if world.now - samples.taken_at > _stale_after(monitor):
        cause = f": {world.problem}" if world.problem else ""
        return f"last reading of the pods at {timestamp(samples.taken_at)}{cause}; the open window is held"
    if not samples.listed:
        return f"ModelDeployment {target} has no running pod"
    # Readings overlap with pods that start: only what has been silent for a while is said.
    if not _alive(samples, world.now - _stale_after(monitor)):
        cause = f": {samples.failing[0].pod}: {samples.failing[0].cause}" if samples.failing else ""
        return f"no pod of ModelDeployment {target} gives counts{cause}"
    return None


def _observing(monitor: Monitor, samples: Samples) -> str:
    alive = _alive(samples, samples.taken_at - _stale_after(monitor))
    text = f"counting {alive} pod{'' if alive == 1 else 's'} of ModelDeployment {monitor.spec.target}"
    silent = _silent(monitor, samples)
    if not silent:
        return text
    more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
    return f"{text}; {silent[0].pod} gives no counts: {silent[0].cause}{more}"


def _alive(samples: Samples, since: datetime) -> int:
    """Pods that gave counts at or after `since`."""
    return sum(sample.gone_at is None and sample.seen_at >= since for sample in samples.runs.values())


def _silent(monitor: Monitor, samples: Samples) -> list[FailingPod]:
    return [pod for pod in samples.failing if samples.taken_at - pod.since > _stale_after(monitor)]


def _stale_after(monitor: Monitor) -> timedelta:
    return timedelta(seconds=STALE_ROUNDS * monitor.spec.interval + 5)


def _status_actions(world: MonitorWorld, ledger: Ledger, finding: Finding) -> tuple[Action, ...]:
    monitor = world.monitor
    rendered = status.render(monitor, ledger, finding, world.now)
    write = WriteStatus(
        kinds.DRIFT_MONITOR,
        monitor.namespace,
        monitor.name,
        monitor.resource_version,
        rendered,
        monitor.status,
    )
    return (write, *_events(world, finding, ledger))


def _events(world: MonitorWorld, finding: Finding, ledger: Ledger) -> tuple[Emit, ...]:
    """A warning when something begins that a person should look at; never again while it lasts."""
    monitor = world.monitor
    said = {c.get("type"): c for c in monitor.status.get("conditions", [])}
    wanted: list[tuple[str, str]] = []
    if finding.outcome is Outcome.STALLED and said.get("Stalled", {}).get("reason") != finding.reason:
        wanted.append((finding.reason, finding.message))
    inconsistency = status.inconsistency(ledger)
    if inconsistency and MonitorCondition.COUNTS_INCONSISTENT not in said:
        wanted.append((MonitorReason.COUNTS_INCONSISTENT, inconsistency))
    return tuple(
        Emit(
            kinds.DRIFT_MONITOR,
            monitor.namespace,
            monitor.name,
            monitor.uid,
            EventType.WARNING,
            reason,
            "Observe",
            note,
        )
        for reason, note in wanted
    )
