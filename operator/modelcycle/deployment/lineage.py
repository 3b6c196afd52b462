"""Which Experiment of a lineage a ModelDeployment follows. Pure; knows nothing of rollouts.

A lineage is an Experiment and the retrains made from it: Experiments that carry its name in the label `modelcycle.dev/lineage`.
"""

from collections.abc import Sequence

from modelcycle.kube.port import Object


def follow(named: Object | None, lineage: Sequence[Object]) -> Object | None:
    """The newest of `lineage` with a sealed model, by creation time and then by name; `named` while there is none.

    A model once sealed stays offered, also while more trials run on its Experiment; a retrain that has not finished, failed or is being
    deleted changes nothing.
    """
    sealed = [one for one in lineage if _is_sealed(one)]
    return max(sealed, key=_age, default=named)


def _is_sealed(experiment: Object) -> bool:
    model = (experiment.get("status") or {}).get("model") or {}
    return bool(model.get("digest") and model.get("uri")) and "deletionTimestamp" not in experiment["metadata"]


def _age(experiment: Object) -> tuple[str, str]:
    """RFC 3339 times of the API server are all UTC and of one length: they sort as text."""
    metadata = experiment["metadata"]
    return metadata.get("creationTimestamp", ""), metadata["name"]
