"""The emulators, started once a session, and the tables and programs of the training image."""

import os
from collections.abc import Iterator

import pytest

from devcluster import emulators
from devcluster.paths import cache_root
from devcluster.progress import Progress
from unit.clouds import azure, gcs
from unit.clouds.cloud import Cloud
from unit.training.conftest import tables  # noqa: F401


@pytest.fixture(scope="session")
def built() -> emulators.Emulators:
    return emulators.ensure(cache_root(os.environ), Progress())


@pytest.fixture(scope="session")
def google(built: emulators.Emulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with gcs.running(built.gcs, tmp_path_factory.mktemp("gcs")) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def microsoft(built: emulators.Emulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with azure.running(built.azure, tmp_path_factory.mktemp("azure")) as cloud:
        yield cloud


@pytest.fixture(params=["google", "microsoft"], ids=["gs", "az"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Cloud)
    return found
