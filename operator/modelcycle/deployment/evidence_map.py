"""Where the evidence of a rollout is kept: a ConfigMap of our own, one entry for each version; status names the entry that counts. Pure.

Owns what is written there and which entries stay. What an entry must be to count is in `evidence_entries`.
"""

from collections.abc import Mapping
from typing import Any, Final

from modelcycle.deployment.evidence_entries import Entry, named
from modelcycle.deployment.manifests import evidence_map, evidence_name
from modelcycle.deployment.world import World
from modelcycle.engine.plan import Apply, Create
from modelcycle.kube.kinds import CONFIG_MAP

UNNAMED: Final = 2
"""Entries that stay although status does not name them: another operator may be about to."""


def reference(world: World, entry: Entry) -> dict[str, Any]:
    """The field of `status.analysis` that names the evidence; the evidence itself where the ConfigMap is not ours to write."""
    name = evidence_name(world.name, world.uid)
    return {"state": entry.text} if _is_taken(world) else {"stateRef": {"name": name, "key": entry.key}}


def inline(status: Mapping[str, Any], entry: Entry) -> dict[str, Any]:
    """The status with the evidence itself in it: where it goes when the ConfigMap cannot be written."""
    shown = {name: value for name, value in status["analysis"].items() if name != "stateRef"}
    return {**status, "analysis": {**shown, "state": entry.text}}


def is_inline(world: World) -> bool:
    """Whether status keeps the evidence itself, as it does after its place could not be written."""
    return "state" in (world.raw_status.get("analysis") or {})


def write(world: World, entry: Entry) -> Create | Apply | None:
    """Keep this evidence, before status names it; None where it is kept already.

    On the resourceVersion that was read, so that of two operators at once one is refused, and none removes what the other just wrote.
    """
    live = world.evidence_map
    entries: Mapping[str, str] = (live.body.get("data") or {}) if live else {}
    if entry.key in entries or _is_taken(world):
        return None
    current = named(world.raw_status)
    others = sorted(key for key in entries if key != current)[-UNNAMED:]
    kept = {key: entries[key] for key in (current, *others) if key in entries}
    body = evidence_map(world.namespace, world.name, world.uid, kept | {entry.key: entry.text})
    if live is None:
        return Create(CONFIG_MAP, body)
    metadata = {**body["metadata"], "resourceVersion": live.body["metadata"]["resourceVersion"]}
    return Apply(CONFIG_MAP, {**body, "metadata": metadata}, live.uid)


def _is_taken(world: World) -> bool:
    """Whether somebody else's ConfigMap has the name."""
    name = evidence_name(world.name, world.uid)
    return any(item.kind == CONFIG_MAP.kind and item.name == name for item in world.foreign)
