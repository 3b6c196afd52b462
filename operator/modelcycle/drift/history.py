"""What a judgement means after those before it, as a pure fold over closed windows: (history, windows, profiles) -> history.

Owns persistence, clearing, growing windows and the life of an alarm. Each closed window is judged once; a window whose profile is not
known yet waits. All of it lives in the ledger, so that a restart changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from modelcycle.api.driftmonitor import MonitorSpec, Persistence
from modelcycle.drift import consistency, judge, rows, windows
from modelcycle.drift.judge import Level, Test
from modelcycle.drift.rows import Cause
from modelcycle.drift.windows import Window
from modelcycle.metrics.port import Counts
from modelcycle_bundle.profile import Profile

QUIET_WINDOWS: Final = 3
"""Judged windows in a row below half the threshold that end a row's alarm."""
KEPT_TESTS: Final = 100


@dataclass(frozen=True, slots=True)
class Row:
    """What is remembered of one row. Rows that never counted are not kept."""

    cause: Cause
    name: str
    levels: tuple[Level, ...]
    """Of the last judged windows, oldest first."""
    standing: Level = Level.NONE
    """Highest level reached since the row began to count; NONE when it does not."""
    quiet: int = 0
    """Judged windows in a row in which the effect was gone."""
    effect: float = 0.0
    text: str = ""
    """Effect and explanation of the last judged window; the last that was not empty."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One alarm from its beginning to its end. The window that raised it, in Unix seconds."""

    cause: Cause
    start: float
    end: float
    digest: str
    """Model that was judged; empty when it was not known."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The last time that rows were tested, shifts among them if ever they were. Unix seconds."""

    start: float
    end: float
    rows: int
    tested: int
    q: float
    tests: tuple[Test, ...]
    """Those that moved most."""
    shifts: bool
    """Whether shifts were among them."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Windows that wait for more rows before shifts can be judged."""

    start: float
    counts: Counts


@dataclass(frozen=True, slots=True)
class History:
    """All that is remembered. `profile` is the one that is being judged; empty before the first."""

    target: str = ""
    """ModelDeployment whose windows were looked at; empty before the first."""
    profile: str = ""
    until: float = 0.0
    """End of the last window that was looked at."""
    needed: int = 0
    """Rows that a judgement of shifts needs; 0 before a profile was known."""
    shifts_judged: bool = False
    """Whether the last window had enough rows, alone or with those before it."""
    pending: Pending | None = None
    rows: tuple[Row, ...] = ()
    episodes: tuple[Episode, ...] = ()
    judgement: Judgement | None = None
    short: tuple[int, float] | None = None
    """Rows and seconds of the last stretch that was given up, since it reached `window.max` with too few rows."""


@dataclass(frozen=True, slots=True)
class Live:
    """What the judged counts belong to: known profiles by hash, and the digest of the model that serves."""

    profiles: Mapping[str, Profile]
    digest: str = ""


def advance(history: History, closed: Sequence[Window], live: Live, spec: MonitorSpec) -> History:
    """The history after the windows that it has not seen, oldest first. Equal to `history` when there is none."""
    for window, later in _unseen(history, closed):
        main = main_profile(window)
        if main and main not in live.profiles:
            if not any(main_profile(each) not in ("", main) for each in later):
                return history
            # Another model serves by now: nobody will tell this one's profile any more.
            history = replace(history, until=window.end)
            continue
        history = _looked_at(history, window, main, live, spec)
    return history


def of_target(history: History, target: str, floor: float) -> History:
    """`history`, or an empty one when it is of another target, whose last window ended at `floor`."""
    return history if history.target in ("", target) else History(until=floor)


def blocked_by(history: History, closed: Sequence[Window]) -> str:
    """The profile that the next window waits for; empty when none waits."""
    return next((main_profile(window) for window, _ in _unseen(history, closed)), "")


def pending_rows(history: History) -> int:
    """Rows that wait for more before shifts can be judged."""
    return rows.tables(history.pending.counts, history.profile).rows if history.pending else 0


