"""What the verbs write: one more entry in `spec.requests` of a ModelDeployment, by a JSON patch that names nothing else.

Owns which digest a verb is about, the entry's form, and that nobody's entry gets lost. Never writes another field, and never an entry
under another name than the user's: the API server would refuse it. Never applies: `kubectl apply --server-side` takes over every field
that somebody applied on the client side, and the next apply removes what it leaves out.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from modelcycle.api.fields import part
from modelcycle.api.rollout import Verb
from modelcycle.cli import views
from modelcycle.cli.kubectl import Kubectl, on_latest
from modelcycle.cli.views import Entry, Object, items, short, text

MANAGER: Final = "modelcycle-cli"
"""Field manager of the entries; Flux takes over those that start with `kubectl`."""
CLIENT_SIDE: Final = "kubectl-client-side-apply"
"""Field manager under which kubectl applies on the client side, and from which kubectl, Argo CD and Flux migrate."""
LIMIT: Final = 32
"""Entries that the schema allows."""
_KIND: Final = "modeldeployment.modelcycle.dev"
_SHORTEST: Final = 8
_BEFORE: Final = frozenset({Verb.APPROVE, Verb.PROMOTE_FULL})
"""Verbs that may name a digest before, or without, its canary."""
_WHOLE: Final = re.compile(r"^sha256:[0-9a-f]{64}$")


Operation = Mapping[str, Any]
"""One operation of a JSON patch (RFC 6902)."""


class Refusal(Exception):
    """The verb makes no sense for this object now; the text says why and what would."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which ModelDeployment."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asks for. `prefix`: start of the digest it must be about, "" for the one that the verb implies."""

    verb: Verb
    by: str
    reason: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The entry that stands for the wish, and whether it was there already."""

    entry: Entry
    is_new: bool


def find(kubectl: Kubectl, target: Target) -> Object:
    """The ModelDeployment. Raises Refusal naming those that are there."""
    found = kubectl.get(_KIND, target.namespace, target.name)
    if found is None:
        names = [o["metadata"]["name"] for o in kubectl.list(_KIND, target.namespace)]
        there = f"there are {', '.join(names)}" if names else "there is none"
        raise Refusal(f"no ModelDeployment {target.name} in namespace {target.namespace}: {there} (-n names another)")
    return found


def ask(kubectl: Kubectl, target: Target, wanted: Wanted, new_id: Callable[[], str], *options: str) -> Asked:
    """Add the entry, once. `options` go to kubectl patch. Raises Refusal, or KubectlError as the API server says it."""

    def attempt() -> Asked:
        obj = find(kubectl, target)
        entry = Entry(new_id(), wanted.verb, subject(obj, wanted), wanted.by, wanted.reason)
        same = next((p for p in views.pending(obj) if _means(p) == _means(entry)), None)
        if same is not None:
            return Asked(same, is_new=False)
        kubectl.patch(_KIND, target.namespace, target.name, patch(obj, entry), MANAGER, *options)
        return Asked(entry, is_new=True)

    return on_latest(attempt)


def new_id(now: datetime, entropy: bytes) -> str:
    """An id that sorts by time, in UTC: `20261125t142301z-3f9a1c`."""
    return f"{now:%Y%m%dt%H%M%Sz}-{entropy.hex()}"


def patch(obj: Object, entry: Entry) -> Sequence[Operation]:
    """The JSON patch that adds `entry` to `obj` as it was read. Our executed entries go, nobody else's field or entry is touched.

    Raises Refusal when the list is full.
    """
    entries = items(part(obj, "spec"), "requests")
    ended = _owned(obj) - {p.id for p in views.pending(obj)}
    done = [at for at, e in enumerate(entries) if e.get("id") in ended]
    if len(entries) - len(done) >= LIMIT:
        raise Refusal(f"spec.requests is full ({LIMIT} entries): remove executed ones from Git, or withdraw some")
    added = _written(entry)
    return [
        # Replaced by itself: the API server answers Conflict when somebody wrote the object meanwhile.
        {"op": "replace", "path": "/metadata/resourceVersion", "value": obj["metadata"]["resourceVersion"]},
        *_handed_back(obj),
        *({"op": "remove", "path": f"/spec/requests/{at}"} for at in reversed(done)),
        {"op": "add", "path": "/spec/requests/-", "value": added}
        if entries
        else {"op": "add", "path": "/spec/requests", "value": [added]},
    ]


