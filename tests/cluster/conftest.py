"""Fixtures for tests on a real node: an installed operator, a namespace with key, store credentials and data of its own.

Needs `make cluster images install` (which `make test` does). Objects are named by namespace, so tests run side by side.
"""

import base64
import json
import uuid
from collections.abc import Iterator

import pytest
from modelcycle_bundle.store import Store, open_store

from demo import records
from demo.kubectl import Kubectl
from plant import BUCKET, KUBECONFIG, STORE_NAMESPACE, SYSTEM_NAMESPACE, Plant


@pytest.fixture(scope="session")
def system() -> Kubectl:
    """kubectl in the operator's namespace; fails with what to do when there is no cluster."""
    if not KUBECONFIG.exists():
        pytest.fail(f"{KUBECONFIG} is not there: run `make cluster images store install` first (`make test` does)")
    kubectl = Kubectl(KUBECONFIG, SYSTEM_NAMESPACE)
    kubectl.run("rollout", "status", "deployment/modelcycle-operator", "--timeout=120s")
    return kubectl


@pytest.fixture(scope="session")
def store_environment(system: Kubectl) -> dict[str, str]:
    """Credentials of the store component with its in-cluster endpoint."""
    inside = Kubectl(KUBECONFIG, STORE_NAMESPACE)
    data = json.loads(inside.run("get", "secret", "modelcycle-store", "-o", "go-template={{json .data}}"))
    return {name: base64.b64decode(value).decode() for name, value in data.items()}


@pytest.fixture(scope="session")
def store(system: Kubectl, store_environment: dict[str, str]) -> Iterator[Store]:
    """The store, through a forwarded port."""
    with Kubectl(KUBECONFIG, STORE_NAMESPACE).forward("svc/store", 7070) as port:
        yield open_store(f"s3://{BUCKET}", {**store_environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"})


def _plant(system: Kubectl, store: Store, store_environment: dict[str, str]) -> Plant:
    name = f"plant-{uuid.uuid4().hex[:6]}"
    kubectl = Kubectl(KUBECONFIG, name)
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "modelcycle-store"},
            "stringData": store_environment,
        }
    )
    plant = Plant(kubectl, store)
    plant.put("train.csv", records.as_csv())
    return plant


@pytest.fixture
def bare_plant(system: Kubectl, store: Store, store_environment: dict[str, str]) -> Iterator[Plant]:
    """A namespace with data and store credentials but no signing key."""
    plant = _plant(system, store, store_environment)
    yield plant
    plant.kubectl.run("delete", "namespace", plant.name, "--wait=false")


@pytest.fixture
def plant(bare_plant: Plant) -> Plant:
    """The same with a key."""
    bare_plant.kubectl.run("modelcycle", "keygen", "-n", bare_plant.name)
    return bare_plant


@pytest.fixture(scope="module")
def shared_plant(system: Kubectl, store: Store, store_environment: dict[str, str]) -> Iterator[Plant]:
    """One namespace with a key for the tests of a module that do not disturb one another."""
    plant = _plant(system, store, store_environment)
    plant.kubectl.run("modelcycle", "keygen", "-n", plant.name)
    yield plant
    plant.kubectl.run("delete", "namespace", plant.name, "--wait=false")
