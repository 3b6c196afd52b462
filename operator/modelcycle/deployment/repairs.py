"""Children that others have changed: what is not as asked for, and whether putting it back once more would change anything. Pure.

Owns the meaning of "not ours" in a pod template, and the end of a fight: a write that came back changed is not repeated, since a policy of
the cluster stands behind it, and a controller that undoes our writes is answered a few times an hour. What was asked for last is kept in
an annotation of the child; whatever is asked for newly is always written. Webhooks that change pods themselves are not seen here.
"""

import copy
import hashlib
import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from modelcycle.api.conditions import timestamp
from modelcycle.deployment.compare import SCALARS, holds
from modelcycle.engine.plan import Action, Apply, Create, Repair
from modelcycle.kube.kinds import DEPLOYMENT, GROUP, SERVICE, Kind

ANNOTATION: Final = f"{GROUP}/asked"
"""JSON on a child: `spec` (hash of what was asked for), `generation` (at which it was: a write that moved
nothing came back changed), `again` (repeats within WINDOW), `at`."""
REPEATS: Final = 3
WINDOW: Final = timedelta(hours=1)

_OURS_ALONE: Final[Mapping[Kind, tuple[tuple[str, ...], ...]]] = {
    DEPLOYMENT: (("template", "spec"),),
    SERVICE: (("ports",), ("selector",)),
}
"""Below these fields of a spec, what we did not write and the API server did not fill in is put back."""
_NEVER_SET: Final[Mapping[Kind, tuple[str, ...]]] = {DEPLOYMENT: ("paused",), SERVICE: ("publishNotReadyAddresses",)}
"""Fields of a spec beside those whose being set keeps pods from following it, or shows users pods that are not Ready."""
_ITEM_KEYS: Final = ("name", "mountPath", "topologyKey")
_FILLED_IN: Final = frozenset(
    {
        ("restartPolicy", "Always"),
        ("dnsPolicy", "ClusterFirst"),
        ("schedulerName", "default-scheduler"),
        ("terminationGracePeriodSeconds", 30),
        ("terminationMessagePath", "/dev/termination-log"),
        ("terminationMessagePolicy", "File"),
        ("imagePullPolicy", "IfNotPresent"),
        ("protocol", "TCP"),
        ("scheme", "HTTP"),
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
        ("apiVersion", "v1"),
        ("divisor", "0"),
        ("defaultMode", 420),
        ("procMount", "Default"),
        ("recursiveReadOnly", "Disabled"),
        ("nodeAffinityPolicy", "Honor"),
        ("nodeTaintsPolicy", "Ignore"),
    }
)
"""Fields with the value that the API server gives them. One that is missing here is written once and then told of, not fought over."""

Path = tuple[str, ...]
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Altered:
    """A child that stays other than asked for, who is behind it, and when it is tried again."""

    kind: str
    name: str
    fields: tuple[str, ...]
    by: str
    again_at: datetime

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {_shown(self.fields)} stay other than asked for, {self.by}"


@dataclass(frozen=True, slots=True)
class _Asked:
    spec: str = ""
    generation: int | None = None
    again: int = 0
    at: datetime | None = None


def put_back(
    kind: Kind, live: Mapping[str, Any], wanted: Mapping[str, Any], now: datetime
) -> Apply | Repair | Altered | None:
    """What makes `live` hold `wanted` and nothing else where it is ours alone; None when it does."""
    foreign = list(_foreign(kind, live["spec"], wanted["spec"]))
    changed = list(_changed(live, wanted, ()))
    if not foreign and not changed:
        return None
    fields = tuple(dict.fromkeys(_text(path) for path in (*changed, *(("spec", *path) for path in foreign))))
    generation = live["metadata"].get("generation")
    in_spec = generation is not None and (bool(foreign) or any(path[0] == "spec" for path in changed))
    asked, digest = _read(live), _hash(wanted["spec"])
    repeats = 0
    if asked.spec == digest and asked.at is not None and now - asked.at < WINDOW:
        name, again_at = wanted["metadata"]["name"], asked.at + WINDOW
        if in_spec and generation == asked.generation:
            return Altered(kind.kind, name, fields, "a policy of the cluster changes what is written", again_at)
        if asked.again >= REPEATS:
            return Altered(kind.kind, name, fields, "somebody undoes what is written again and again", again_at)
        repeats = asked.again + 1
    body = marked(wanted, now, generation if in_spec else None, repeats)
    # What is asked for newly differs by our own will, not by somebody's hand.
    undone = fields if asked.spec == digest else tuple(_text(("spec", *path)) for path in foreign)
    if not foreign:
        return Apply(kind, body, live["metadata"]["uid"], undone)
    return Repair(kind, _patch(live, body, foreign), undone)


def marked(wanted: Mapping[str, Any], now: datetime, generation: int | None = None, repeats: int = -1) -> Json:
    """The child with the record of what is asked for. The first repair of a new one is no repeat."""
    record = {"spec": _hash(_content(wanted)), "generation": generation, "again": repeats, "at": timestamp(now)}
    annotations = {ANNOTATION: json.dumps(record, sort_keys=True)}
    return {**wanted, "metadata": {**wanted["metadata"], "annotations": annotations}}


