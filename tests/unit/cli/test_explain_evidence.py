"""`explain` and the operator tell one story of a rollout: with its own design, the dispersion of each look and all its counts."""

import json
from typing import Any

import pytest

from fakes import released
from fakes.canary_lab import canary_spec, in_progress, started
from fakes.deployment_lab import NAMESPACE, Lab, digest
from modelcycle.cli.evidence import found
from modelcycle.cli.explain import explain
from modelcycle.deployment.analysis import state_text
from modelcycle.kube import kinds
from unit.cli.test_views import state as stored_state


def told(lab: Lab) -> str:
    (body,) = lab.kube.find(kinds.MODEL_DEPLOYMENT, NAMESPACE)
    return explain(body, kept=found(body, lab.evidence_map)).as_text()


def scores(lab: Lab) -> tuple[str, str]:
    evidence = lab.status["analysis"]["metrics"][0]["evidence"]
    return evidence["rollback"], evidence["promote"]


async def looked(**more: Any) -> Lab:
    """A canary after some looks at which both arms failed now and then."""
    lab = await started(analysis={"alpha": "0.02", "beta": "0.1"}, **more)
    lab.arms.failing = {digest("a"): 0.03, digest("b"): 0.03}
    await lab.run(seconds=60, until=lambda: lab.status.get("analysis", {}).get("looks", 0) >= 5)
    assert in_progress(lab)
    return lab


async def test_explain_goes_by_the_design_of_the_rollout_not_by_an_edited_spec() -> None:
    lab = await looked()
    e, p = scores(lab)
    assert f"computed again from all {lab.status['analysis']['looks']} looks: E = {e}, P = {p}\n" in told(lab)
    assert "edited since" not in told(lab)
    asked = {"alpha": "0.3", "beta": "0.3", "metrics": [{"name": "errors", "harmRatio": "9", "harmFloor": "0.2"}]}
    lab.apply(**canary_spec("b", analysis=asked))
    await lab.run(seconds=2)
    e, p = scores(lab)
    text = told(lab)
    assert f"computed again from all {lab.status['analysis']['looks']} looks: E = {e}, P = {p}\n" in text
    assert "At 50 the canary is rolled back" in text
    assert "At 10 it is promoted: one that is harmful (at least 2 times stable's odds and 1 % bad)" in text
    assert (
        "the spec was edited since this rollout began: alpha 0.3, beta 0.3, harmRatio 9 and harmFloor 0.2 hold from"
        in text
    )


async def test_explain_counts_what_fail_fast_counted() -> None:
    lab = await started()
    lab.arms.refusing[digest("b")] = 1.0
    await lab.run(seconds=30, until=lambda: lab.reason == "IncompatibleSignature")
    text = told(lab)
    assert "REFUSED  RESCUED" in text
    assert "fail-fast: all or nearly all answers of the last looks are bad" in text


@pytest.mark.parametrize("name", ["mid-canary", "rejected", "guard-window"])
@pytest.mark.parametrize("release", released.RELEASES)
def test_looks_of_an_earlier_release_are_shown_as_stored_and_said_to_be_beyond_recomputing(
    release: str, name: str
) -> None:
    (body,) = released.bodies(released.world(release, name), kinds.MODEL_DEPLOYMENT)
    text = explain(body).as_text()
    analysis = body["status"]["analysis"]
    assert "computed again from" not in text
    assert ("cannot be computed again" in text) is (analysis["looks"] == len(analysis["history"]))
    for look in analysis["history"]:
        (row,) = [line.split() for line in text.splitlines() if line.split()[:1] == [look["at"]]]
        assert row[-6:] == ["-", "-", "-", look["rollback"], look["promote"], look["verdict"]]


async def test_a_rollout_that_an_earlier_operator_began_is_not_recomputed_from_a_part_of_its_looks() -> None:
    lab = await looked()
    known = lab.evidence
    assert known is not None
    (body,) = lab.kube.find(kinds.MODEL_DEPLOYMENT, NAMESPACE)
    state = json.loads(state_text(known))
    state["recent"][0] = state["recent"][0][:10]
    body["status"]["analysis"] = {"rollout": known.rollout, "state": json.dumps(state)}
    text = explain(body).as_text()
    assert "computed again from" not in text
    assert "cannot be computed again" in text


async def test_explain_says_why_evidence_cannot_be_read_and_shows_the_scores() -> None:
    lab = await looked()
    (body,) = lab.kube.find(kinds.MODEL_DEPLOYMENT, NAMESPACE)
    e, _ = scores(lab)
    text = explain(body).as_text()
    assert "of ConfigMap scrap-" in text
    assert "is gone; only stored scores are shown" in text
    assert f"E, evidence of harm: {e} of 50" in text


def test_scores_that_other_formulas_gave_are_not_passed_off_as_equal() -> None:
    obj = stored_state("modeldeployment/rejected")
    state = json.loads(obj["status"]["analysis"]["state"])
    state["evidence"]["logP"] = "-1.5"
    obj["status"]["analysis"]["state"] = json.dumps(state)
    assert "P = 0.0472: not what is stored, another release computed that" in explain(obj).as_text()


def test_a_state_that_cannot_be_read_leaves_the_stored_scores() -> None:
    obj = stored_state("modeldeployment/rejected")
    obj["status"]["analysis"]["state"] = '{"of": "a later release"}'
    text = explain(obj).as_text()
    assert "E, evidence of harm: 186 of 100\n" in text
    assert "only stored scores are shown" in text
    assert "2026-11-25T08:00:12Z  1/10        0/110       33.5" in text
