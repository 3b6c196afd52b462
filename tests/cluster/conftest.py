"""Fixtures for tests on a real node: an installed operator, a namespace with key, store credentials and data of its own.

Needs `make cluster images install` (which `make test` does). Objects are named by namespace, so tests run side by side.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

import sealed_models
from canary_ground import Ground, prepare
from demo import store
from demo.kubectl import Kubectl
from modelcycle_bundle.store import Store
from plant import KUBECONFIG, SYSTEM_NAMESPACE, Plant, new_plant
from sealed_models import SealedModels

SHARED_BY_A_MODULE = ("shared_ground", "shared_plant")


class ByNamespace(LoadScopeScheduling):  # type: ignore[misc]
    """Tests of a module that share a namespace run in one worker; those with one of their own go to whoever is free."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        text = (self.config.rootpath / module).read_text()
        return module if any(name in text for name in SHARED_BY_A_MODULE) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """For runs with workers."""
    return ByNamespace(config, log)


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


@pytest.fixture
def bare_plant(buckets: tuple[Store, Store], credentials_of_store: dict[str, str]) -> Iterator[Plant]:
    """A namespace with data and store credentials but no signing key."""
    with new_plant(buckets, credentials_of_store) as plant:
        yield plant


@pytest.fixture
def plant(bare_plant: Plant) -> Plant:
    """The same with a key."""
    bare_plant.kubectl.keygen()
    return bare_plant


@pytest.fixture(scope="module")
def shared_plant(buckets: tuple[Store, Store], credentials_of_store: dict[str, str]) -> Iterator[Plant]:
    """One namespace with a key for the tests of a module that do not disturb one another."""
    with new_plant(buckets, credentials_of_store) as plant:
        plant.kubectl.keygen()
        yield plant


@pytest.fixture(scope="module")
def models(buckets: tuple[Store, Store], credentials_of_store: dict[str, str]) -> SealedModels:
    """What rollouts are tried with."""
    return sealed_models.of_this_build(buckets, credentials_of_store)


@pytest.fixture
def ground(bare_plant: Plant, models: SealedModels) -> Ground:
    """A namespace that trusts those models."""
    return prepare(bare_plant, models)


@pytest.fixture(scope="module")
def shared_ground(
    buckets: tuple[Store, Store], credentials_of_store: dict[str, str], models: SealedModels
) -> Iterator[Ground]:
    """One for the tests of a module that do not disturb one another."""
    with new_plant(buckets, credentials_of_store) as plant:
        yield prepare(plant, models)
