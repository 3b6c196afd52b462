"""What there is to say of a DriftMonitor now: one outcome, one reason, one sentence. Pure.

Owns the order of reasons, outages before judgements, and the wording. None: say what was said before, since nothing is known yet.
"""

from datetime import datetime, timedelta
from typing import Final

from modelcycle.api.conditions import Outcome, timestamp
from modelcycle.api.driftmonitor import Monitor, MonitorReason
from modelcycle.drift import alarms, explain, history, reference, status
from modelcycle.drift.history import History
from modelcycle.drift.ledger import Book
from modelcycle.drift.status import Finding
from modelcycle.drift.world import MonitorWorld
from modelcycle.metrics.port import FailingPod, Samples
from modelcycle.metrics.profiles import named

STALE_ROUNDS: Final = 3
"""Intervals without a reading after which counts are too old."""


def stale_after(monitor: Monitor) -> timedelta:
    """Age from which a reading is too old."""
    return timedelta(seconds=STALE_ROUNDS * monitor.spec.interval + 5)


def of(world: MonitorWorld, book: Book) -> Finding | None:
    """The finding for `world` once `book` is written."""
    monitor, target = world.monitor, world.monitor.spec.target
    if monitor.spec.suspend:
        return Finding(Outcome.READY, MonitorReason.SUSPENDED, "spec.suspend is true: nothing is read")
    if world.target is None:
        return Finding(
            Outcome.RECONCILING,
            MonitorReason.WAITING_FOR_TARGET,
            f"ModelDeployment {target} does not exist in namespace {monitor.namespace}",
        )
    samples = world.samples if world.samples and world.samples.deployment == target else None
    missing = _missing(world, samples)
    if missing is not None:
        return Finding(Outcome.RECONCILING, MonitorReason.NO_DATA, missing)
    if samples is None:
        return None
    inconsistency = status.inconsistency(book.counts)
    if inconsistency:
        return Finding(Outcome.RECONCILING, MonitorReason.COUNTS_INCONSISTENT, inconsistency)
    lacking = _lacking(world, book, samples)
    if lacking:
        return Finding(Outcome.RECONCILING, MonitorReason.PROFILE_UNKNOWN, lacking)
    return _judged(monitor, book, samples)


def _judged(monitor: Monitor, book: Book, samples: Samples) -> Finding:
    standing = alarms.standing(monitor, book.history)
    if standing:
        return Finding(Outcome.READY, standing[0].reason, status.said(standing))
    too_few = _too_few(book)
    if too_few and not _goes_on(book.history):
        return Finding(Outcome.READY, MonitorReason.INSUFFICIENT_DATA, too_few)
    progress = f"; {too_few}" if too_few else ""
    return Finding(Outcome.READY, MonitorReason.OBSERVING, _observing(monitor, samples) + progress)


def _goes_on(past: History) -> bool:
    """Whether rows are added up that follow the last judgement without a gap: slower than windows, and nothing is amiss."""
    made = past.judgement
    return bool(past.pending and made and made.shifts and made.end == past.pending.start)


def _lacking(world: MonitorWorld, book: Book, samples: Samples) -> str | None:
    """Why nothing is judged, when it is for want of a profile."""
    blocked = history.blocked_by(book.history, book.counts.windows)
    if not blocked and not book.counts.windows:
        # Before the first window ends it is said what will be missing then.
        counted = {name for run in samples.runs.values() if run.gone_at is None and (name := named(run.counts))}
        blocked = min(counted, default="") if counted and not counted & reference.profiles(world).keys() else ""
    if not blocked:
        return None
    why = world.lacking.get(blocked, "no pod counts by it any more")
    return f"the reference profile {blocked[:12]} is not known, so that windows are counted and not judged: {why}"


def _too_few(book: Book) -> str | None:
    """How many rows there are and how many it takes, when the last window could not be judged for drift."""
    past = book.history
    if not past.until or past.shifts_judged or past.until != book.counts.floor:
        return None
    if past.short:
        rows, stretch = past.short
        text = f"{rows} of {past.needed} rows that a judgement of drift takes"
        return f"{text} in {explain.duration(stretch)}, the longest that window.max allows"
    if past.pending is None:
        return "no row was predicted in the last window"
    since = past.pending.start
    rows = history.pending_rows(past)
    rest = (past.needed - rows) * (past.until - since) / rows if rows else 0.0
    eta = f"; about {explain.duration(rest)} more at this rate" if rows else ""
    return f"{rows} of {past.needed} rows that a judgement of drift takes, since {explain.moment(since)}{eta}"


def _missing(world: MonitorWorld, samples: Samples | None) -> str | None:
    """Why there is nothing to count, or None."""
    monitor, target = world.monitor, world.monitor.spec.target
    if samples is None:
        said = monitor.status.get("observedGeneration") == monitor.generation
        return world.problem or (None if said else "the first reading of the pods has not finished")
    if world.now - samples.taken_at > stale_after(monitor):
        cause = f": {world.problem}" if world.problem else ""
        return f"last reading of the pods at {timestamp(samples.taken_at)}{cause}; the open window is held"
    if not samples.listed:
        return f"ModelDeployment {target} has no running pod"
    # Readings overlap with pods that start: only what has been silent for a while is said.
    if not _alive(samples, world.now - stale_after(monitor)):
        cause = f": {samples.failing[0].pod}: {samples.failing[0].cause}" if samples.failing else ""
        return f"no pod of ModelDeployment {target} gives counts{cause}"
    return None


def _observing(monitor: Monitor, samples: Samples) -> str:
    alive = _alive(samples, samples.taken_at - stale_after(monitor))
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
    return [pod for pod in samples.failing if samples.taken_at - pod.since > stale_after(monitor)]
