"""A Kubernetes API in memory: implements `kube.port.Kube` with the semantics that the operator relies on.

Owns objects, resource versions, field ownership and background garbage collection. No watches, no admission, no defaulting; a clock and
uids that repeat. What it promises is what `conformance/facts.py` shows on it and on the real API server alike.

Tests act on the world through the synchronous methods `seed`, `edit`, `set_status`, `remove` (other people and controllers: no faults), and
read it through `read` and `find`. Faults: see `fakes.faults`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from fakes import admission, field_ownership
from fakes.faults import Hook, Read, Verb, Write, no_fault
from fakes.field_ownership import JsonObject, Owners, copied, copied_object, copied_owners
from modelcycle.api.conditions import timestamp
from modelcycle.kube import kinds
from modelcycle.kube.errors import AlreadyExists, Conflict, NotFound, Unavailable
from modelcycle.kube.kinds import Kind
from modelcycle.kube.port import FIELD_MANAGER, STATUS_FIELD_MANAGER, Object

Objects = list[JsonObject]
Place = tuple[str, str, str, str]
"""Group, plural, namespace, name."""

WITHOUT_STATUS: Final = frozenset({kinds.CONFIG_MAP, kinds.CONTROLLER_REVISION, kinds.EVENT, kinds.LEASE})
WITHOUT_GENERATION: Final = WITHOUT_STATUS | {kinds.SERVICE, kinds.NAMESPACE}
POD_LOG: Final = Kind("", "v1", "pods/log", "PodLog")
"""For hooks on reads: not a kind of its own."""
START: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Entry:
    kind: Kind
    body: JsonObject
    owners: Owners = field(default_factory=dict)


class MemoryKube:
    """See the module. `clock` gives creation times; `collect_at_once` False leaves garbage until `collect_garbage`."""

    def __init__(self, clock: Callable[[], datetime] = lambda: START, *, collect_at_once: bool = True) -> None:
        self.clock = clock
        self.collect_at_once = collect_at_once
        self.before_write: Hook[Write] = no_fault
        self.after_write: Hook[Write] = no_fault
        self.before_read: Hook[Read] = no_fault
        self.mutate: Callable[[Kind, JsonObject], None] = _mutate_nothing
        """A mutating admission policy: changes the object of a write in place, before it is stored."""
        self.writes: list[Write] = []
        """Every write that reached the store through the port, in order, also those that changed nothing."""
        self.logs: dict[tuple[str, str], str] = {}
        """Namespace and pod to what its container has written."""
        self.log_reads: list[str] = []
        """Pods whose logs were asked for."""
        self._entries: dict[Place, _Entry] = {}
        self._revision = 0
        self._made = 0

    # The port ----------------------------------------------------------------------------------------------------

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        self.before_read(Read(kind, namespace, name))
        return self.read(kind, namespace, name)

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None = None) -> list[Object]:
        self.before_read(Read(kind, namespace or "", ""))
        return list(self.find(kind, namespace, labels))

    async def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        name = admission.name_of(kind, body)
        write = self._begin(Verb.CREATE, kind, namespace, name)
        if self._place(kind, namespace, name) in self._entries:
            raise AlreadyExists(f'{kind.plural} "{name}" already exists', status=409)
        made = self._insert(kind, namespace, body, FIELD_MANAGER)
        return self._end(write, made, changed=True)

    async def apply(self, kind: Kind, namespace: str, body: Object) -> Object:
        name = admission.name_of(kind, body)
        write = self._begin(Verb.APPLY, kind, namespace, name)
        entry = self._entries.get(self._place(kind, namespace, name))
        wanted = {key: value for key, value in body.items() if not (key == "status" and kind not in WITHOUT_STATUS)}
        uid = body.get("metadata", {}).get("uid")
        if entry is None:
            if uid:
                raise Conflict(f"uid mismatch: {uid} was given and no {kind.kind} {name} exists", status=409)
            return self._end(write, self._insert(kind, namespace, body, FIELD_MANAGER), changed=True)
        self._precondition(entry, uid, body.get("metadata", {}).get("resourceVersion"))
        owners = copied_owners(entry.owners)
        wanted["metadata"] = {k: v for k, v in body["metadata"].items() if k not in field_ownership.IDENTITY}
        after = field_ownership.apply(entry.body, owners, FIELD_MANAGER, wanted)
        changed = self._commit(entry, after, owners)
        return self._end(write, entry.body, changed=changed)

    async def replace(self, kind: Kind, namespace: str, body: Object) -> Object:
        name = admission.name_of(kind, body)
        write = self._begin(Verb.REPLACE, kind, namespace, name)
        entry = self._existing(kind, namespace, name)
        metadata = body.get("metadata", {})
        self._precondition(entry, metadata.get("uid"), metadata.get("resourceVersion"))
        after = field_ownership.without_nulls(body)
        kept = {k: v for k, v in entry.body["metadata"].items() if k in field_ownership.IDENTITY}
        after["metadata"] = {**{k: v for k, v in metadata.items() if k not in field_ownership.IDENTITY}, **kept}
        after |= {"apiVersion": kind.api_version, "kind": kind.kind}
        if kind not in WITHOUT_STATUS:
            after.pop("status", None)
            after |= {"status": entry.body["status"]} if "status" in entry.body else {}
        owners = copied_owners(entry.owners)
        field_ownership.take(owners, FIELD_MANAGER, entry.body, after)
        changed = self._commit(entry, after, owners)
        return self._end(write, entry.body, changed=changed)

    async def apply_status(
        self, kind: Kind, namespace: str, name: str, status: Object, resource_version: str
    ) -> Object:
        write = self._begin(Verb.APPLY_STATUS, kind, namespace, name)
        entry = self._existing(kind, namespace, name)
        self._precondition(entry, None, resource_version)
        owners = copied_owners(entry.owners)
        after = field_ownership.apply(entry.body, owners, STATUS_FIELD_MANAGER, {"status": dict(status)})
        changed = self._commit(entry, after, owners)
        return self._end(write, entry.body, changed=changed)

    async def merge_patch(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        write = self._begin(Verb.MERGE_PATCH, kind, namespace, name)
        entry = self._existing(kind, namespace, name)
        metadata = patch.get("metadata", {})
        self._precondition(entry, metadata.get("uid"), metadata.get("resourceVersion"))
        after = field_ownership.merge_patched(entry.body, patch)
        after["metadata"] |= {k: v for k, v in entry.body["metadata"].items() if k in field_ownership.IDENTITY}
        if kind not in WITHOUT_STATUS:
            after.pop("status", None)
            after |= {"status": entry.body["status"]} if "status" in entry.body else {}
        owners = copied_owners(entry.owners)
        field_ownership.take(owners, FIELD_MANAGER, entry.body, after)
        changed = self._commit(entry, after, owners)
        return self._end(write, entry.body, changed=changed)

    async def patch_pod_annotation(self, namespace: str, name: str, uid: str, key: str, value: str) -> Object:
        write = self._begin(Verb.PATCH_POD, kinds.POD, namespace, name)
        entry = self._existing(kinds.POD, namespace, name)
        self._precondition(entry, uid, None)
        after = copied(entry.body)
        after["metadata"].setdefault("annotations", {})[key] = value
        owners = copied_owners(entry.owners)
        field_ownership.take(owners, FIELD_MANAGER, entry.body, after)
        changed = self._commit(entry, after, owners)
        return self._end(write, entry.body, changed=changed)

    async def log(self, namespace: str, pod: str, container: str, tail_lines: int, limit_bytes: int) -> str:
        self.before_read(Read(POD_LOG, namespace, pod))
        self.log_reads.append(pod)
        self._existing(kinds.POD, namespace, pod)
        lines = self.logs.get((namespace, pod), "").splitlines(keepends=True)[-tail_lines:]
        return "".join(lines).encode()[:limit_bytes].decode(errors="replace")

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        write = self._begin(Verb.DELETE, kind, namespace, name)
        entry = self._entries.get(self._place(kind, namespace, name))
        if entry is not None:
            self._precondition(entry, uid, None)
            self._delete(entry)
        self._end(write, {}, changed=entry is not None)

    # What tests do to the world: never faulty, never logged as a write of the operator ----------------------------

    def seed(self, kind: Kind, namespace: str, body: Object, *, manager: str = "kubectl") -> JsonObject:
        """Create an object as somebody else. Its status, uid and creation time are kept when given: a seed is a history."""
        if self._place(kind, namespace, admission.name_of(kind, body)) in self._entries:
            raise AlreadyExists(f"{kind.kind} is there already: {body['metadata']['name']}", status=409)
        made = self._insert(kind, namespace, body, manager)
        given = body["metadata"]
        made["metadata"] |= {key: given[key] for key in ("uid", "creationTimestamp") if key in given}
        if "status" in body and kind not in WITHOUT_STATUS:
            return self.set_status(kind, namespace, made["metadata"]["name"], body["status"], manager=manager)
        return copied_object(made)

    def restore(self, kind: Kind, body: Object, owners: Owners) -> None:
        """Put an object back as it was once stored, its uid, versions and field managers with it."""
        kept = copied_object(body)
        metadata = kept["metadata"]
        self._revision = max(self._revision, int(metadata["resourceVersion"]))
        self._made = max(self._made, int(metadata["uid"].rpartition("-")[2], 16))
        place = self._place(kind, metadata.get("namespace", ""), metadata["name"])
        self._entries[place] = _Entry(kind, kept, copied_owners(owners))

    def edit(
        self, kind: Kind, namespace: str, name: str, change: Callable[[JsonObject], None], *, manager: str = "kubectl"
    ) -> JsonObject:
        """Change an object as somebody else; `change` edits the given copy in place. Empty finalizers end a deletion."""
        entry = self._existing(kind, namespace, name)
        after = copied(entry.body)
        change(after)
        owners = copied_owners(entry.owners)
        field_ownership.take(owners, manager, entry.body, after)
        self._commit(entry, after, owners)
        if "deletionTimestamp" in after["metadata"] and not after["metadata"].get("finalizers"):
            self._delete(entry)
        return copied_object(entry.body)

    def set_status(
        self, kind: Kind, namespace: str, name: str, status: Object, *, manager: str = "controller"
    ) -> JsonObject:
        """Replace the status, as the controller of that kind does."""
        return self.edit(kind, namespace, name, lambda o: o.update(status=copied(dict(status))), manager=manager)

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete as somebody else. NotFound when it is not there."""
        self._delete(self._existing(kind, namespace, name))

    def read(self, kind: Kind, namespace: str, name: str) -> JsonObject | None:
        """A copy of one object, or None."""
        entry = self._entries.get(self._place(kind, namespace, name))
        return copied(entry.body) if entry else None

    def find(self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> Objects:
        """Copies of all objects of a kind with these labels, by namespace and name."""
        wanted = (labels or {}).items()
        return [
            copied(entry.body)
            for place, entry in sorted(self._entries.items(), key=lambda pair: pair[0])
            if place[:2] == (kind.group, kind.plural) and namespace in (None, place[2])
            if wanted <= entry.body["metadata"].get("labels", {}).items()
        ]

    def collect_garbage(self) -> None:
        """Delete, until nothing changes, every object whose owners are all gone."""
        while True:
            alive = {entry.body["metadata"]["uid"] for entry in self._entries.values()}
            orphans = [
                entry
                for entry in self._entries.values()
                if (refs := entry.body["metadata"].get("ownerReferences"))
                and "deletionTimestamp" not in entry.body["metadata"]
                and not any(ref["uid"] in alive for ref in refs)
            ]
            if not orphans:
                return
            for entry in orphans:
                self._drop(entry)

    # Inside ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _place(kind: Kind, namespace: str, name: str) -> Place:
        return (kind.group, kind.plural, namespace if kind.namespaced else "", name)

    def _begin(self, verb: Verb, kind: Kind, namespace: str, name: str) -> Write:
        write = Write(verb, kind, namespace, name)
        self.before_write(write)
        return write

    def _end(self, write: Write, body: JsonObject, *, changed: bool) -> JsonObject:
        done = Write(write.verb, write.kind, write.namespace, write.name, changed=changed)
        self.writes.append(done)
        answer = copied_object(body)
        self.after_write(done)
        return answer

    def _existing(self, kind: Kind, namespace: str, name: str) -> _Entry:
        entry = self._entries.get(self._place(kind, namespace, name))
        if entry is None:
            raise NotFound(f'{kind.plural} "{name}" not found in namespace "{namespace}"', status=404)
        return entry

    @staticmethod
    def _precondition(entry: _Entry, uid: str | None, resource_version: str | None) -> None:
        metadata = entry.body["metadata"]
        if uid and uid != metadata["uid"]:
            raise Conflict(f"uid of {metadata['name']} is {metadata['uid']}, not {uid}", status=409)
        if resource_version and resource_version != metadata["resourceVersion"]:
            raise Conflict(f"{metadata['name']} has been modified since {resource_version}", status=409)

    def _insert(self, kind: Kind, namespace: str, body: Object, manager: str) -> JsonObject:
        if body.get("metadata", {}).get("resourceVersion"):
            raise Unavailable("resourceVersion should not be set on objects to be created", status=500)
        after = field_ownership.without_nulls(body)
        if kind not in WITHOUT_STATUS:
            after.pop("status", None)
        self.mutate(kind, after)
        admission.check(kind, None, after)
        self._made += 1
        self._revision += 1
        after |= {"apiVersion": kind.api_version, "kind": kind.kind}
        after["metadata"] |= {
            "uid": f"00000000-0000-4000-8000-{self._made:012d}",
            "resourceVersion": str(self._revision),
            "creationTimestamp": timestamp(self.clock()),
        }
        if kind.namespaced:
            after["metadata"]["namespace"] = namespace
        if kind not in WITHOUT_GENERATION:
            after["metadata"]["generation"] = 1
        owners: Owners = {manager: {path for path, _ in field_ownership.leaves(after)}}
        self._entries[self._place(kind, namespace, after["metadata"]["name"])] = _Entry(kind, after, owners)
        return after

    def _commit(self, entry: _Entry, after: JsonObject, owners: Owners) -> bool:
        """Store `after`; whether anything changed. Field ownership alone is a change too, as on the real server."""
        self.mutate(entry.kind, after)
        if after == entry.body and owners == entry.owners:
            return False
        admission.check(entry.kind, entry.body, after)
        self._revision += 1
        after["metadata"]["resourceVersion"] = str(self._revision)
        if entry.kind not in WITHOUT_GENERATION and _spec(after) != _spec(entry.body):
            after["metadata"]["generation"] = entry.body["metadata"]["generation"] + 1
        entry.body, entry.owners = after, owners
        return True

    def _delete(self, entry: _Entry) -> None:
        metadata = entry.body["metadata"]
        if not metadata.get("finalizers"):
            self._drop(entry)
        elif "deletionTimestamp" not in metadata:
            self._revision += 1
            metadata |= {"deletionTimestamp": timestamp(self.clock()), "resourceVersion": str(self._revision)}
        if self.collect_at_once:
            self.collect_garbage()

    def _drop(self, entry: _Entry) -> None:
        metadata = entry.body["metadata"]
        self._revision += 1
        self._entries.pop(self._place(entry.kind, metadata.get("namespace", ""), metadata["name"]), None)


def _mutate_nothing(kind: Kind, body: JsonObject) -> None:
    """Of a cluster without policies."""


def _spec(body: JsonObject) -> JsonObject:
    return {key: value for key, value in body.items() if key not in ("metadata", "status", "apiVersion", "kind")}
