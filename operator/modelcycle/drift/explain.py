"""Judged rows in words and shares, for people who are no statisticians. Pure; says edges and class names, never a value of the data."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from modelcycle.api import conditions
from modelcycle.drift.rows import Cause, Rate, Shift

MAX_NAME: Final = 80


@dataclass(frozen=True, slots=True)
class _Part:
    """A set of bins that can be said in words, with its reference and current share."""

    words: str
    before: float
    after: float

    @property
    def weight(self) -> float:
        """Its part in the divergence, when it has grown: what shrank elsewhere has to be somewhere."""
        if self.after <= self.before:
            return 0.0
        return _divergence(self.before, self.after) + _divergence(1 - self.before, 1 - self.after)


def shift(row: Shift, psi: float) -> str:
    """`temperature above 85: 2 % -> 19 % (PSI 0.41)`: the part of the range that grew most."""
    part = max(_class_parts(row) if row.classes else _range_parts(row), key=lambda each: each.weight)
    return f"{name(row.name)}{part.words}: {_change(part.before, part.after)} (PSI {psi:.2f})"


def rate(row: Rate) -> str:
    """`pressure missing: 0 % -> 5 %`."""
    words = "out of range" if row.cause is Cause.OUT_OF_RANGE else "missing"
    before = row.reference_events / row.reference_rows if row.reference_rows else 0.0
    return f"{name(row.name)} {words}: {_change(before, row.events / row.rows)}"


def name(text: str) -> str:
    """A feature's name, cut where it would push the rest out of a message."""
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 3] + "..."


def moment(seconds: float) -> str:
    """Unix seconds as status writes them."""
    return conditions.timestamp(datetime.fromtimestamp(seconds, UTC))


def duration(seconds: float) -> str:
    """`45s`, `10m`, `3h`: one unit, rounded up."""
    for unit, size in (("s", 1), ("m", 60)):
        if seconds <= 90 * size:
            return f"{math.ceil(seconds / size)}{unit}"
    return f"{math.ceil(seconds / 3600)}h"


def percent(share: float) -> str:
    """Two digits and never a rounded-up certainty: `19 %`, `0.21 %`, `100 %` only for all."""
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    hundredths = 100 * share
    if hundredths >= 99:
        return f"{math.floor(hundredths * 10) / 10:g} %"
    return "<0.01 %" if hundredths < 0.01 else f"{float(f'{hundredths:.2g}'):g} %"


def _change(before: float, after: float) -> str:
    return f"{percent(before)} -> {percent(after)}"


def _divergence(before: float, after: float) -> float:
    small = 1e-4
    return (after - before) * math.log((after + small) / (before + small))


def _class_parts(row: Shift) -> Iterator[_Part]:
    m, n = sum(row.reference), sum(row.current)
    for label, r, c in zip(row.classes, row.reference, row.current, strict=True):
        yield _Part(f" {name(label)!r}", r / m, c / n)


def _range_parts(row: Shift) -> Iterator[_Part]:
    """Each bin, and each stretch from an edge to the end."""
    m, n, edges = sum(row.reference), sum(row.current), row.edges
    below_r = below_c = 0
    for at, edge in enumerate(edges):
        if at:
            yield _Part(f" between {edges[at - 1]:.4g} and {edge:.4g}", row.reference[at] / m, row.current[at] / n)
        below_r, below_c = below_r + row.reference[at], below_c + row.current[at]
        yield _Part(f" up to {edge:.4g}", below_r / m, below_c / n)
        yield _Part(f" above {edge:.4g}", 1 - below_r / m, 1 - below_c / n)
