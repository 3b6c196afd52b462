"""Does a live object already hold what we render? Pure comparison, so that a fixpoint sends no apply at all.

Owns the meaning of "already holds": fields we do not render (defaults, other managers' additions) do not count, quantities are compared
by value, lists of named items by name.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

SCALARS: Final = (str, int, float)
"""Most of what is compared. Asked for first: asking whether something is a Mapping costs ten times as much."""
_KEYS: Final = ("name", "mountPath", "containerPort", "uid", "topologyKey")
_ATOMIC_MAPS: Final = frozenset({"selector"})
_QUANTITY_MAPS: Final = frozenset({"requests", "limits"})


def holds(live: Any, rendered: Any, at: str = "") -> bool:
    """Whether applying `rendered` over `live` would change nothing. `at` is the name of the field compared."""
    if isinstance(rendered, SCALARS):
        return bool(live == rendered)
    if isinstance(rendered, Mapping):
        return _holds_mapping(live, rendered, at)
    if isinstance(rendered, Sequence) and not isinstance(rendered, str):
        return _holds_list(live, rendered)
    return bool(live == rendered)


def _holds_mapping(live: Any, rendered: Mapping[str, Any], at: str) -> bool:
    if not isinstance(live, Mapping):
        return not rendered and live is None
    if at in _ATOMIC_MAPS and "matchLabels" not in rendered:
        return dict(live) == dict(rendered)
    if at in _QUANTITY_MAPS:
        return all(key in live and same_quantity(str(live[key]), str(value)) for key, value in rendered.items())
    return all(holds(live.get(key), value, key) for key, value in rendered.items())


def _holds_list(live: Any, rendered: Sequence[Any]) -> bool:
    if not isinstance(live, Sequence) or isinstance(live, str):
        return not rendered and live is None
    key = next((k for k in _KEYS if rendered and all(isinstance(i, Mapping) and k in i for i in rendered)), None)
    if key is None:
        return len(live) == len(rendered) and all(holds(a, b) for a, b in zip(live, rendered, strict=True))
    by_key = {item.get(key): item for item in live if isinstance(item, Mapping)}
    return all(item[key] in by_key and holds(by_key[item[key]], item) for item in rendered)


_QUANTITY: Final = re.compile(r"^([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|([KMGTPE]i)|([numkMGTPE]))?$")
_DECIMAL_SUFFIX: Final = {
    "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18,
}  # fmt: skip
_BINARY_SUFFIX: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def same_quantity(one: str, other: str) -> bool:
    """`0.5` and `500m` are the same: the API server stores the canonical spelling."""
    return one == other or (_value(one) is not None and _value(one) == _value(other))


def _value(text: str) -> Decimal | None:
    match = _QUANTITY.match(text)
    if match is None or text.count(".") > 1:
        return None
    number, exponent, binary, suffix = match.groups()
    if binary:
        return Decimal(number) * Decimal(2 ** _BINARY_SUFFIX[binary])
    scale = int(exponent[1:]) if exponent else _DECIMAL_SUFFIX.get(suffix or "", 0)
    return Decimal(number).scaleb(scale)
