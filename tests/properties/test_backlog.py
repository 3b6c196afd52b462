"""Rows are counted late and in slices, but each exactly once, and none is uncounted when somebody looks."""

import asyncio

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from modelcycle_bundle import profile
from modelcycle_bundle.outputs import ClassOutputs
from modelcycle_serving import backlog
from modelcycle_serving.backlog import Backlog
from modelcycle_serving.oip import Outputs, Rows

TABLE = np.random.default_rng(3).normal(size=(300, 3)).astype(np.float32)
ANSWERS = ClassOutputs(np.arange(300) % 2, np.full((300, 2), 0.5, np.float32))
PROFILE = profile.build(("a", "b", "c"), TABLE, ANSWERS)
NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)
STEPS = st.lists(st.integers(1, 700) | st.sampled_from(["look", "wait"]), max_size=12)


class Counted:
    """What a process counts, in the order in which it is counted."""

    def __init__(self) -> None:
        self.bins = profile.BinCounter(PROFILE)
        self.slices: list[int] = []
        self.seen: list[float] = []
        self.called = asyncio.Event()

    def __call__(self, rows: Rows, outputs: Outputs) -> None:
        assert len(rows) == len(outputs["label"])
        self.slices.append(len(rows))
        self.seen += outputs["label"].tolist()
        self.bins.add_inputs(rows)
        self.called.set()


@settings(deadline=None, max_examples=examples(100))
@given(steps=STEPS, values=st.lists(NUMBERS, min_size=1, max_size=20), most=st.sampled_from([1 << 22, 600, 1]))
async def test_each_row_is_counted_once_and_all_of_them_before_a_look(
    steps: list[int | str], values: list[float], most: int
) -> None:
    counted = Counted()
    late = Backlog(counted, max_values=most)
    added = 0
    for step in steps:
        if isinstance(step, int):
            rows = np.resize(np.array(values, np.float32), (step, 3))
            late.add(rows, {"label": np.arange(added, added + step)})
            added += step
            assert len(late) * 3 <= max(most, backlog.MOST_ROWS * 3)
        elif step == "wait":
            await asyncio.sleep(0)
        else:
            late.flush()
            assert len(late) == 0
            assert counted.seen == list(range(added))
    late.close()
    assert counted.seen == list(range(added))
    assert all(size <= backlog.MOST_ROWS for size in counted.slices)
    sums = counted.bins.input_counts
    for name in PROFILE.features:
        own = [
            count for (feature, _), count in zip(counted.bins.input_series, sums, strict=True) if feature == name.name
        ]
        assert sum(own) == added


async def test_rows_are_counted_when_the_loop_is_idle() -> None:
    counted = Counted()
    late = Backlog(counted)
    late.add(TABLE[:5], {"label": np.arange(5)})
    assert counted.slices == []
    late.add(TABLE[:5], {"label": np.arange(5, 10)})
    async with asyncio.timeout(10):
        await counted.called.wait()
    assert counted.slices == [10]
    late.close()


async def test_slice_grows_smaller_where_counting_is_slow() -> None:
    def slow(rows: Rows, outputs: Outputs) -> None:
        spin = sum(at for at in range(len(rows) * 5_000))
        assert spin >= 0

    late = Backlog(slow)
    for _ in range(200):
        late.add(TABLE[:60], {"label": np.arange(60)})
    assert late.slice_rows < backlog.FIRST_ROWS
    late.close()
