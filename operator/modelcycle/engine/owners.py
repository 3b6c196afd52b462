"""Which of our objects an object in the cluster is about. Pure; reads only the object that is handed in."""

from collections.abc import Mapping
from typing import Final

from modelcycle.engine.plan import Key
from modelcycle.kube import kinds, names
from modelcycle.kube.port import Object

OWN_KINDS: Final = frozenset(kind.kind for kind in kinds.OWN_KINDS)
LABELS: Final[Mapping[str, str]] = {
    names.LABEL_EXPERIMENT: kinds.EXPERIMENT.kind,
    names.LABEL_DEPLOYMENT: kinds.MODEL_DEPLOYMENT.kind,
    names.LABEL_MONITOR: kinds.DRIFT_MONITOR.kind,
}


def owners_of(obj: Object) -> tuple[Key, ...]:
    """The keys to look at when `obj` changed: its controller when that is of our group, else those its labels name."""
    metadata = obj["metadata"]
    namespace = metadata.get("namespace", "")
    for reference in metadata.get("ownerReferences") or ():
        ours = str(reference.get("apiVersion", "")).startswith(f"{kinds.GROUP}/") and reference["kind"] in OWN_KINDS
        if reference.get("controller") and ours:
            return (Key(reference["kind"], namespace, reference["name"]),)
    labels = metadata.get("labels") or {}
    return tuple(Key(kind, namespace, labels[label]) for label, kind in LABELS.items() if labels.get(label))


def subjects_of(key: Key, obj: Object) -> tuple[Key, ...]:
    """What a change of `obj`, one of our own objects, is a change of: itself, and the Experiment whose lineage it continues."""
    root = (obj["metadata"].get("labels") or {}).get(names.LABEL_LINEAGE)
    if key.kind != kinds.EXPERIMENT.kind or not root or root == key.name:
        return (key,)
    return (key, Key(key.kind, key.namespace, root))
