"""The refusals of the API server that the operator could run into, for `MemoryKube`. Owns the checks; stores nothing.

Only what the operator's own manifests might violate: names, label values, immutable fields, size. Schemas and CEL are tested on the real
API server.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from modelcycle.kube import kinds
from modelcycle.kube.errors import Invalid
from modelcycle.kube.kinds import Kind

NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL_VALUE: Final = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
KEY: Final = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
CONFIG_MAP_LIMIT: Final = 1024 * 1024
IMMUTABLE: Final[Mapping[Kind, tuple[tuple[str, ...], ...]]] = {
    kinds.JOB: (("spec", "template"), ("spec", "selector"), ("spec", "podFailurePolicy"), ("spec", "backoffLimit")),
    kinds.DEPLOYMENT: (("spec", "selector"),),
    kinds.CONTROLLER_REVISION: (("data",),),
}


def name_of(kind: Kind, body: Mapping[str, Any]) -> str:
    """The name in the body. Raises Invalid when it is missing or unusable."""
    name = body.get("metadata", {}).get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > 253:
        raise Invalid(f"{kind.kind}: metadata.name {name!r} is not a lowercase DNS name", status=422)
    if kind in (kinds.JOB, kinds.SERVICE) and (len(name) > 63 or "." in name):
        raise Invalid(f"{kind.kind}: metadata.name {name!r} is not a DNS label of at most 63 characters", status=422)
    return name


def check(kind: Kind, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
    """Raise Invalid for what the API server would refuse."""
    metadata = after["metadata"]
    for key, value in metadata.get("labels", {}).items():
        _check_label(kind, key, value)
    for key, value in metadata.get("annotations", {}).items():
        if not KEY.fullmatch(key) or not isinstance(value, str):
            raise Invalid(f"{kind.kind}: annotation {key!r} is no string under a qualified key", status=422)
    controllers = [ref for ref in metadata.get("ownerReferences", []) if ref.get("controller")]
    if len(controllers) > 1:
        raise Invalid(f"{kind.kind}: only one ownerReference can be the controller", status=422)
    if kind == kinds.CONFIG_MAP:
        _check_config_map(before, after)
    for path in IMMUTABLE.get(kind, ()) if before is not None else ():
        if _at(before, path) != _at(after, path):
            raise Invalid(f"{kind.kind}: field {'.'.join(path)} is immutable", status=422)


def _check_label(kind: Kind, key: str, value: Any) -> None:
    if not KEY.fullmatch(key) or not isinstance(value, str) or len(value) > 63 or not LABEL_VALUE.fullmatch(value):
        raise Invalid(f"{kind.kind}: label {key}={value!r} has an unusable key or value", status=422)


def _check_config_map(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
    data = after.get("data", {})
    if any(not isinstance(value, str) for value in data.values()):
        raise Invalid("ConfigMap: data values must be strings", status=400)
    if len(json.dumps(data, ensure_ascii=False).encode()) > CONFIG_MAP_LIMIT:
        raise Invalid("ConfigMap: data is larger than 1 MiB", status=422)
    sealed = before is not None and before.get("immutable", False)
    if sealed and (_at(before, ("data",)) != after.get("data") or not after.get("immutable")):
        raise Invalid("ConfigMap: field is immutable when `immutable` is set", status=422)


def _at(body: Mapping[str, Any] | None, path: tuple[str, ...]) -> Any:
    value: Any = body
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value
