"""What the demo applies, as plain objects: the same YAML a user would write. Owns no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from demo.records import SHIFTED, TARGET
from demo.store import DATA_BUCKET, MODEL_BUCKET

API: Final = "modelcycle.dev/v1alpha1"
PILOT: Final = "pilot"
SEARCH: Final = "tuned"
DEPLOYMENT: Final = "screening"
MONITOR: Final = "screening"
SECOND_LINE: Final = "screening-line-2"
TAMPERED: Final = "screening-tampered"
MADE_BY: Final = {"app.kubernetes.io/managed-by": "modelcycle-demo"}

REPLICAS: Final = 2
SHARE: Final = 0.2
"""Of the requests, to a new model until it is promoted or taken back."""
LOOK_SECONDS: Final = 2.0
LINE_RATE: Final = 150
"""Requests a second."""
PATIENCE_SECONDS: Final = 120.0
"""How long the demo waits for evidence."""
KNOWN_ROWS: Final = 6
"""Records (1.05 % of 569) that the second line's present model cannot answer."""
WORSE_ROWS: Final = 28
"""Records (4.92 %) that its successor cannot answer, those six among them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one run of the demo keeps its data and its models; `run` tells runs apart."""

    run: str

    @property
    def folder(self) -> str:
        """In both buckets."""
        return f"screening-{self.run}"

    def data_key(self, name: str) -> str:
        """A file of the data bucket."""
        return f"{self.folder}/{name}"

    def data_uri(self, name: str) -> str:
        """The same as a URI."""
        return f"s3://{DATA_BUCKET}/{self.data_key(name)}"

    @property
    def output_uri(self) -> str:
        """Where models go."""
        return f"s3://{MODEL_BUCKET}/{self.folder}"


FIRST_DATA: Final = "2026-11.csv"
NEXT_DATA: Final = "2026-12.csv"
LATEST: Final = "latest.json"


def namespace(name: str) -> dict[str, Any]:
    """The team's namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(MADE_BY)}}


def store_secret(environment: Mapping[str, str]) -> dict[str, Any]:
    """`modelcycle-store`: the default name that Experiments and ModelDeployments look for."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "modelcycle-store"},
        "stringData": dict(environment),
    }


def pilot(place: Place) -> dict[str, Any]:
    """The first, small model: one shallow tree, no search. Start small."""
    tree = {"estimator": "sklearn.tree.DecisionTreeClassifier", "fixed": {"max_depth": 1}}
    return _experiment(PILOT, place, {"objective": _right_answers(), "trainer": tree})


def search(place: Place) -> dict[str, Any]:
    """A better one: a search over a scaled logistic regression, two trials at a time."""
    return _experiment(
        SEARCH,
        place,
        {
            "objective": _right_answers(),
            "algorithm": {"algorithmName": "random", "seed": 7},
            "parameters": [
                {
                    "name": "model__C",
                    "parameterType": "double",
                    "feasibleSpace": {"min": "0.3", "max": "10", "distribution": "logUniform"},
                }
            ],
            "maxTrialCount": 4,
            "parallelTrialCount": 2,
            "trainer": {
                "pipeline": [
                    {"name": "scale", "estimator": "sklearn.preprocessing.StandardScaler"},
                    {
                        "name": "model",
                        "estimator": "sklearn.linear_model.LogisticRegression",
                        "fixed": {"max_iter": 500},
                    },
                ]
            },
        },
    )


def _right_answers() -> dict[str, str]:
    return {"type": "maximize", "objectiveMetricName": "accuracy"}


def _experiment(name: str, place: Place, spec: Mapping[str, Any]) -> dict[str, Any]:
    common = {"data": {"uri": place.data_uri(FIRST_DATA), "target": TARGET}, "output": {"uri": place.output_uri}}
    return {"apiVersion": API, "kind": "Experiment", "metadata": {"name": name}, "spec": {**common, **spec}}


def following(experiment: str) -> dict[str, Any]:
    """Serve the best model of an Experiment, and of those that a retrain makes from it."""
    return _deployment(DEPLOYMENT, {"experimentRef": {"name": experiment}})


def pinned(name: str, uri: str, digest: str) -> dict[str, Any]:
    """Serve exactly this model."""
    return _deployment(name, {"uri": uri, "digest": digest})


def _deployment(name: str, model: Mapping[str, Any]) -> dict[str, Any]:
    canary = {
        "steps": [{"setWeight": round(100 * SHARE)}, {"analysis": {}}],
        "analysis": {"interval": f"{LOOK_SECONDS:.0f}s"},
        "guardWindow": "5s",
    }
    spec = {"model": dict(model), "server": {"replicas": REPLICAS}, "strategy": {"canary": canary}}
    return {"apiVersion": API, "kind": "ModelDeployment", "metadata": {"name": name}, "spec": spec}


def tampered_deployment(uri: str, digest: str) -> dict[str, Any]:
    """Asks for a digest at a place where the bytes are not that digest's."""
    spec = {"model": {"uri": uri, "digest": digest}}
    return {"apiVersion": API, "kind": "ModelDeployment", "metadata": {"name": TAMPERED}, "spec": spec}


def monitor(place: Place) -> dict[str, Any]:
    """Watches what the deployment sees, in short windows so that the demo shows some, and may start a retrain."""
    spec = {
        "targetRef": {"name": DEPLOYMENT},
        "mode": "act",
        "window": {"length": "10s"},
        "interval": "2s",
        "features": [{"name": SHIFTED[0], "importance": "high", "owner": "line-1"}],
        "actions": {
            "alert": {"minPriority": "P3"},
            "retrain": {
                "experimentTemplateRef": {"name": SEARCH},
                "data": {"uri": place.data_uri(LATEST)},
                "minPriority": "P2",
                "minNewRows": 200,
            },
        },
    }
    return {"apiVersion": API, "kind": "DriftMonitor", "metadata": {"name": MONITOR}, "spec": spec}
