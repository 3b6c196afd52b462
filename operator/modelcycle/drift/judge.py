"""One judgement of counts against a profile: effect, chance, and which rows count. Pure; keeps nothing between windows.

Owns the thresholds that are no fields of the spec. A row counts only when it is significant among all rows and large enough to matter;
what is shown is rounded here, so that a stored judgement equals the one that was made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from modelcycle.api.driftmonitor import Effect
from modelcycle.drift import explain, rows
from modelcycle.drift.rows import Cause, Rate, Shift, Tables
from modelcycle.stats.binned import debiased_psi, ordered_p, rows_needed, unordered_p
from modelcycle.stats.corrections import benjamini_hochberg
from modelcycle.stats.fisher import excess
from modelcycle_bundle.profile import Profile

QUARTER_SECONDS: Final = 91.25 * 86400.0
LARGEST_RATE: Final = 0.05
"""Bound of the false discovery rate where windows are so long that the budget would allow more."""
RATE_EFFECT: Final = 0.01
"""Rise of the share of missing or out-of-range rows from which it counts: one point."""
SUDDEN_EFFECT: Final = 0.1
"""Rise from which it is no drift of a process but a fault, such as another unit: ten points."""
RATE_ROWS: Final = 50
"""Rows from which the share of an event is judged. The test is exact at any number; a share of fewer rows says little."""
CLEARING: Final = 0.5
"""Part of the threshold below which an effect counts as gone."""


class Level(IntEnum):
    """How far a row has moved in one window."""

    NONE = 0
    """Chance, or too little to matter."""
    WARN = 1
    """At least `effect.warn`, or RATE_EFFECT, and not chance."""
    CRITICAL = 2
    """At least `effect.critical`, or SUDDEN_EFFECT, and not chance."""


@dataclass(frozen=True, slots=True)
class Test:
    """The answer for one row."""

    __test__ = False  # not one of pytest's

    cause: Cause
    name: str
    p: float
    effect: float
    """Debiased PSI of a shift; rise of the share of an event."""
    level: Level
    quiet: bool
    """Below CLEARING of the threshold."""
    text: str


def false_discovery_rate(false_alarms_per_quarter: float, window: float) -> float:
    """The alarm budget as q: false alarms per quarter over windows (seconds) per quarter."""
    return min(LARGEST_RATE, false_alarms_per_quarter * window / QUARTER_SECONDS)


def tests(profile: Profile, shifted: Tables | None, rated: Tables | None, effect: Effect, q: float) -> tuple[Test, ...]:
    """All rows of one judgement: shifts by `shifted`, events by `rated`; None leaves them out. Significance is among all of them."""
    found: list[Test] = []
    if shifted is not None:
        found += [_of_shift(row, effect) for row in rows.shifts(profile, shifted) if _enough(row, effect)]
    if rated is not None:
        found += [_of_rate(row) for row in rows.rates(profile, rated) if row.rows >= RATE_ROWS]
    significant = benjamini_hochberg([test.p for test in found], q)
    return tuple(
        test if counts or not test.level else replace(test, level=Level.NONE)
        for test, counts in zip(found, significant, strict=True)
    )


def most_moved(found: Sequence[Test], limit: int) -> tuple[Test, ...]:
    """The tests with the largest level, then effect."""
    return tuple(sorted(found, key=lambda test: (-test.level, -test.effect, test.p, test.cause, test.name))[:limit])


def _enough(row: Shift, effect: Effect) -> bool:
    return sum(row.current) >= rows_needed(len(row.reference), effect.warn) and sum(row.reference) > 0


def _of_shift(row: Shift, effect: Effect) -> Test:
    """As if it were significant."""
    p = (unordered_p if row.classes else ordered_p)(row.reference, row.current)
    psi = debiased_psi(row.reference, row.current)
    level = Level.CRITICAL if psi >= effect.critical else Level.WARN if psi >= effect.warn else Level.NONE
    quiet = psi < CLEARING * effect.warn
    return Test(row.cause, row.name, _rounded(p), round(psi, 4), level, quiet, "" if quiet else explain.shift(row, psi))


def _of_rate(row: Rate) -> Test:
    """As if it were significant."""
    p = excess(row.reference_events, row.reference_rows, row.events, row.rows)
    before = row.reference_events / row.reference_rows if row.reference_rows else 0.0
    rise = max(0.0, row.events / row.rows - before)
    level = Level.CRITICAL if rise >= SUDDEN_EFFECT else Level.WARN if rise >= RATE_EFFECT else Level.NONE
    quiet = rise < CLEARING * RATE_EFFECT
    return Test(row.cause, row.name, _rounded(p), round(rise, 4), level, quiet, "" if quiet else explain.rate(row))


def _rounded(p: float) -> float:
    return float(f"{p:.3g}")
