"""Server-side apply in small: who owns which field of an object, and what an apply merges and prunes.

Owns the merge rules that the operator relies on: maps per key, the well-known list-maps per item, other lists atomic. Knows no
schema, so a list-map that only a CRD declares is atomic here; the operator applies such lists whole. Never does I/O.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """A step of a path into a list-map: the item with these key values."""

    keys: tuple[tuple[str, Any], ...]


Path = tuple[str | Item, ...]
Owners = dict[str, set[Path]]
"""Field manager -> the leaves it owns."""

LIST_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "conditions": ("type",),
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
    "imagePullSecrets": ("name",),
}
DEFAULTED_KEYS: Final = {"protocol": "TCP"}
IDENTITY: Final = frozenset(
    {"name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"}
    | {"deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"}
)


def copied(value: Any) -> Any:
    """A copy of JSON, several times as fast as `copy.deepcopy`. Any mapping becomes a dict and any tuple a list, as on the wire."""
    if type(value) is str:
        return value
    if isinstance(value, dict | Mapping):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [copied(item) for item in value]
    return value


def copied_object(value: Mapping[str, Any]) -> JsonObject:
    """The same, of an object."""
    return {key: copied(item) for key, item in value.items()}


def copied_owners(owners: Owners) -> Owners:
    """Paths are immutable: the sets are what changes."""
    return {manager: set(paths) for manager, paths in owners.items()}


def _item_of(field: str, entry: Any) -> Item | None:
    if not isinstance(entry, Mapping):
        return None
    keys = LIST_KEYS.get(field)
    if field == "ports":
        keys = ("containerPort", "protocol") if "containerPort" in entry else ("port", "protocol")
    if keys is None:
        return None
    values = [(key, entry.get(key, DEFAULTED_KEYS.get(key))) for key in keys]
    return None if any(value is None for _, value in values) else Item(tuple(values))


def _items(field: str, value: Any) -> list[tuple[Item, Any]] | None:
    """The entries of a list-map with their keys, or None when the list is atomic."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return None
    found = [(_item_of(field, entry), entry) for entry in value]
    return None if any(item is None for item, _ in found) else [(item, e) for item, e in found if item is not None]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf of an object with its path: scalars, atomic lists, empty containers. Identity fields are nobody's."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            if path == () and key in ("apiVersion", "kind"):
                continue
            if path == ("metadata",) and key in IDENTITY:
                continue
            yield from leaves(inner, (*path, key))
        return
    items = _items(path[-1], value) if path and isinstance(path[-1], str) else None
    if items is None:
        if path and path != ("metadata",):
            yield path, value
        return
    for item, entry in items:
        yield from leaves(entry, (*path, item))


def merge(live: Any, applied: Any, field: str = "") -> Any:
    """`applied` laid over `live`: maps and list-maps are merged, everything else is replaced."""
    if isinstance(live, Mapping) and isinstance(applied, Mapping):
        merged = dict(live)
        for key, value in applied.items():
            merged[key] = merge(live[key], value, key) if key in live else copied(value)
        return merged
    before, after = _items(field, live), _items(field, applied)
    if before is None or after is None:
        return copied(applied)
    wanted = dict(after)
    kept = [merge(entry, wanted[item]) if item in wanted else entry for item, entry in before]
    present = {item for item, _ in before}
    return kept + [copied(entry) for item, entry in after if item not in present]


def apply(live: JsonObject, owners: Owners, manager: str, body: Mapping[str, Any]) -> JsonObject:
    """The object after a forced apply of `body` by `manager`. Changes `owners` in place."""
    wanted = without_nulls(body)
    now_owned = {path for path, _ in leaves(wanted)}
    merged: JsonObject = merge(live, wanted)
    values, before = dict(leaves(merged)), dict(leaves(live))
    for other, paths in owners.items():
        if other != manager:
            paths -= {p for p in now_owned if values.get(p) != before.get(p)}
    gone = owners.get(manager, set()) - now_owned
    owners[manager] = now_owned
    for path in sorted(gone, key=len, reverse=True):
        if not any(_covers(path, held) for paths in owners.values() for held in paths):
            _remove(merged, path, owners)
    return merged


def merge_patched(live: Mapping[str, Any], patch: Mapping[str, Any]) -> JsonObject:
    """RFC 7386."""
    merged = copied_object(live)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            before = merged.get(key)
            merged[key] = merge_patched(before if isinstance(before, Mapping) else {}, value)
        else:
            merged[key] = copied(value)
    return merged


def take(owners: Owners, manager: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """An update (not an apply) by `manager`: what it changed is its alone, what it removed is nobody's."""
    old, new = dict(leaves(before)), dict(leaves(after))
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    for paths in owners.values():
        paths -= changed
        paths &= set(new)
    owners.setdefault(manager, set()).update(changed)


def without_nulls(body: Mapping[str, Any]) -> JsonObject:
    """A copy without null fields: the API server drops them."""
    return {key: _without_nulls(inner) for key, inner in body.items() if inner is not None}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_nulls(value)
    if isinstance(value, list | tuple):
        return [_without_nulls(inner) for inner in value]
    return value


def _covers(path: Path, held: Path) -> bool:
    """Whether someone who owns `held` still needs `path` to exist."""
    return held[: len(path)] == path


def _child(node: Any, step: str | Item, field: str) -> Any:
    if isinstance(step, str):
        return node.get(step) if isinstance(node, Mapping) else None
    if not isinstance(node, list):
        return None
    return next((entry for entry in node if _item_of(field, entry) == step), None)


def _remove(tree: JsonObject, path: Path, owners: Owners) -> None:
    """Remove one leaf, then the containers that this leaves empty; an item whose key nobody owns goes whole."""
    for length, step in enumerate(path):
        inside = path[: length + 1]
        if isinstance(step, Item) and not any(_covers(inside, held) for paths in owners.values() for held in paths):
            path = inside
            break
    while path:
        nodes: list[Any] = [tree]
        for position, step in enumerate(path[:-1]):
            field = path[position - 1] if position else ""
            nodes.append(_child(nodes[-1], step, field if isinstance(field, str) else ""))
        parent, last = nodes[-1], path[-1]
        if isinstance(last, str) and isinstance(parent, dict):
            parent.pop(last, None)
        elif isinstance(last, Item) and isinstance(parent, list):
            field = path[-2]
            parent[:] = [e for e in parent if _item_of(field if isinstance(field, str) else "", e) != last]
        if parent or parent is None or any(_covers(path[:-1], h) for paths in owners.values() for h in paths):
            return
        path = path[:-1]
