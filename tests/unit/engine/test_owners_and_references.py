"""From an object to the keys to look at: owners, and the reverse index."""

from typing import Any

import pytest

from modelcycle.engine.owners import owners_of, subjects_of
from modelcycle.engine.plan import Key
from modelcycle.engine.references import References
from modelcycle.kube import kinds, names

EXPERIMENT = Key("Experiment", "ns", "e")
DEPLOYMENT = Key("ModelDeployment", "ns", "d")
OTHER = Key("ModelDeployment", "ns", "o")


def child(owner: dict[str, Any] | None = None, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "c",
            "namespace": "ns",
            "ownerReferences": [owner] if owner else [],
            "labels": labels or {},
        }
    }


OURS = names.owner_reference(kinds.EXPERIMENT, "e", "u")
JOB = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": True}
FOREIGN = {"apiVersion": "example.com/v1", "kind": "Experiment", "name": "e", "uid": "u", "controller": True}


@pytest.mark.parametrize(
    ("obj", "keys"),
    [
        (child(OURS), (EXPERIMENT,)),
        (child(OURS, {names.LABEL_DEPLOYMENT: "d"}), (EXPERIMENT,)),
        (child(JOB, {names.LABEL_EXPERIMENT: "e"}), (EXPERIMENT,)),
        (child(FOREIGN), ()),
        (child({**OURS, "controller": False}), ()),
        (child(None, {names.LABEL_DEPLOYMENT: "d"}), (DEPLOYMENT,)),
        (child(), ()),
        ({"metadata": {"name": "c", "namespace": "ns"}}, ()),
    ],
)
def test_owner(obj: dict[str, Any], keys: tuple[Key, ...]) -> None:
    assert owners_of(obj) == keys


@pytest.mark.parametrize(
    ("key", "labels", "keys"),
    [
        (EXPERIMENT, {}, (EXPERIMENT,)),
        (EXPERIMENT, {names.LABEL_LINEAGE: "root"}, (EXPERIMENT, Key("Experiment", "ns", "root"))),
        (EXPERIMENT, {names.LABEL_LINEAGE: "e"}, (EXPERIMENT,)),
        (DEPLOYMENT, {names.LABEL_LINEAGE: "root"}, (DEPLOYMENT,)),
    ],
)
def test_a_retrain_is_a_change_of_the_experiment_whose_lineage_it_continues(
    key: Key, labels: dict[str, str], keys: tuple[Key, ...]
) -> None:
    assert subjects_of(key, child(labels=labels)) == keys


def test_dependents_follow_changes_of_the_reference() -> None:
    references = References()
    references.update(DEPLOYMENT, [EXPERIMENT])
    assert references.dependents(EXPERIMENT) == (DEPLOYMENT,)
    references.update(DEPLOYMENT, [])
    assert references.dependents(EXPERIMENT) == ()


def test_a_deleted_target_is_still_waited_for() -> None:
    references = References()
    references.update(EXPERIMENT, [])
    references.update(DEPLOYMENT, [EXPERIMENT])
    references.remove(EXPERIMENT)
    assert references.dependents(EXPERIMENT) == (DEPLOYMENT,)


def test_a_list_drops_what_vanished_unseen_engineering_11() -> None:
    references = References()
    references.update(DEPLOYMENT, [EXPERIMENT])
    references.update(EXPERIMENT, [])
    references.replace("ModelDeployment", {OTHER: [EXPERIMENT]})
    assert references.dependents(EXPERIMENT) == (OTHER,)
    assert references.of_kind("ModelDeployment") == (OTHER,)
    assert references.of_kind("Experiment") == (EXPERIMENT,)
