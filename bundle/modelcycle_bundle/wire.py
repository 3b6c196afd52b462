"""Frozen dataclasses to JSON and back, strictly. Owns the wire form of tasks and results; knows none of them.

Standard library only: the operator imports it.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

T = TypeVar("T")
JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


class ContractError(ValueError):
    """The JSON is not the expected dataclass; the text names the path of the field."""


def to_json(value: object) -> str:
    """One compact line with sorted keys; fields that are None are left out. Raises ValueError for NaN and infinity."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def to_environment(value: object) -> str:
    """`to_json` for an environment variable of a pod: the kubelet would put other variables, credentials too, in place of `$(NAME)`."""
    return to_json(value).replace("$", "\\u0024")


def from_json(kind: type[T], text: str) -> T:
    """Parse a task or a result strictly: unknown fields are ignored (a newer writer), wrong types are refused.

    Raises ContractError with the field's path.
    """
    try:
        raw = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except ContractError:
        raise
    except (ValueError, RecursionError) as error:
        raise ContractError(f"not JSON: {error}") from error
    return typing.cast(T, _build(kind, raw, kind.__name__))


def _refuse_constant(name: str) -> float:
    raise ContractError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # 1e999 is valid JSON and would become infinity
        raise ContractError(f"the number {text[:20]} is out of range")
    return value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: _plain(item) for name, item in pairs if item is not None}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _build(kind: Any, raw: Any, path: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _build_optional(kind, raw, path)
    if origin is tuple:
        if not isinstance(raw, list):
            raise ContractError(f"{path}: expected a list")
        return tuple(_build(typing.get_args(kind)[0], item, f"{path}[{at}]") for at, item in enumerate(raw))
    if origin is not None:
        return _build_mapping(kind, raw, path)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, raw, path)
    return _build_scalar(kind, raw, path)


def _build_optional(kind: Any, raw: Any, path: str) -> Any:
    options = typing.get_args(kind)
    if len(options) > 2:  # JsonValue: any JSON stands as it is
        return raw
    return None if raw is None else _build(next(o for o in options if o is not type(None)), raw, path)


def _build_mapping(kind: Any, raw: Any, path: str) -> Any:
    if not isinstance(raw, dict):
        raise ContractError(f"{path}: expected an object")
    item_kind = typing.get_args(kind)[1]
    return {key: _build(item_kind, item, f"{path}.{key}") for key, item in raw.items()}


def _build_dataclass(kind: Any, raw: Any, path: str) -> Any:
    if not isinstance(raw, dict):
        raise ContractError(f"{path}: expected an object")
    hints = typing.get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)}
    given = {name: _build(hints[name], raw[name], f"{path}.{name}") for name in known & raw.keys()}
    # None is left out on the wire, so an absent field without a default may stand for it.
    absent = {
        f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING
    } - given.keys()
    given |= {name: None for name in absent if type(None) in typing.get_args(hints[name])}
    try:
        return kind(**given)
    except TypeError as error:
        raise ContractError(f"{path}: {error}") from error


def _build_scalar(kind: Any, raw: Any, path: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(raw)
        except ValueError as error:
            raise ContractError(f"{path}: {raw!r} is not one of {[m.value for m in kind]}") from error
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return _finite(str(raw))
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        raise ContractError(f"{path}: expected {kind.__name__}")
    return raw
