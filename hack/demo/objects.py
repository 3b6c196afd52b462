"""What the demo applies, as plain objects: the same YAML a user would write. Owns no I/O."""

from collections.abc import Mapping
from typing import Any, Final

from demo.store import DATA_BUCKET, MODEL_BUCKET

API: Final = "modelcycle.dev/v1alpha1"
DATA_KEY: Final = "screening/2026-11.csv"
DATA_URI: Final = f"s3://{DATA_BUCKET}/{DATA_KEY}"
OUTPUT_FOLDER: Final = "screening"
OUTPUT_URI: Final = f"s3://{MODEL_BUCKET}/{OUTPUT_FOLDER}"

PILOT: Final = "screening-pilot"
SEARCH: Final = "screening-search"
DEPLOYMENT: Final = "screening"
MONITOR: Final = "screening"
TAMPERED: Final = "screening-tampered"


def namespace(name: str) -> dict[str, Any]:
    """The team's namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def store_secret(environment: Mapping[str, str]) -> dict[str, Any]:
    """`modelcycle-store`: the default name that Experiments and ModelDeployments look for."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "modelcycle-store"},
        "stringData": dict(environment),
    }


def pilot() -> dict[str, Any]:
    """The first, small model: one shallow tree, no search. Start small."""
    return _experiment(
        PILOT, {"trainer": {"estimator": "sklearn.tree.DecisionTreeClassifier", "fixed": {"max_depth": 1}}}
    )


def search() -> dict[str, Any]:
    """A better one: a search over a scaled logistic regression, two trials at a time."""
    return _experiment(
        SEARCH,
        {
            "objective": {"type": "maximize", "objectiveMetricName": "roc_auc"},
            "algorithm": {"algorithmName": "random", "seed": 7},
            "parameters": [
                {
                    "name": "model__C",
                    "parameterType": "double",
                    "feasibleSpace": {"min": "0.001", "max": "10", "distribution": "logUniform"},
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


def _experiment(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    common = {"data": {"uri": DATA_URI, "target": "malignant"}, "output": {"uri": OUTPUT_URI}}
    return {"apiVersion": API, "kind": "Experiment", "metadata": {"name": name}, "spec": {**common, **spec}}


def deployment(experiment: str, replicas: int = 2) -> dict[str, Any]:
    """Serve the best model of an Experiment; pointing it at another Experiment is the replacement."""
    spec = {
        "model": {"experimentRef": {"name": experiment}},
        "server": {"replicas": replicas},
        "strategy": {"canary": {"guardWindow": "5s"}},
    }
    return {"apiVersion": API, "kind": "ModelDeployment", "metadata": {"name": DEPLOYMENT}, "spec": spec}


def tampered_deployment(uri: str, digest: str) -> dict[str, Any]:
    """Asks for a digest at a place where the bytes are not that digest's."""
    spec = {"model": {"uri": uri, "digest": digest}}
    return {"apiVersion": API, "kind": "ModelDeployment", "metadata": {"name": TAMPERED}, "spec": spec}


def monitor() -> dict[str, Any]:
    """Counts what the deployment sees, in short windows so that the demo shows some."""
    spec = {"targetRef": {"name": DEPLOYMENT}, "window": {"length": "10s"}, "interval": "2s"}
    return {"apiVersion": API, "kind": "DriftMonitor", "metadata": {"name": MONITOR}, "spec": spec}


def load(name: str, image: str, script: str, rows: str, seconds: int, rate: int) -> list[dict[str, Any]]:
    """A ConfigMap with the generator and its rows, and a Job that runs it once against the deployment's Service."""
    labels = {"app.kubernetes.io/name": "modelcycle-demo-load"}
    environment = {"LOAD_HOST": DEPLOYMENT, "LOAD_SECONDS": str(seconds), "LOAD_RATE": str(rate)}
    container = {
        "name": "load",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/app/venv/bin/python", "/load/load.py"],
        "env": [{"name": k, "value": v} for k, v in environment.items()],
        "volumeMounts": [{"name": "load", "mountPath": "/load", "readOnly": True}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "load", "configMap": {"name": name}}],
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": labels},
            "data": {"load.py": script, "rows.json": rows},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": seconds + 120,
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    ]
