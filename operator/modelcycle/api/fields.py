"""Reading fields of a spec with errors that name the field: objects, text, whole numbers, durations, decimal strings.

Owns the wording of these errors. Knows no kind.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar

E = TypeVar("E", bound=StrEnum)


SHOWN: Final = 60
"""Characters of a wrong value that a message shows."""


class SpecError(ValueError):
    """A field of the spec cannot be used; the text starts with the field's path."""


def shown(value: object) -> str:
    """A wrong value as messages show it."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def mapping(parent: Mapping[str, Any], path: str, name: str) -> Mapping[str, Any]:
    """The object at `name`, empty when absent."""
    value = parent.get(name, {})
    if not isinstance(value, Mapping):
        raise SpecError(f"{path}.{name}: {shown(value)} is not an object")
    return value


def part(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object at `name` of what is stored; empty when there is none, or something else stands there."""
    value = parent.get(name)
    return value if isinstance(value, Mapping) else {}


def text(parent: Mapping[str, Any], path: str, name: str) -> str | None:
    """The text at `name`, None when absent."""
    value = parent.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise SpecError(f"{path}.{name}: {shown(value)} is not text, or empty")
    return value


def choice(parent: Mapping[str, Any], path: str, name: str, allowed: type[E], default: E | None = None) -> E:
    """The member of `allowed` at `name`; with a default it may be absent. Raises SpecError with the value and what is possible."""
    value = parent.get(name, default)
    found = next((member for member in allowed if member.value == value), None)
    if found is None:
        said = "required" if value is None else f"{shown(value)} is unknown"
        raise SpecError(f"{path}.{name}: {said}, expected one of {', '.join(allowed)}")
    return found


def integer(parent: Mapping[str, Any], path: str, name: str, default: int) -> int:
    """The whole number of 0 or more at `name`."""
    value = parent.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SpecError(f"{path}.{name}: {shown(value)} is not a whole number of 0 or more")
    return value


_DURATION: Final = re.compile(r"^(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?$")


def duration(path: str, value: object, default: timedelta) -> timedelta:
    """`1h30m`, `10m`, `30s`; None gives `default`. Raises SpecError naming `path`."""
    if value is None:
        return default
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None or not value:
        raise SpecError(f"{path}: {shown(value)} is not a duration such as 30s, 10m or 1h30m")
    hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def short_duration(path: str, value: object, default: timedelta) -> timedelta:
    """`1s` to `60s` or `100ms` to `99999ms`; None gives `default`. Raises SpecError naming `path`."""
    if value is None:
        return default
    match = re.fullmatch(r"(\d{1,5})(ms|s)", value) if isinstance(value, str) else None
    if match is None:
        raise SpecError(f"{path}: {shown(value)} is not a duration such as 1s or 250ms")
    number = int(match.group(1))
    return timedelta(seconds=number) if match.group(2) == "s" else timedelta(milliseconds=number)


def decimal(parent: Mapping[str, Any], path: str, name: str, default: float, low: float, high: float) -> float:
    """The whole number or decimal string at `name`, from `low` to `high`."""
    value = parent.get(name)
    if value is None:
        return default
    written = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"\d{1,6}(\.\d{1,8})?", written):
        raise SpecError(
            f'{path}.{name}: {shown(value)} is not a whole number or a quoted decimal such as "{default:g}"'
        )
    if not low <= float(written) <= high:
        raise SpecError(f"{path}.{name}: {shown(value)} is not within {low:g} and {high:g}")
    return float(written)


def as_text(value: object) -> object:
    """`value` with each number in it as text: 1 and "1" mean the same, and before whole numbers were allowed all were text."""
    if isinstance(value, Mapping):
        return {name: as_text(one) for name, one in value.items()}
    if isinstance(value, list):
        return [as_text(one) for one in value]
    return str(value)
