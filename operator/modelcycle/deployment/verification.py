"""Which image verified what a stored revision serves: the operator's own, or one that a user named. Pure.

An earlier operator ran the fetch step in `spec.server.image`, and stored no word of it. Its revisions keep their template, so the answer
comes from their hash: it covers the image of the spec, and everything else that it covers stands in the template.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from modelcycle.api.modeldeployment import DEFAULT_STORE_SECRET
from modelcycle.deployment.manifests import (
    ANNOTATION_VERIFIER,
    DEFAULT_CPU,
    DEFAULT_MEMORY,
    DEFAULT_MEMORY_LIMIT,
    OPERATORS_IMAGE,
)
from modelcycle.deployment.revision import Target
from modelcycle.deployment.world import FETCH_CONTAINER, RevisionView

Quantities = Mapping[str, str]


def is_by_server_image(stored: RevisionView, operators_image: str) -> bool:
    """Whether an image of a user's choice decides what this revision takes for verified."""
    annotations = (stored.template.get("metadata") or {}).get("annotations") or {}
    fetch = fetch_container(stored.template)
    if annotations.get(ANNOTATION_VERIFIER) == OPERATORS_IMAGE or fetch.get("image") == operators_image:
        return False
    return all(target.hash != stored.child.revision for target in _without_image(stored, fetch))


def fetch_container(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fetch step of a stored template."""
    containers = (template.get("spec") or {}).get("initContainers") or ()
    return next((one for one in containers if one.get("name") == FETCH_CONTAINER), {})


def _without_image(stored: RevisionView, fetch: Mapping[str, Any]) -> Iterator[Target]:
    """Every target without an image that an earlier operator would have rendered to this template."""
    sources: Sequence[Mapping[str, Any]] = fetch.get("envFrom") or ({},)
    secret = (sources[0].get("secretRef") or {}).get("name")
    secrets = (secret, None) if secret == DEFAULT_STORE_SECRET else (secret,)
    for name, (requests, limits) in product(secrets, possible_resources(fetch.get("resources") or {})):
        yield Target(stored.uri, stored.digest, name, None, requests, limits)


def possible_resources(rendered: Mapping[str, Quantities]) -> Iterator[tuple[Quantities | None, Quantities | None]]:
    """What the user may have named, with and without the defaults that look the same."""
    requests, limits = rendered.get("requests") or {}, rendered.get("limits") or {}
    cpu = requests.get("cpu") == DEFAULT_CPU and "cpu" not in limits
    memory = requests.get("memory") == DEFAULT_MEMORY and limits.get("memory") == DEFAULT_MEMORY_LIMIT
    for drops_cpu, drops_memory in product({False, cpu}, {False, memory}):
        dropped = {name for name, is_default in (("cpu", drops_cpu), ("memory", drops_memory)) if is_default}
        left = [{k: v for k, v in named.items() if k not in dropped} for named in (requests, limits)]
        yield from product(*(((named,) if named else (None, named)) for named in left))
