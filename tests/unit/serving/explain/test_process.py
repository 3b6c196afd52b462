"""The explaining process at its limits: too slow, idle, talking nonsense, changed under its feet."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from modelcycle_bundle import layout
from modelcycle_serving.explain import frames
from modelcycle_serving.explain.process import ExplainingProcess, TooSlow
from unit.serving.explain import cases

ROWS = cases.fitted("tree").table[:2]


async def gone(process: ExplainingProcess) -> None:
    async with asyncio.timeout(30):
        while process.pid is not None:  # noqa: ASYNC110 - a timer ends it, nothing tells
            await asyncio.sleep(0.01)


async def test_jobs_take_turns_and_answers_are_not_mixed_up(tmp_path: Path) -> None:
    process = ExplainingProcess(tmp_path, cases.write_bundle(tmp_path, "tree"))
    try:
        rows = [cases.fitted("tree").table[at : at + 3] for at in range(6)]
        together = await asyncio.gather(*(process.explain(each) for each in rows))
        loaded = cases.explainer_of(tmp_path / "again", "tree")
        for given, answer in zip(rows, together, strict=True):
            assert np.array_equal(answer.contributions, cases.explained(loaded, given).contributions)
    finally:
        await process.stop()


async def test_a_process_that_takes_too_long_is_killed_and_replaced(tmp_path: Path) -> None:
    digest = cases.write_bundle(tmp_path, "tree")
    hurried = ExplainingProcess(tmp_path, digest, seconds=0.001)
    with pytest.raises(TooSlow):
        await hurried.explain(ROWS)
    assert hurried.pid is None
    with pytest.raises(TooSlow):
        await hurried.explain(ROWS)


async def test_a_cancelled_job_leaves_no_answer_behind(tmp_path: Path) -> None:
    process = ExplainingProcess(tmp_path, cases.write_bundle(tmp_path, "tree"))
    try:
        job = asyncio.create_task(process.explain(ROWS))
        while process.pid is None:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert process.pid is None
        assert len((await process.explain(ROWS[:1])).score) == 1
    finally:
        await process.stop()


async def test_an_idle_process_ends_and_the_next_job_gets_a_new_one(tmp_path: Path) -> None:
    process = ExplainingProcess(tmp_path, cases.write_bundle(tmp_path, "tree"), idle=0.05)
    try:
        first = await process.explain(ROWS)
        await gone(process)
        second = await process.explain(ROWS)
        assert np.array_equal(first.contributions, second.contributions)
    finally:
        await process.stop()


async def test_what_went_wrong_is_told_by_its_kind_and_not_by_its_text(tmp_path: Path) -> None:
    digest = cases.write_bundle(tmp_path, "tree")
    (tmp_path / layout.MODEL_DIR / layout.CARD_JSON_FILE).write_text("{}")
    process = ExplainingProcess(tmp_path, digest)
    try:
        with pytest.raises(frames.Failed, match=r"^Changed$"):
            await process.explain(ROWS)
    finally:
        await process.stop()


def test_frames_are_read_as_they_were_written() -> None:
    rows = np.array([[1.5, np.nan], [-0.0, 3.0]], dtype=np.float32)
    assert np.array_equal(frames.rows_from_bytes(frames.rows_to_bytes(rows)), rows, equal_nan=True)
    answer = frames.Explained(
        "trees", "log-odds", np.array([1, 0]), np.array([0.5, 1.0]), np.array([0.1, 0.2]), np.eye(2)
    )
    back = frames.explained_from_bytes(frames.explained_to_bytes(answer))
    assert (back.method, back.space) == ("trees", "log-odds")
    for name in ("explained", "score", "base", "contributions"):
        assert np.array_equal(getattr(back, name), getattr(answer, name))
