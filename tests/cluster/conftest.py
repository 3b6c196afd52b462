"""Fixtures for tests on a real node: an installed operator, a namespace with key, store credentials and data of its own.

Needs `make cluster images install` (which `make test` does). Objects are named by namespace, so tests run side by side.
"""

import uuid
from collections.abc import Iterator

import pytest

from demo import records, store
from demo.kubectl import Kubectl
from modelcycle_bundle.store import Store
from plant import KUBECONFIG, SYSTEM_NAMESPACE, Plant


@pytest.fixture(scope="session")
def system() -> Kubectl:
    """kubectl in the operator's namespace; fails with what to do when there is no cluster."""
    if not KUBECONFIG.exists():
        pytest.fail(f"{KUBECONFIG} is not there: run `make cluster images store install` first (`make test` does)")
    kubectl = Kubectl(KUBECONFIG, SYSTEM_NAMESPACE)
    kubectl.run("rollout", "status", "deployment/modelcycle-operator", "--timeout=120s")
    return kubectl


@pytest.fixture(scope="session")
def credentials_of_store(system: Kubectl) -> dict[str, str]:
    """Credentials of the store component with its in-cluster endpoint."""
    return store.environment(system)


@pytest.fixture(scope="module")
def buckets(system: Kubectl, credentials_of_store: dict[str, str]) -> Iterator[tuple[Store, Store]]:
    """Data and models, through a forwarded port: one a module, since a restarted API server ends it."""
    with store.opened(system, credentials_of_store) as pair:
        yield pair


def _plant(buckets: tuple[Store, Store], credentials_of_store: dict[str, str]) -> Plant:
    name = f"plant-{uuid.uuid4().hex[:6]}"
    kubectl = Kubectl(KUBECONFIG, name)
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "modelcycle-store"},
            "stringData": credentials_of_store,
        }
    )
    plant = Plant(kubectl, *buckets)
    plant.put("train.csv", records.as_csv())
    return plant


@pytest.fixture
def bare_plant(buckets: tuple[Store, Store], credentials_of_store: dict[str, str]) -> Iterator[Plant]:
    """A namespace with data and store credentials but no signing key."""
    plant = _plant(buckets, credentials_of_store)
    yield plant
    plant.kubectl.run("delete", "namespace", plant.name, "--wait=false")


@pytest.fixture
def plant(bare_plant: Plant) -> Plant:
    """The same with a key."""
    bare_plant.kubectl.keygen()
    return bare_plant


@pytest.fixture(scope="module")
def shared_plant(buckets: tuple[Store, Store], credentials_of_store: dict[str, str]) -> Iterator[Plant]:
    """One namespace with a key for the tests of a module that do not disturb one another."""
    plant = _plant(buckets, credentials_of_store)
    plant.kubectl.keygen()
    yield plant
    plant.kubectl.run("delete", "namespace", plant.name, "--wait=false")
