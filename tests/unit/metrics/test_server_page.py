"""The page that the model server writes is the page that the operator reads: same names, exact counts, sums that agree."""

import numpy as np

from modelcycle.drift.consistency import ROWS, feature_bins, mismatches, total_requests
from modelcycle.metrics.exposition import parse
from modelcycle.metrics.port import RunId, ServedModel
from modelcycle_bundle.outputs import ValueOutputs
from modelcycle_bundle.profile import build
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
        "r", inputs_hash(signature), accepts_missing=True, outputs=outputs_hash(signature)
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
