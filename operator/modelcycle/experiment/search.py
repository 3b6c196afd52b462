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
from typing import Final

from modelcycle.api.experiment import Algorithm, Distribution, ExperimentSpec, Parameter, ParameterType
from modelcycle_bundle.contract import JsonValue

REDRAWS: Final = 32
"""Draws before a finite space is enumerated for a point not used yet."""

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
    """The assignment of each planned trial index."""
    return _sequence(Space(spec.parameters), spec.algorithm, spec.seed, planned_trials(spec))


def assignment(spec: ExperimentSpec, index: int) -> Assignment:
    """The assignment of one trial index, also beyond the plan: `maxTrialCount` may have been lowered meanwhile."""
    if index < planned_trials(spec):
        return assignments(spec)[index]
    size = Space(spec.parameters).size
    beyond = _sequence(Space(spec.parameters), spec.algorithm, spec.seed, min(index + 1, size or index + 1))
    return beyond[index] if index < len(beyond) else ()


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


@lru_cache(maxsize=64)
def _sequence(space: Space, algorithm: Algorithm, seed: int, count: int) -> tuple[Assignment, ...]:
    if algorithm is Algorithm.GRID:
        return tuple(_point(space, index) for index in range(count))
    seen: set[Assignment] = set()
    found: list[Assignment] = []
    for index in range(count):
        assignment = _next(space, seed, index, seen)
        seen.add(assignment)
        found.append(assignment)
    return tuple(found)


def _next(space: Space, seed: int, index: int, seen: set[Assignment]) -> Assignment:
    for redraw in range(REDRAWS):
        assignment = tuple((p.name, _draw(p, _uniform(seed, index, redraw, p.name))) for p in space.parameters)
        if assignment not in seen:
            return assignment
    if space.size is None:
        return assignment
    start = (int(_uniform(seed, index, REDRAWS, "") * (1 << 53)) * space.size) >> 53
    walk = (_point(space, (start + offset) % space.size) for offset in range(space.size))
    return next((point for point in walk if point not in seen), assignment)


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


def _point(space: Space, position: int) -> Assignment:
    """The point at `position` of a finite space in mixed radix, the last parameter fastest."""
    values: list[tuple[str, str]] = []
    for parameter in reversed(space.parameters):
        position, digit = divmod(position, axis_size(parameter) or 1)
        values.append((parameter.name, _value(parameter, digit)))
    return tuple(reversed(values))


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
