"""What goes wrong with an Experiment on the real thing: each a documented reason within a bounded time, no crash loop, no half bundle."""

import base64
import hashlib
import json
from typing import Any

import pytest

from demo.kubectl import condition, describe, is_current, is_stalled
from modelcycle_bundle import layout
from plant import Plant

SECONDS = 240.0
HEADER = b"a,b,malignant\n"
LONELY = HEADER + b"".join(b"%d,%d,%d\n" % (i, i % 7, i == 31) for i in range(60))
ONE_CLASS = HEADER + b"".join(b"%d,%d,0\n" % (i, i % 7) for i in range(60))
TEXT_FEATURE = HEADER + b"".join(b"%d,red,%d\n" % (i, i % 2) for i in range(60))
RAGGED = HEADER + b"1,2,0\n1,2\n" + b"3,4,1\n" * 40


def ended(plant: Plant, experiment: dict[str, Any]) -> dict[str, Any]:
    plant.kubectl.apply(experiment)
    name = experiment["metadata"]["name"]
    return plant.kubectl.wait("experiment", name, lambda o: is_current(o) or is_stalled(o), SECONDS)


CASES: list[tuple[str, bytes | None, dict[str, Any], str, str]] = [
    ("no-data", None, {"data": {"uri": "s3://factory/nowhere/none.csv"}}, "DataNotFound", "nowhere"),
    ("ragged", RAGGED, {}, "DataUnreadable", "row"),
    ("no-target", None, {"data": {"target": "scrap"}}, "TargetMissing", "scrap"),
    ("text-feature", TEXT_FEATURE, {}, "FeatureNotNumeric", "b"),
    ("one-class", ONE_CLASS, {}, "TargetUnusable", "class"),
    (
        "raises",
        None,
        {
            "trainer": {
                "pipeline": [
                    {"name": "scale", "estimator": "sklearn.preprocessing.StandardScaler"},
                    {"name": "model", "estimator": "sklearn.naive_bayes.MultinomialNB"},
                ]
            },
            "parameters": [{"name": "model__alpha", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "9"}}],
            "maxTrialCount": 6,
            "parallelTrialCount": 1,
            "maxFailedTrialCount": 2,
        },
        "MaxFailedTrialsReached",
        "TrainerRaised",
    ),
    (
        "bad-parameters",
        None,
        {"trainer": {"estimator": "sklearn.linear_model.LogisticRegression", "fixed": {"solver": "none-such"}}},
        "NoUsableTrial",
        "BadParameters",
    ),
    ("not-allowed", None, {"trainer": {"estimator": "sklearn.evil.Classifier"}}, "EstimatorNotAllowed", "sklearn.evil"),
    # Only one row has the second class: it goes to training, so roc_auc is not defined on the hold-out.
    ("nan-objective-experiment-22", LONELY, {}, "NoUsableTrial", "MetricUnavailable"),
]


@pytest.mark.parametrize(("name", "table", "spec", "reason", "word"), CASES, ids=[c[0] for c in CASES])
def test_bad_input_is_stalled_with_its_reason(
    shared_plant: Plant, name: str, table: bytes | None, spec: dict[str, Any], reason: str, word: str
) -> None:
    if table is not None:
        spec = {**spec, "data": {"uri": shared_plant.put(f"{name}.csv", table)}}
    seen = ended(shared_plant, shared_plant.experiment(name, **spec))
    assert condition(seen, "Stalled").get("reason") == reason, describe(seen)
    assert word in condition(seen, "Stalled")["message"]
    assert "model" not in seen["status"]
    assert "currentOptimalTrial" not in seen["status"]


def test_secret_ref_to_the_key_is_forbidden(shared_plant: Plant) -> None:
    experiment = shared_plant.experiment("greedy", data={"secretRef": {"name": "modelcycle-signing-key"}})
    seen = ended(shared_plant, experiment)
    assert condition(seen, "Stalled")["reason"] == "ForbiddenSecret"
    assert "modelcycle-signing-key" in condition(seen, "Stalled")["message"]


