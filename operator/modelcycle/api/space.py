"""The searched space of an Experiment as frozen, typed data: one parameter and what it may be. Owns parsing; does no I/O."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from modelcycle.api.fields import SpecError, choice


class ParameterType(StrEnum):
    """Katib's parameter types."""

    DOUBLE = "double"
    """A decimal number between min and max."""
    INT = "int"
    """A whole number between min and max."""
    DISCRETE = "discrete"
    """A number of a list."""
    CATEGORICAL = "categorical"
    """A value of a list."""


class Distribution(StrEnum):
    """How random draws spread between min and max."""

    UNIFORM = "uniform"
    """Evenly."""
    LOG_UNIFORM = "logUniform"
    """Evenly in the logarithm."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One searched parameter. `low`, `high`, `step` for double and int, `values` for the others."""

    name: str
    type: ParameterType
    low: Decimal = Decimal(0)
    high: Decimal = Decimal(0)
    step: Decimal | None = None
    distribution: Distribution = Distribution.UNIFORM
    values: tuple[str, ...] = ()


def parse_parameter(raw: Mapping[str, Any], path: str) -> Parameter:
    """One item of `spec.parameters`. Raises SpecError."""
    space, kind = raw["feasibleSpace"], choice(raw, path, "parameterType", ParameterType)
    if kind in (ParameterType.DISCRETE, ParameterType.CATEGORICAL):
        values = tuple(map(str, space["list"]))
        if kind is ParameterType.DISCRETE:
            _refuse_no_numbers(values, f"{path}.feasibleSpace.list")
        return Parameter(raw["name"], kind, values=values)
    step = Decimal(space["step"]) if "step" in space else (Decimal(1) if kind is ParameterType.INT else None)
    distribution = choice(space, f"{path}.feasibleSpace", "distribution", Distribution, Distribution.UNIFORM)
    return Parameter(raw["name"], kind, Decimal(space["min"]), Decimal(space["max"]), step, distribution)


def _refuse_no_numbers(values: tuple[str, ...], path: str) -> None:
    """The pattern of the CRD admits 1e999, which no estimator can be given."""
    for text in values:
        try:
            is_number = math.isfinite(float(text))
        except ValueError:
            is_number = False
        if not is_number:
            raise SpecError(f"{path}: {text!r} is no number that a float can hold: correct it, or make it categorical")
