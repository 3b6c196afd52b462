"""The facts on the fake. The same ones hold on the real API server: tests/control_plane/test_kube_conformance.py."""

import pytest

from conformance.facts import *  # noqa: F403
from conformance.more_facts import *  # noqa: F403
from conformance.world import MemoryOthers
from fakes.memory_kube import MemoryKube


@pytest.fixture
def kube() -> MemoryKube:
    return MemoryKube()


@pytest.fixture
def others(kube: MemoryKube) -> MemoryOthers:
    return MemoryOthers(kube)


@pytest.fixture
def namespace() -> str:
    return "conformance"
