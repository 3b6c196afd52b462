"""A change of `server.resources` alone: the same revision in other pods, which take over without a canary. Pure.

Owns how it is told from every other change, and the template of such pods: stable's own, but for its resources and its hash. The hash
covers resources as before, so that what is stored keeps its identity.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelcycle.deployment import manifests
from modelcycle.deployment.revision import Target
from modelcycle.deployment.status import RevisionRef
from modelcycle.deployment.verification import fetch_container, possible_resources
from modelcycle.deployment.world import RevisionView, World


def is_resize(world: World, stable: RevisionRef | None, target: object) -> bool:
    """Whether the target is what stable is, in all but resources: model, place, Secret and image."""
    stored = world.revisions.get(stable.revision) if stable else None
    if stable is None or stored is None or not isinstance(target, Target):
        return False
    rendered = fetch_container(stored.template).get("resources") or {}
    return any(
        replace(target, requests=requests, limits=limits).hash == stable.revision
        for requests, limits in possible_resources(rendered)
    )


def resized(stored: RevisionView, target: Target) -> Mapping[str, Any]:
    """The template of the stored revision with the target's resources: no other server comes with them, whatever the operator's default."""
    template: dict[str, Any] = _renamed(stored.template, stored.child.revision, target.hash)
    wanted = manifests.resources(target.requests, target.limits)
    spec = template["spec"]
    for place in ("initContainers", "containers"):
        spec[place] = [container | {"resources": wanted} for container in spec[place]]
    return template


def _renamed(value: Any, old: str, new: str) -> Any:
    """Labels, selectors and environment name the revision by its hash."""
    if isinstance(value, Mapping):
        return {key: _renamed(item, old, new) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(item, old, new) for item in value]
    return new if value == old else value
