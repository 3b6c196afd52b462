"""Small plots as inline SVG: evidence over time, bins before and after, a strip of stages. Pure; owns their geometry and no findings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

HARM: Final = "#b03a2e"
NO_HARM: Final = "#1e7e45"
BEFORE: Final = "#8a97a6"
AFTER: Final = "#c9761b"
INK: Final = "#22303c"
FAINT: Final = "#d5dbe1"
SHORTEST: Final = 10.0
"""Seconds that an axis of time has at least."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of (seconds, part of the bar that is full). 1 is the bar."""

    points: tuple[tuple[float, float], ...]
    colour: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Plot area inside a picture of `width` x `height`, with the data's ranges."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    most_x: float
    most_y: float

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return self.left + (self.width - self.left - self.right) * value / (self.most_x or 1.0)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return self.height - self.bottom - (self.height - self.top - self.bottom) * value / (self.most_y or 1.0)


def part_of(value: float, full: float) -> float:
    """How full the bar is, on the logarithmic scale that evidence is read on: 0 at 1 and below, 1 at `full`."""
    return max(0.0, math.log(value) / math.log(full)) if value > 0 and full > 1 else 0.0


def evidence(lines: Sequence[Line], seconds: float) -> str:
    """Evidence of one rollout over time, with the bar at 100 %. Values beyond 125 % are cut there."""
    frame = Frame(230, 140, 34, 14, 8, 22, max(seconds, SHORTEST), 1.25)
    body = [
        _text(frame.left - 4, frame.y(level) + 3, f"{level:.0%}", "end") + _rule(frame, level, FAINT)
        for level in (0.0, 0.5)
    ]
    body.append(_rule(frame, 1.0, INK, "4 3") + _text(frame.left - 4, frame.y(1.0) + 3, "full", "end"))
    body += [_text(frame.x(at), frame.height - 8, f"{at:.0f} s", "middle") for at in ticks(frame.most_x)]
    for line in lines:
        points = " ".join(f"{frame.x(at):.1f},{frame.y(min(part, 1.25)):.1f}" for at, part in line.points)
        body.append(f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="2"/>')
        body += [
            f'<circle cx="{frame.x(at):.1f}" cy="{frame.y(min(part, 1.25)):.1f}" r="2.2" fill="{line.colour}"/>'
            for at, part in line.points
        ]
    return _svg(frame.width, frame.height, body)


def before_after(before: Sequence[float], after: Sequence[float]) -> str:
    """Shares of rows by bin as pairs of bars; the first and the last bin lie outside of what training saw."""
    frame = Frame(300, 130, 34, 8, 8, 22, max(len(before), 1), max([*before, *after, 0.01]) * 1.05)
    wide = (frame.width - frame.left - frame.right) / max(len(before), 1)
    body = [
        _text(frame.left - 4, frame.y(level) + 3, f"{level:.0%}", "end") + _rule(frame, level, FAINT)
        for level in (0.0, frame.most_y / 1.05)
    ]
    for at, (was, now) in enumerate(zip(before, after, strict=True)):
        for share, colour, offset in ((was, BEFORE, 0.1), (now, AFTER, 0.5)):
            x, y = frame.x(at) + offset * wide, frame.y(share)
            body.append(_bar(x, y, 0.4 * wide, frame.y(0.0) - y, colour))
    body.append(_text(frame.x(0.5), frame.height - 8, "below", "middle"))
    body.append(_text(frame.x(len(before) / 2), frame.height - 8, "low   to   high", "middle"))
    body.append(_text(frame.x(len(before) - 0.5), frame.height - 8, "above", "middle"))
    return _svg(frame.width, frame.height, body)


def two_bars(old: float, new: float) -> str:
    """Two shares from 0 to 1 as horizontal bars with their figures."""
    body = []
    for at, (name, share, colour) in enumerate((("old model", old, BEFORE), ("new model", new, NO_HARM))):
        y = 10 + at * 34
        body.append(
            _text(0, y + 16, name, "start") + _bar(64, y, 180, 22, "#eef1f4") + _bar(64, y, 180 * share, 22, colour)
        )
        body.append(_text(250, y + 16, f"{share:.1%}", "start"))
    return _svg(300, 84, body)


def strip(stages: Sequence[tuple[str, float, float]], total: float) -> str:
    """Stages as (title, began, seconds) on one line of time each."""
    height = 16.0 * len(stages) + 24
    frame = Frame(920, height, 250, 10, 2, 18, max(total, SHORTEST), 1.0)
    body = []
    for at, (title, began, seconds) in enumerate(stages):
        y = 2 + 16.0 * at
        wide = max(frame.x(began + seconds) - frame.x(began), 1.5)
        body.append(_text(frame.left - 8, y + 11, title, "end") + _bar(frame.x(began), y + 2, wide, 11, "#3f6d8e"))
    body += [_text(frame.x(at), height - 5, f"{at:.0f} s", "middle") for at in ticks(frame.most_x)]
    return _svg(frame.width, height, body)


def ticks(most: float) -> list[float]:
    """Three to seven round whole numbers from 0 to `most`, which is 4 or more."""
    size = max(1.0, 10.0 ** math.floor(math.log10(most / 4)))
    step = next((size * by for by in (1, 2, 5, 10) if most / (size * by) <= 6), most)
    return [step * at for at in range(int(most / step) + 1)]


def _svg(width: float, height: float, body: Sequence[str]) -> str:
    inner = "".join(body)
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" xmlns="http://www.w3.org/2000/svg">{inner}</svg>'


def _bar(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(height, 0.0):.1f}" fill="{colour}"/>'


def _rule(frame: Frame, level: float, colour: str, dashes: str = "none") -> str:
    y, end = frame.y(level), frame.width - frame.right
    place = f'x1="{frame.left:g}" x2="{end:g}" y1="{y:.1f}" y2="{y:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-dasharray="{dashes}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="10" fill="{INK}">{escape(text)}</text>'