def undone(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields of a child without a spec that others changed since the same was asked for."""
    if _read(live).spec != _hash(_content(wanted)):
        return ()
    return tuple(dict.fromkeys(_text(path) for path in _changed(live, wanted, ())))


def notes(actions: Iterable[Action], expected: Container[tuple[str, str]]) -> Iterator[str]:
    """One sentence for each child that is put back: object and fields. `expected`: kind and name of those that had been there."""
    for action in actions:
        match action:
            case Apply(kind, body, _, fields) if fields:
                yield f"{kind.kind} {body['metadata']['name']}: {_shown(fields)} changed by others, put back"
            case Repair(kind, patch, fields) if fields:
                yield f"{kind.kind} {patch['metadata']['name']}: {_shown(fields)} changed by others, put back"
            case Create(kind, body) if (kind.kind, body["metadata"]["name"]) in expected:
                yield f"{kind.kind} {body['metadata']['name']} was deleted by others, made again"


def _shown(fields: Sequence[str]) -> str:
    return ", ".join(fields[:5]) + (f" and {len(fields) - 5} more" if len(fields) > 5 else "")


def _content(child: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = child["spec"] if "spec" in child else child["data"]
    return found


def _patch(live: Mapping[str, Any], wanted: Mapping[str, Any], foreign: Iterable[Path]) -> dict[str, Any]:
    """A merge patch: all that we write, lists as a whole, null for what is not ours."""
    spec = copy.deepcopy(dict(wanted["spec"]))
    for path in foreign:
        if any(step.startswith("[") for step in path):
            continue  # its list is replaced
        inner = spec
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = None
    seen = {name: live["metadata"][name] for name in ("uid", "resourceVersion") if name in live["metadata"]}
    metadata = {name: wanted["metadata"][name] for name in ("namespace", "name", "labels", "annotations")}
    return {"metadata": {**metadata, **seen}, "spec": spec}


def _foreign(kind: Kind, live: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Path]:
    for name in _NEVER_SET[kind]:
        if live.get(name) and name not in wanted:
            yield (name,)
    for root in _OURS_ALONE[kind]:
        yield from _surplus(_at(live, root), _at(wanted, root), root)


def _surplus(live: Any, wanted: Any, path: Path) -> Iterator[Path]:
    if isinstance(live, SCALARS):
        return
    if isinstance(live, Mapping) and isinstance(wanted, Mapping):
        for name, value in live.items():
            if name in wanted:
                yield from _surplus(value, wanted[name], (*path, name))
            elif not _is_filled_in(name, value):
                yield (*path, name)
    elif _is_list_of_items(live) and _is_list_of_items(wanted):
        left = {_item_key(item): item for item in wanted}
        for item in live:
            key = _item_key(item)
            ours = left.pop(key, None)
            if ours is None:
                yield (*path, f"[{key}]")
            else:
                yield from _surplus(item, ours, (*path, f"[{key}]"))


def _is_filled_in(name: str, value: Any) -> bool:
    """By the API server. False and 0 are values: a user id of 0 is root."""
    if value is None or (isinstance(value, str | Mapping | Sequence) and not value):
        return True
    return name == "nodePort" or (isinstance(value, str | int) and (name, value) in _FILLED_IN)


def _is_list_of_items(value: Any) -> bool:
    return (
        isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(item, Mapping) for item in value)
    )


def _item_key(item: Mapping[str, Any]) -> str:
    port = item.get("containerPort") or item.get("port")
    if port:
        return f"{port}/{item.get('protocol', 'TCP')}"
    return next((str(item[key]) for key in _ITEM_KEYS if key in item), "")


def _changed(live: Any, wanted: Any, path: Path) -> Iterator[Path]:
    """Our own fields that are other than asked for, as deep as they can be named."""
    if holds(live, wanted, path[-1] if path else ""):
        return
    if isinstance(live, Mapping) and isinstance(wanted, Mapping):
        deeper = [found for name in wanted for found in _changed(live.get(name), wanted[name], (*path, name))]
        yield from deeper or [path]
    elif _is_list_of_items(live) and _is_list_of_items(wanted):
        there = {_item_key(item): item for item in live}
        named = [(f"[{_item_key(item)}]", there.get(_item_key(item)), item) for item in wanted]
        deeper = [found for step, item, ours in named for found in _changed(item, ours, (*path, step))]
        yield from deeper or [path]
    else:
        yield path


def _text(path: Path) -> str:
    return ".".join(path).replace(".[", "[")


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _hash(spec: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True, default=dict).encode()).hexdigest()[:10]


def _read(live: Mapping[str, Any]) -> _Asked:
    """An annotation that cannot be read was written by others: nothing was asked for."""
    try:
        plain = json.loads((live["metadata"].get("annotations") or {}).get(ANNOTATION, ""))
        at = datetime.fromisoformat(plain["at"].replace("Z", "+00:00"))
        return _Asked(str(plain["spec"]), plain["generation"], int(plain["again"]), at)
    except (ValueError, TypeError, KeyError, AttributeError):
        return _Asked()