def main_profile(window: Window) -> str:
    """The profile with the most rows: the live model's. Empty without rows, and when the counts contradict each other."""
    if window.inconsistent:
        return ""
    tables = consistency.feature_bins(window.counts)
    counted = {profile: max(sum(bins.values()) for bins in table.values()) for profile, table in tables.items()}
    best = max(counted, key=lambda profile: (counted[profile], profile), default="")
    return best if counted.get(best) else ""


def _unseen(history: History, closed: Sequence[Window]) -> Iterable[tuple[Window, Sequence[Window]]]:
    return [(window, closed[at + 1 :]) for at, window in enumerate(closed) if window.end > history.until]


def _on(history: History, profile: str) -> History:
    """A new profile begins anew: its bins cannot be compared with those before."""
    return history if profile == history.profile else History(history.target, profile)


def _looked_at(history: History, window: Window, main: str, live: Live, spec: MonitorSpec) -> History:
    if not main:
        # Nothing to learn from, and nothing that was known is undone.
        return replace(history, target=spec.target, until=window.end, shifts_judged=False)
    history = _on(history, main)
    profile = live.profiles[main]
    pending = history.pending or Pending(window.start, {})
    summed = windows.add(pending.counts, rows.of_profile(window.counts, main))
    alone, grown = rows.tables(window.counts, main), rows.tables(summed, main)
    needed = rows.needed(profile, spec.effect.warn)
    enough = grown.rows >= needed
    given_up = not enough and window.end - pending.start >= spec.window_max
    q = judge.false_discovery_rate(spec.false_alarms_per_quarter, spec.window)
    rated = alone if alone.rows >= judge.RATE_ROWS else grown if enough or given_up else None
    found = judge.tests(profile, grown if enough else None, rated, spec.effect, q)
    start = pending.start if rated is grown or enough else window.start
    counted = grown.rows if enough or rated is grown else alone.rows
    made = Judgement(start, window.end, counted, len(found), q, judge.most_moved(found, KEPT_TESTS), enough)
    known = history.judgement
    after = replace(
        history,
        target=spec.target,
        until=window.end,
        needed=needed,
        shifts_judged=enough,
        pending=None if enough or given_up else Pending(pending.start, summed),
        rows=_rows(history.rows, found, spec.persistence),
        # Between two judgements of shifts, missing values alone are no news.
        judgement=made if found and (enough or known is None or not known.shifts) else known,
        short=(grown.rows, window.end - pending.start) if given_up else None,
    )
    return replace(after, episodes=_episodes(after, start, window.end, live.digest))


def _rows(before: Sequence[Row], found: Sequence[Test], persistence: Persistence) -> tuple[Row, ...]:
    known = {(row.cause, row.name): row for row in before}
    for test in found:
        key = (test.cause, test.name)
        known[key] = _row(known.get(key, Row(test.cause, test.name, ())), test, persistence)
    kept = (row for row in known.values() if row.standing or any(row.levels))
    return tuple(sorted(kept, key=lambda row: (row.cause, row.name)))


def _row(row: Row, test: Test, persistence: Persistence) -> Row:
    levels = (*row.levels, test.level)[-persistence.of :]
    reached = sorted(levels, reverse=True)[persistence.k - 1] if len(levels) >= persistence.k else Level.NONE
    if _is_fact(test):
        reached = test.level
    quiet = row.quiet + 1 if test.quiet else 0
    if quiet >= QUIET_WINDOWS:
        return Row(row.cause, row.name, ())
    return Row(row.cause, row.name, levels, max(row.standing, reached), quiet, test.effect, test.text or row.text)


def _is_fact(test: Test) -> bool:
    """Counts in the first window that shows it: a value that is missing is no mood, and no process jumps out of its range."""
    return test.cause.is_missing or (test.cause is Cause.OUT_OF_RANGE and test.level is Level.CRITICAL)


def _episodes(history: History, start: float, end: float, digest: str) -> tuple[Episode, ...]:
    standing = {row.cause for row in history.rows if row.standing}
    known = {episode.cause: episode for episode in history.episodes}
    return tuple(known.get(cause) or Episode(cause, start, end, digest) for cause in sorted(standing))
