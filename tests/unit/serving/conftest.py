"""Fixtures of the serving tests: bundles made once a session, one server process shared by tests that leave it as it was."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.serving import peers, rig


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    graphs = {"classes": rig.classifier([0, 1]), "names": rig.classifier(["no", "yes"]), "values": rig.regressor()}
    for name, onnx in graphs.items():
        rig.write_bundle(folder / name, onnx)
    return {name: folder / name for name in graphs}


@pytest.fixture(scope="session")
def server(bundles: dict[str, Path]) -> Iterator[rig.Server]:
    environment = {"MODELCYCLE_REVISION": "r1"}
    with rig.serving(bundles["classes"], "--max-body", "65536", environment=environment) as running:
        yield running


@pytest.fixture
def client(server: rig.Server) -> Iterator[rig.Client]:
    with server.client() as connected:
        yield connected


@pytest.fixture(scope="module")
def stable(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Stable]:
    """A process that requests are sent to; each test gives it a rollout of its own."""
    with peers.start(bundles["classes"], tmp_path_factory.mktemp("traffic")) as running:
        yield running