def test_existing_object_of_a_childs_name_is_left_alone(shared_plant: Plant) -> None:
    # The name is known beforehand only for a Service; for Jobs the uid hash makes a collision a deliberate act.
    shared_plant.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "taken", "labels": {"team": "other"}},
            "spec": {"selector": {"app": "other"}, "ports": [{"port": 80}]},
        },
        shared_plant.deployment("taken", model={"experimentRef": {"name": "nowhere"}}),
    )
    seen = shared_plant.kubectl.wait("modeldeployment", "taken", is_stalled, SECONDS)
    assert condition(seen, "Stalled")["reason"] == "NameTaken"
    service = shared_plant.kubectl.get("service", "taken") or {}
    assert service["spec"]["selector"] == {"app": "other"}


def test_trial_pod_has_neither_key_nor_token(shared_plant: Plant) -> None:
    experiment = shared_plant.experiment("watched")
    shared_plant.kubectl.apply(experiment)
    seen: dict[str, Any] = {}

    def look(_: dict[str, Any]) -> None:
        pods = json.loads(
            shared_plant.kubectl.run("get", "pods", "-l", "modelcycle.dev/experiment=watched", "-o", "json")
        )["items"]
        seen.update({p["metadata"]["labels"]["modelcycle.dev/task"]: p["spec"] for p in pods})

    shared_plant.kubectl.wait("experiment", "watched", lambda o: is_current(o) or is_stalled(o), SECONDS, each=look)
    assert {"trial", "inspect"} <= seen.keys()
    trial = seen["trial"]
    assert trial["automountServiceAccountToken"] is False
    secrets = [v["secret"]["secretName"] for v in trial.get("volumes", []) if "secret" in v]
    assert secrets == []
    mounts = [m["mountPath"] for c in trial["containers"] for m in c.get("volumeMounts", [])]
    assert layout.KEY_DIR not in mounts
    assert not [v for v in trial.get("volumes", []) if "projected" in v]
    assert layout.KEY_DIR in [m["mountPath"] for c in seen["inspect"]["containers"] for m in c["volumeMounts"]]


def test_candidates_of_losing_trials_leave_the_store_and_provenance_names_the_table(shared_plant: Plant) -> None:
    depth = {"name": "max_depth", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "4"}}
    table = shared_plant.data.get(f"{shared_plant.name}/train.csv")
    digest = f"sha256:{hashlib.sha256(table).hexdigest()}"
    named = shared_plant.experiment("tidy")["spec"]["data"]["uri"]
    latest = shared_plant.put("tidy/latest.json", json.dumps({"uri": named, "digest": digest}).encode())
    experiment = shared_plant.experiment(
        "tidy",
        data={"uri": latest},
        trainer={"estimator": "sklearn.tree.DecisionTreeClassifier"},
        parameters=[depth],
        maxTrialCount=4,
        output={"keepCandidates": 1},
    )
    seen = ended(shared_plant, experiment)
    assert is_current(seen), describe(seen)
    assert seen["status"]["candidates"] == {"removed": 3}
    folder = f"{shared_plant.name}/candidates/{seen['metadata']['uid']}"
    left = {entry.path.removeprefix(f"{folder}/").split("/")[0] for entry in shared_plant.models.list(folder)}
    model = seen["status"]["model"]
    assert left == {str(model["trial"])}
    sealed = f"{shared_plant.name}/{layout.sealed_prefix(model['digest'])}"
    assert len(shared_plant.models.list(f"{sealed}/model")) == len(layout.MODEL_FILES)
    origin = f"{sealed}/provenance/{layout.provenance_file(seen['metadata']['uid'], model['trial'])}"
    statement = json.loads(base64.b64decode(json.loads(shared_plant.models.get(origin))["payload"]))
    data = statement["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    assert (data["uri"], seen["status"]["data"]["uri"]) == (named, named)
