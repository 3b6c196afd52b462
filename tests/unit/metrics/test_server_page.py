"""The page that the model server writes is the page that the operator reads: same names, exact counts, sums that agree."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

import aiohttp
import aiohttp.test_utils
import numpy as np
import pytest
from aiohttp import web

from modelcycle.drift.consistency import ROWS, feature_bins, mismatches, total_requests
from modelcycle.metrics.exposition import parse
from modelcycle.metrics.pods import WITHOUT_BINS, HttpPages, PageError
from modelcycle.metrics.port import ROLLOUT_SERIES, RunId, Series, ServedModel
from modelcycle_bundle import client_inputs, metric_names
from modelcycle_bundle.outputs import ValueOutputs
from modelcycle_bundle.profile import build
from modelcycle_bundle.traffic import Traffic
from modelcycle_serving.arm_counters import ArmCounters
from modelcycle_serving.counters import Counters, inputs_hash, outputs_hash
from modelcycle_serving.model import Model
from modelcycle_serving.oip import Signature


def test_operator_reads_what_the_server_counts() -> None:
    rng = np.random.default_rng(7)
    inputs = rng.normal(size=(500, 2)).astype(np.float32)
    outputs = ValueOutputs(rng.normal(size=500).astype(np.float32))
    profile = build(["mean radius", 'odd "name"\\'], inputs, outputs)
    signature = Signature(("mean radius", 'odd "name"\\'), (), accepts_missing=True)
    model = Model("sha256:" + "0" * 64, signature, profile, b"", lambda rows: {}, 0.0, 0.0)
    counters = Counters(model, "r", "uid-1", 1795416200.25)
    fresh = parse(counters.exposition().decode())
    assert fresh.run == RunId("uid-1", 1795416200.25)
    assert set(fresh.counts.values()) == {0}
    assert fresh.model == ServedModel(
        "r",
        inputs_hash(signature),
        accepts_missing=True,
        outputs=outputs_hash(signature),
        takes=signature.features,
        needs=signature.features,
    )
    served = inputs[:40].copy()
    served[:3, 0] = np.nan
    counters.count_request(200)
    counters.count_request(400)
    counters.count_rows(served, {"prediction": np.zeros((40, 1), dtype=np.float32)})
    page = parse(counters.exposition().decode())
    assert (page.counts[ROWS], total_requests(page.counts)) == (40, 2)
    table = feature_bins(page.counts)[profile.hash]
    assert {name: sum(bins.values()) for name, bins in table.items()} == {"mean radius": 40, 'odd "name"\\': 40}
    assert table["mean radius"]["missing"] == 3
    assert mismatches(page.counts) == ()


def test_operator_reads_what_clients_send_and_what_of_it_the_model_needs() -> None:
    needs = ('$(POD_UID) "x"\\', "Temp\r\n(degC)")
    profile = build(list(needs), np.eye(2, dtype=np.float32), ValueOutputs(np.ones(2, dtype=np.float32)))
    signature = Signature(needs, (), inputs=("a", *reversed(needs)))
    model = Model("sha256:" + "0" * 64, signature, profile, b"", lambda rows: {}, 0.0, 0.0)
    text = Counters(model, "r", "uid-1", 1.0).exposition().decode()
    found = parse(text, ROLLOUT_SERIES).model
    assert found is not None
    assert (found.takes, found.needs) == (signature.inputs, needs)
    many = tuple(f"sensor {at} of the line" for at in range(120))
    wide = Signature(many, (), inputs=many[::-1])
    shown = Counters(replace(model, signature=wide), "r", "uid-1", 1.0).exposition_without_bins().decode()
    assert shown.count("modelcycle_model_inputs{") == 3
    assert max(map(len, re.findall(r'"((?:[^"\\]|\\.)*)"', shown.replace('\\"', "'")))) <= client_inputs.PART_LENGTH
    joined = parse(shown, ROLLOUT_SERIES).model
    assert joined is not None
    assert (joined.takes, joined.needs) == (many[::-1], many)
    lost = parse("\n".join(line for line in shown.splitlines() if 'part="01"' not in line) + "\n", ROLLOUT_SERIES).model
    assert lost is not None
    assert lost.takes == ()
    for broken in ("[", "[1]", "{}", '[\\"a\\",\\"a\\"]'):
        page = re.sub(r'takes="(?:[^"\\]|\\.)*"', lambda _: f'takes="{broken}"', text)  # noqa: B023
        unread = parse(page, ROLLOUT_SERIES)
        assert unread.run == RunId("uid-1", 1.0)
        assert unread.model is not None
        assert unread.model.takes == (), "what cannot be read is not said, and the counts hold all the same"


COLUMNS = 4200


@pytest.fixture(scope="module")
def wide() -> Counters:
    """What a model with so many columns counts, one of them named over two lines."""
    names = [f"spectrum[{at}] in counts per second" for at in range(COLUMNS - 1)] + ["Temp\r\n(degC)"]
    rng = np.random.default_rng(7)
    outputs = ValueOutputs(rng.normal(size=100).astype(np.float32))
    profile = build(names, rng.normal(size=(100, COLUMNS)).astype(np.float32), outputs)
    signature = Signature(tuple(names), (), accepts_missing=True)
    return Counters(Model("sha256:" + "0" * 64, signature, profile, b"", lambda rows: {}, 0.0, 0.0), "r", "uid-1", 1.0)


async def test_table_of_4200_columns_can_be_rolled_out(wide: Counters) -> None:
    arms = ArmCounters()
    arms.apply(Traffic("aabbcc-00000001", 1, 500, "10.0.0.1:80", 1.0))
    arms.count("aabbcc-00000001", "stable", "late")

    async def page(request: web.Request) -> web.Response:
        is_short = request.headers.get(metric_names.BINS_HEADER) == metric_names.BINS_NONE
        own = wide.exposition_without_bins() if is_short else wide.exposition()
        return web.Response(body=own + arms.exposition())

    async with aiohttp.test_utils.TestServer(_application(page)) as server, aiohttp.ClientSession() as session:
        with pytest.raises(PageError, match="larger than 4194304 bytes: a table of fewer columns"):
            await HttpPages(session, timeout=60).get(str(server.make_url("/metrics")))
        text = await HttpPages(session, timeout=60, headers=WITHOUT_BINS).get(str(server.make_url("/metrics")))
    assert len(text) < 16 * 1024
    read = parse(text, ROLLOUT_SERIES)
    assert read.run == RunId("uid-1", 1.0)
    assert read.counts[Series(metric_names.ARM_REQUESTS, ("aabbcc-00000001", "stable", "late"))] == 1


def test_page_of_an_earlier_image_has_all_bins_and_is_read_for_a_rollout_all_the_same(wide: Counters) -> None:
    assert parse(wide.exposition().decode(), ROLLOUT_SERIES) == parse(
        wide.exposition_without_bins().decode(), ROLLOUT_SERIES
    )


def _application(page: Callable[[web.Request], Awaitable[web.Response]]) -> web.Application:
    application = web.Application()
    application.router.add_get("/metrics", page)
    return application
