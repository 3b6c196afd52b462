"""A rolling restart under a mixture of requests, good and bad: nothing lost, nothing counted twice or not at all. `make soak` in small."""

import asyncio
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.serving import soak
from benchmarks.serving.clients import Clients
from benchmarks.serving.environments import Environment
from benchmarks.serving.mixed import Mixed
from benchmarks.serving.models import Model
from modelcycle_bundle import layout
from unit.serving import rig

BEFORE, AFTERWARDS = 300, 600
"""Requests until the restart begins, and from its end on."""
DRAIN = ("--drain-settle", "3", "--drain-idle", "4")
"""Longer than a probe and the endpoints' delay together, as in a cluster."""


async def test_a_rolling_restart_under_mixed_requests_loses_and_miscounts_nothing(bundles: dict[str, Path]) -> None:
    model = known(bundles["classes"])
    environment, core = Environment(Path(sys.prefix)), min(os.sched_getaffinity(0))
    async with soak.pods(model, environment, core, *DRAIN) as fleet:
        stays, old = await fleet.start(), await fleet.start()
        await fleet.endpoints.until(2)
        clients = Clients(fleet.endpoints, Mixed(model, seed=1), count=8, seed=2)

        async def restart() -> int:
            while clients.requests < BEFORE:  # noqa: ASYNC110 - the clients count
                await asyncio.sleep(0.01)
            await fleet.start()
            await fleet.endpoints.until(3)
            await fleet.retire(old)
            return clients.requests

        restarting = asyncio.create_task(restart())
        await clients.run(lambda: restarting.done() and clients.requests >= restarting.result() + AFTERWARDS)

        assert (dict(clients.lost), fleet.failures) == ({}, [])
        assert soak.miscounted(stays, clients) == []
        assert len({port for port, _ in clients.answers}) == 3
        assert len(clients.sent) > 10


def known(bundle: Path) -> Model:
    """Rows and onnxruntime's own answers to them."""
    session = onnxruntime.InferenceSession(bundle / layout.MODEL_DIR / layout.MODEL_FILE)
    rows = rig.TABLE[:64].astype(np.float64)
    labels, probabilities = session.run(["label", "probabilities"], {"input": rig.TABLE[:64]})
    return Model("classes", bundle, rows, labels, probabilities)
