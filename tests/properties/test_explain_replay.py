"""What `explain` computes again is what the operator stored, for rollouts whose pods fail in bursts and whose spec is edited meanwhile."""

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from modelcycle.cli.explain import explain
from modelcycle.deployment.analysis import AnalysisState, fold, from_plain, replay, score, state_text
from modelcycle.metrics.port import RunId, RunSample, Samples, Series
from modelcycle.stats.evidence import Design, log_promote, log_rollback
from modelcycle_bundle import metric_names as names

ROLLOUT = "0b5c7f-41d0c2f3"
START = datetime(2026, 11, 25, 8, tzinfo=UTC)
PODS = [RunId(f"pod-{number}", 1.0) for number in range(4)]
designs = st.builds(
    Design,
    alpha=st.sampled_from([0.001, 0.01, 0.2]),
    beta=st.sampled_from([0.01, 0.05, 0.3]),
    harm_ratio=st.floats(1.1, 9.0),
    harm_floor=st.floats(0.001, 0.3),
)


def rollout(seed: int, looks: int, burst: float, design: Design) -> AnalysisState:
    """Counters of four pods, each of which fails in bursts of its own."""
    draw = random.Random(seed)
    counts = {pod: dict.fromkeys([(a, o) for a, by in names.ARM_OUTCOMES.items() for o in by], 0) for pod in PODS}
    rescued = dict.fromkeys(PODS, 0)
    state = AnalysisState(ROLLOUT, design)
    for look in range(looks):
        for pod in PODS:
            rate = draw.choice([0.0, burst])
            for _ in range(draw.randint(0, 40)):
                arm = names.ARM_CANARY if draw.random() < 0.3 else names.ARM_STABLE
                bad = draw.random() < rate
                outcome = draw.choice([names.OUTCOME_FAILED, names.OUTCOME_LATE]) if bad else names.OUTCOME_OK
                counts[pod][arm, outcome] += 1
                rescued[pod] += bad and arm == names.ARM_CANARY
        at = START + timedelta(seconds=2 * look)
        runs = {pod: RunSample(pod, series(counts[pod], rescued[pod]), at) for pod in PODS}
        state = fold(state, Samples("scrap", START, at, frozenset(pod.pod_uid for pod in PODS), runs))
    return state


def series(counts: dict[tuple[str, str], int], rescued: int) -> dict[Series, int]:
    arms = {Series(names.ARM_REQUESTS, (ROLLOUT, *key)): count for key, count in counts.items()}
    return arms | {Series(names.ARM_RESCUED, (ROLLOUT,)): rescued}


def body(state: AnalysisState, edited: Design) -> dict[str, Any]:
    """As the API server has it, with a spec that was edited since the rollout began."""
    errors = {"name": "errors", "harmRatio": repr(edited.harm_ratio), "harmFloor": repr(edited.harm_floor)}
    asked = {"alpha": repr(edited.alpha), "beta": repr(edited.beta), "metrics": [errors]}
    analysis = {"rollout": state.rollout, "looks": state.evidence.looks, "state": state_text(state)}
    return {
        "kind": "ModelDeployment",
        "metadata": {"name": "scrap", "namespace": "plant-7", "generation": 2},
        "spec": {"strategy": {"canary": {"analysis": asked}}},
        "status": {"analysis": analysis},
    }


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    looks=st.integers(1, 25),
    burst=st.floats(0.0, 0.9),
    design=designs,
    edited=designs,
)
def test_recomputed_equals_stored(seed: int, looks: int, burst: float, design: Design, edited: Design) -> None:
    state = rollout(seed, looks, burst, design)
    read = from_plain({"rollout": state.rollout, "state": state_text(state)})
    assert read is not None
    found, text = replay(read), explain(body(state, edited)).as_text()
    if state.evidence.looks > len(state.recent):
        assert found is None
        assert f"{state.evidence.looks - len(state.recent)} earlier looks" in text
        return
    assert found is not None
    if not found:
        return
    assert found[-1] == state.evidence
    for after, look in zip(found, read.recent, strict=True):
        assert math.isclose(log_rollback(after), look.log_rollback, rel_tol=1e-5, abs_tol=1e-5)
        assert math.isclose(log_promote(after, design), look.log_promote, rel_tol=1e-5, abs_tol=1e-5)
    stored = f"E = {score(state.recent[-1].log_rollback)}, P = {score(state.recent[-1].log_promote)}"
    assert f"computed again from all {len(found)} looks: {stored}" in text
    assert "another release" not in text


def test_rollouts_of_this_property_are_overdispersed() -> None:
    """Else phi would be 1 throughout, and any phi right."""
    assert rollout(1, 15, 0.3, Design()).dispersion.phi > 1.5
