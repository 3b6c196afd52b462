"""Which assignment a trial index gets: a pure function of (seed, index, space). Owns random and grid search; does no I/O.

Draws come from SHA-256 over (seed, index, redraw, parameter), so they are the same on every machine and Python version, and a restarted
operator continues the same sequence.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from threading import Lock
from typing import Final

from modelcycle.api.experiment import MOST_TRIALS, Algorithm, ExperimentSpec
from modelcycle.api.space import Distribution, Parameter, ParameterType
from modelcycle_bundle.contract import JsonValue

REDRAWS: Final = 32
"""Draws before a finite space is enumerated for a point not used yet."""
_BELOW_ONE: Final = 1 - 2**-53
"""The greatest draw."""

Assignment = tuple[tuple[str, str], ...]
"""(parameter, value as text) in the order of the spec."""


@dataclass(frozen=True, slots=True)
class Space:
    """The searched parameters in the order of the spec."""

    parameters: tuple[Parameter, ...]

    @property
    def size(self) -> int | None:
        """Number of points; None when infinite. Without parameters there is one point."""
        sizes = [axis_size(p) for p in self.parameters]
        return None if None in sizes else math.prod(s for s in sizes if s is not None)


def planned_trials(spec: ExperimentSpec) -> int:
    """How many trials the search has: `maxTrialCount`, or fewer when the space has fewer points."""
    size = Space(spec.parameters).size
    return spec.max_trials if size is None else min(spec.max_trials, size)


def assignments(spec: ExperimentSpec) -> tuple[Assignment, ...]:
    """The assignment of each planned trial index. A decision asks for the few that it needs: see `assignment`."""
    return tuple(assignment(spec, index) for index in range(planned_trials(spec)))


def assignment(spec: ExperimentSpec, index: int) -> Assignment:
    """The assignment of one trial index, also beyond the plan: `maxTrialCount` may have been lowered meanwhile."""
    if index >= MOST_TRIALS:
        return ()  # of a Job whose label somebody changed
    return _search(spec.parameters, spec.algorithm, spec.seed).point(index)


def json_values(spec: ExperimentSpec, assignment: Assignment) -> dict[str, JsonValue]:
    """An assignment as the values that the estimator's constructor gets."""
    types = {p.name: p.type for p in spec.parameters}
    return {name: _json_value(types[name], text) for name, text in assignment}