def _handed_back(obj: Object) -> Sequence[Operation]:
    """Give back what an apply of an earlier plugin took over from whoever applies on the client side: all but the requests."""
    managers = items(obj["metadata"], "managedFields")
    taken = [m for m in managers if m.get("manager") == MANAGER and m.get("operation") == "Apply" and _not_requests(m)]
    if not taken:
        return ()
    kept = [m for m in managers if m not in taken]
    theirs = next((m for m in kept if m.get("manager") == CLIENT_SIDE and not m.get("subresource")), None)
    merged: Mapping[str, Any] = part(theirs, "fieldsV1") if theirs else {}
    for m in taken:
        merged = _union(merged, _not_requests(m))
    entry = {
        **(theirs or {key: taken[0][key] for key in ("apiVersion", "time", "fieldsType") if key in taken[0]}),
        "manager": CLIENT_SIDE,
        "operation": "Update",
        "fieldsV1": merged,
    }
    kept = [m for m in kept if m is not theirs]
    return ({"op": "replace", "path": "/metadata/managedFields", "value": [*kept, entry]},)


def _not_requests(manager: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a manager but the requests; empty when it has no other."""
    fields = part(manager, "fieldsV1")
    spec = {name: value for name, value in part(fields, "f:spec").items() if name not in (".", "f:requests")}
    others = {name: value for name, value in fields.items() if name != "f:spec"}
    return others | ({"f:spec": spec} if spec else {})


def _union(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """Both sets of fields in the form of `fieldsV1`."""
    return {**one, **other, **{name: _union(one[name], other[name]) for name in one.keys() & other.keys()}}


def subject(obj: Object, wanted: Wanted) -> str:
    """The digest that the verb is about. Raises Refusal when there is none."""
    candidates = _candidates(obj, wanted.verb)
    if wanted.verb in _BEFORE and not candidates and _WHOLE.match(wanted.prefix):
        return wanted.prefix  # said before its pods are there
    if not candidates:
        raise Refusal(_nothing(obj, wanted.verb))
    if not wanted.prefix:
        return candidates[0]
    prefix = wanted.prefix.removeprefix("sha256:")
    if len(prefix) < _SHORTEST:
        raise Refusal(f"--digest {wanted.prefix}: give at least {_SHORTEST} hex digits")
    found = [digest for digest in candidates if digest.removeprefix("sha256:").startswith(prefix)]
    if not found:
        there = ", ".join(short(digest) for digest in candidates)
        raise Refusal(f"--digest {wanted.prefix}: {wanted.verb} is possible for {there} only")
    return found[0]


def _candidates(obj: Object, verb: Verb) -> list[str]:
    """Digests that a verb can be about, the one it means without saying first."""
    status = part(obj, "status")
    match verb:
        case Verb.UNDO:
            found = [text(part(status, "stable"), "digest")] if _served_before(obj) else []
        case Verb.RETRY:
            latest_first = sorted(items(status, "rejected"), key=lambda r: text(r, "at"), reverse=True)
            wished = text(part(part(obj, "spec"), "model"), "digest")
            rejected = [text(r, "digest") for r in latest_first]
            found = sorted(rejected, key=lambda digest: digest != wished)
        case _:
            found = [text(part(status, "canary"), "digest")]
    return [digest for digest in found if digest]


def _served_before(obj: Object) -> bool:
    status = part(obj, "status")
    return "retiring" in status or any(text(h, "from") for h in items(status, "history"))


def _nothing(obj: Object, verb: Verb) -> str:
    state = views.common(obj)
    now = f"{state.name} is {state.reason}" + (f" ({state.message})" if state.message else "")
    match verb:
        case Verb.UNDO:
            return f"no revision served before this one: {now}"
        case Verb.RETRY:
            return f"nothing is rejected: {now}"
        case _:
            return f"there is no canary to {verb.value.lower().removesuffix('full')}: {now}"


def _means(entry: Entry) -> tuple[str, str, str]:
    return entry.verb, entry.digest, entry.by


def _written(entry: Entry) -> dict[str, str]:
    plain = {"id": entry.id, "verb": str(entry.verb), "digest": entry.digest, "by": entry.by, "reason": entry.reason}
    return {name: value for name, value in plain.items() if value}


def _owned(obj: Object) -> set[str]:
    """Ids of the entries that MANAGER wrote, as the API server keeps book of it."""
    applied = [m for m in items(obj["metadata"], "managedFields") if m.get("manager") == MANAGER]
    return {
        str(e["id"])
        for e in items(part(obj, "spec"), "requests")
        for m in applied
        if f'k:{{"id":"{e["id"]}"}}' in part(part(part(m, "fieldsV1"), "f:spec"), "f:requests")
    }
