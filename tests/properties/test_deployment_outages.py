"""Outages hold, whatever the steps and whenever they come: no weight rises that nobody watches, and in the end the rollout is over."""

import asyncio
from datetime import datetime, timedelta
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budget import examples
from fakes.canary_lab import started
from fakes.deployment_lab import Lab, digest

ROUND: Final = timedelta(seconds=1)
"""Between two readings of the laboratory."""
SECONDS: Final = 90

WEIGHTS = st.sampled_from([5, 20, 50, 100]).map(lambda weight: {"setWeight": weight})
PAUSES = st.sampled_from(["3s", "15s"]).map(lambda wait: {"pause": {"duration": wait}})
SHADOWS = st.sampled_from(["3s", "15s"]).map(lambda wait: {"shadow": {"weight": 30, "duration": wait}})
STEPS: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.one_of(WEIGHTS, PAUSES, SHADOWS, st.just({"analysis": {}})), min_size=1, max_size=5
)
OUTAGES = st.lists(
    st.tuples(st.sampled_from(["all", "stable", "restart"]), st.integers(0, SECONDS), st.integers(1, 40)), max_size=3
)


def moved(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether more requests reach the new model than before, by a share or by a promotion."""
    rose = after.get("traffic", {}).get("share", 0) > before.get("traffic", {}).get("share", 0)
    return rose or len(after.get("history", ())) > len(before.get("history", ()))


def last_seen(lab: Lab) -> datetime | None:
    """When the pods of stable were read that the operator knows now: the one read longest ago."""
    samples = lab.arms.latest(None)  # type: ignore[arg-type]
    if samples is None:
        return None
    stable = lab.arms.serving(digest("a"))
    seen = [sample.seen_at for run, sample in samples.runs.items() if run.pod_uid in stable and sample.gone_at is None]
    return min(seen) if len(seen) == len(stable) else None


@given(steps=STEPS, outages=OUTAGES)
@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_moves_forward_unseen(steps: list[dict[str, Any]], outages: list[tuple[str, int, int]]) -> None:
    if {"analysis": {}} in steps and not any("setWeight" in step for step in steps[: steps.index({"analysis": {}})]):
        steps = [{"setWeight": 20}, *steps]

    async def live() -> Lab:
        lab = await started(steps=steps)
        for second in range(SECONDS):
            now = {kind for kind, at, length in outages if at <= second < at + length}
            lab.arms.outage = "connection failed" if now & {"all", "restart"} else None
            lab.arms.deaf.clear()
            if "stable" in now:
                lab.arms.deafen(digest("a"))
            if any(kind == "restart" and at == second for kind, at, _ in outages):
                lab.arms.begin()
            before, seen = dict(lab.status), last_seen(lab)
            await lab.run(seconds=1)
            if "canary" in before and moved(before, lab.status):
                assert seen is not None
                assert lab.now - seen <= 2 * ROUND
        lab.arms.outage = None
        lab.arms.deaf.clear()
        await lab.run(seconds=240, until=lambda: lab.serving == "b")
        return lab

    lab = asyncio.run(live())
    assert (lab.serving, lab.arms.bad_answers) == ("b", 0)
