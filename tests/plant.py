"""A team's namespace on the real cluster, as the cluster tests use it. Owns no fixture."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import records
from demo.kubectl import Kubectl
from demo.store import DATA_BUCKET, MODEL_BUCKET
from modelcycle_bundle.store import Store

ROOT = Path(__file__).parents[1]
KUBECONFIG = ROOT / ".cluster" / "kubeconfig"
SYSTEM_NAMESPACE = "modelcycle-system"


@dataclass(frozen=True)
class Plant:
    """A team's namespace."""

    kubectl: Kubectl
    data: Store
    models: Store

    @property
    def name(self) -> str:
        """The namespace."""
        return self.kubectl.namespace

    def put(self, name: str, table: bytes) -> str:
        """Upload a table of this namespace; returns its URI."""
        self.data.put_new(f"{self.name}/{name}", table)
        return f"s3://{DATA_BUCKET}/{self.name}/{name}"

    def experiment(self, name: str, **spec: Any) -> dict[str, Any]:
        """An Experiment on the breast cancer records that fits one shallow tree, with `spec` laid over it."""
        base: dict[str, Any] = {
            "data": {"uri": f"s3://{DATA_BUCKET}/{self.name}/train.csv", "target": "malignant"},
            "trainer": {"estimator": "sklearn.tree.DecisionTreeClassifier", "fixed": {"max_depth": 2}},
            "output": {"uri": f"s3://{MODEL_BUCKET}/{self.name}"},
        }
        for field, value in spec.items():
            merged = isinstance(base.get(field), dict) and field != "trainer"
            base[field] = {**base[field], **value} if merged else value
        return {"apiVersion": "modelcycle.dev/v1alpha1", "kind": "Experiment", "metadata": {"name": name}, "spec": base}

    def deployment(self, name: str, **spec: Any) -> dict[str, Any]:
        """A ModelDeployment with this spec."""
        return {
            "apiVersion": "modelcycle.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name},
            "spec": spec,
        }


@contextmanager
def new_plant(buckets: tuple[Store, Store], credentials_of_store: Mapping[str, str]) -> Iterator[Plant]:
    """A namespace with data and store credentials but no signing key, for the length of the block."""
    name = f"plant-{uuid.uuid4().hex[:6]}"
    kubectl = Kubectl(KUBECONFIG, name)
    secret = {"metadata": {"name": "modelcycle-store"}, "stringData": dict(credentials_of_store)}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        {"apiVersion": "v1", "kind": "Secret", **secret},
    )
    try:
        plant = Plant(kubectl, *buckets)
        plant.put("train.csv", records.as_csv())
        yield plant
    finally:
        kubectl.run("delete", "namespace", name, "--wait=false")
