"""The facts on the real API server: the referee of the fake."""

import pytest

from conformance.facts import *  # noqa: F403
from conformance.more_facts import *  # noqa: F403
from conformance.world import PROBE, PROBE_DEFINITION, RestOthers, eventually
from modelcycle.kube.client import RestKube
from modelcycle.kube.errors import ApiError
from modelcycle.kube.kinds import CUSTOM_RESOURCE_DEFINITION


@pytest.fixture
async def kube(rest_kube: RestKube) -> RestKube:
    await rest_kube.apply(CUSTOM_RESOURCE_DEFINITION, "", PROBE_DEFINITION)

    async def served() -> bool:
        try:
            await rest_kube.list(PROBE, None)
        except ApiError:
            return False
        return True

    assert await eventually(served)
    return rest_kube


@pytest.fixture
def others(kube: RestKube) -> RestOthers:
    return RestOthers(kube)