def axis_size(parameter: Parameter) -> int | None:
    """Number of values of one parameter; None for a double without step."""
    if parameter.values:
        return len(parameter.values)
    if parameter.step is None:
        return None
    # Fractions: a step of 1e-90 over a range of 1e90 is legal and exceeds the precision of Decimal.
    return int((Fraction(parameter.high) - Fraction(parameter.low)) // Fraction(parameter.step)) + 1


class _Axis:
    """One parameter with what its values are asked for again and again."""

    def __init__(self, parameter: Parameter) -> None:
        self._parameter = parameter
        self._is_stepped = parameter.distribution is not Distribution.LOG_UNIFORM
        self.size = axis_size(parameter)
        self._values: dict[int, tuple[str, str]] = {}
        self.constant = (parameter.name, _draw(parameter, 0.0)) if self._has_one_value() else None

    def _has_one_value(self) -> bool:
        """Whether every draw gives the same. Even draws only: `low + u * width` never falls as u grows, the logarithm may by a bit."""
        if not self._is_stepped:
            return False
        return self.size == 1 or (
            self.size is None and _draw(self._parameter, 0.0) == _draw(self._parameter, _BELOW_ONE)
        )

    def drawn(self, seed: int, index: int, redraw: int) -> tuple[str, str]:
        if self.constant is not None:
            return self.constant
        u = _uniform(seed, index, redraw, self._parameter.name)
        if self.size is not None and self._is_stepped:
            return self.value(min(int(u * self.size), self.size - 1))
        return (self._parameter.name, _draw(self._parameter, u))

    def value(self, position: int) -> tuple[str, str]:
        found = self._values.get(position)
        if found is None:
            found = self._values[position] = (self._parameter.name, _value(self._parameter, position))
        return found


class _Search:
    """The points of one search in order, made when they are first asked for and kept: a function of its arguments alone.

    A point depends on all before it. Each costs at most `REDRAWS` draws, and all together look at no position of the space twice.
    """

    def __init__(self, parameters: tuple[Parameter, ...], algorithm: Algorithm, seed: int) -> None:
        self._axes = tuple(map(_Axis, parameters))
        self._algorithm = algorithm
        self._seed = seed
        self._size = Space(parameters).size
        self._found: list[Assignment] = []
        self._seen: set[Assignment] = set()
        self._next_free: dict[int, int] = {}
        """Position whose point is used -> a later one that may be free."""
        self._lock = Lock()

    def point(self, index: int) -> Assignment:
        """The point of a trial; none beyond the end of the space."""
        if self._size is not None and index >= self._size:
            return ()
        if self._algorithm is Algorithm.GRID:
            return self._at(index)
        with self._lock:  # decisions about two Experiments of the same search
            while len(self._found) <= index:
                point = self._draw(len(self._found))
                self._seen.add(point)
                self._found.append(point)
            return self._found[index]

    def _draw(self, index: int) -> Assignment:
        redraws = 1 if all(axis.constant is not None for axis in self._axes) else REDRAWS
        for redraw in range(redraws):
            point = tuple(axis.drawn(self._seed, index, redraw) for axis in self._axes)
            if point not in self._seen:
                return point
        if self._size is None:
            return point
        start = (int(_uniform(self._seed, index, REDRAWS, "") * (1 << 53)) * self._size) >> 53
        return self._free(start, self._size) or self._free(0, start) or point

    def _free(self, start: int, end: int) -> Assignment | None:
        """The first point at `start` or after it, before `end`, that is not used."""
        position, passed = start, []
        while position < end:
            if position not in self._next_free:
                point = self._at(position)
                if point not in self._seen:
                    break
                self._next_free[position] = position + 1
            passed.append(position)
            position = self._next_free[position]
        self._next_free.update(dict.fromkeys(passed, position))
        return point if position < end else None

    def _at(self, position: int) -> Assignment:
        """The point at `position` of a finite space in mixed radix, the last parameter fastest."""
        values: list[tuple[str, str]] = []
        for axis in reversed(self._axes):
            position, digit = divmod(position, axis.size or 1)
            values.append(axis.value(digit))
        return tuple(reversed(values))


_search = lru_cache(maxsize=64)(_Search)


def _uniform(seed: int, index: int, redraw: int, name: str) -> float:
    """In [0, 1), 53 bits."""
    digest = hashlib.sha256(f"{seed}/{index}/{redraw}/{name}".encode()).digest()
    return float((int.from_bytes(digest[:8], "big") >> 11) / (1 << 53))


def _draw(parameter: Parameter, u: float) -> str:
    size = axis_size(parameter)
    if parameter.distribution is Distribution.LOG_UNIFORM:
        return _log_draw(parameter, u)
    if size is not None:
        return _value(parameter, min(int(u * size), size - 1))
    low, high = float(parameter.low), float(parameter.high)
    return _decimal(low + u * (high - low), parameter)


def _log_draw(parameter: Parameter, u: float) -> str:
    low, high = float(parameter.low), float(parameter.high)
    if parameter.type is ParameterType.INT:
        drawn = math.floor(math.exp(math.log(low) + u * (math.log(high + 1) - math.log(low))))
        return str(max(int(parameter.low), min(int(parameter.high), drawn)))
    return _decimal(math.exp(math.log(low) + u * (math.log(high) - math.log(low))), parameter)


def _decimal(drawn: float, parameter: Parameter) -> str:
    """Six significant digits, inside the bounds: short enough to read and to paste."""
    short = Decimal(f"{drawn:.6g}")
    return _plain(max(parameter.low, min(parameter.high, short)))


def _value(parameter: Parameter, position: int) -> str:
    if parameter.values:
        return parameter.values[position]
    return _plain(min(parameter.high, parameter.low + position * (parameter.step or Decimal(1))))


def _plain(number: Decimal) -> str:
    """Fixed notation where that is short, else scientific."""
    text = format(number.normalize(), "f")
    return text if len(text) <= 24 else str(number.normalize()).replace("E", "e")


def _json_value(kind: ParameterType, text: str) -> JsonValue:
    if kind is ParameterType.INT:
        return int(text)
    if kind is ParameterType.DOUBLE:
        return float(text)
    value = _scalar(text)
    if kind is ParameterType.DISCRETE and not isinstance(value, int | float):
        return float(text)
    return value


def _scalar(text: str) -> JsonValue:
    """A JSON number, string, true, false or null as that; anything else as text."""
    try:
        value: object = json.loads(text, parse_constant=str)
    except ValueError:
        return text
    if isinstance(value, float) and not math.isfinite(value):
        return text
    return text if isinstance(value, Mapping | list) else value  # type: ignore[return-value]
