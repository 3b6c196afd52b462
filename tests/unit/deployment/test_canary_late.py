"""Answers that come too late: a service slow in both arms keeps its canary, a slow canary goes, pods of an earlier image judge neither."""

import json
from typing import Any

import pytest

from fakes.canary_lab import started
from fakes.deployment_lab import IMAGE, NAMESPACE, Lab, digest
from modelcycle.deployment import analysis
from modelcycle.engine.plan import Key

KEY = Key("ModelDeployment", NAMESPACE, "scrap")


def message(lab: Lab) -> str:
    ready = lab.condition("Ready")
    assert ready is not None
    return str(ready["message"])


def looks(lab: Lab) -> int:
    known = lab.evidence
    return known.evidence.looks if known else 0


@pytest.mark.parametrize("part", [0.1, 0.5, 1.0])
async def test_service_that_is_slow_in_both_arms_is_not_rolled_back(part: float) -> None:
    lab = await started()
    lab.arms.slow = {digest("a"): part, digest("b"): part}
    await lab.run(seconds=600, until=lambda: lab.serving == "b")
    assert (lab.status.get("rejected", []), lab.arms.bad_answers) == ([], 0)
    assert lab.status["analysis"]["metrics"][0]["canary"]["events"] > 0


async def test_canary_that_is_late_where_stable_is_not_is_rolled_back_by_evidence() -> None:
    lab = await started()
    lab.arms.slow = {digest("a"): 0.01, digest("b"): 0.1}
    await lab.run(seconds=300, until=lambda: lab.reason == "CanaryFailed")
    assert (lab.reason, lab.serving) == ("CanaryFailed", "a")
    assert "mostly late: no whole answer within spec.traffic.canaryTimeout (1s)" in message(lab)


@pytest.mark.parametrize("earlier_image", [False, True])
async def test_canary_whose_every_answer_is_late_is_off_at_once_and_the_message_names_the_timeout(
    earlier_image: bool,
) -> None:
    lab = await started(traffic={"canaryTimeout": "250ms"})
    lab.arms.earlier_image = earlier_image
    lab.arms.slow[digest("b")] = 1.0
    await lab.run(seconds=30, until=lambda: lab.reason == "CanaryFailFast")
    assert (lab.reason, lab.serving, lab.arms.bad_answers) == ("CanaryFailFast", "a", 0)
    assert "mostly late: no whole answer within spec.traffic.canaryTimeout (0.25s)" in message(lab)
    assert (f"of image {IMAGE}, do not count their own" in message(lab)) is earlier_image


async def test_canary_whose_pod_stood_still_for_one_look_is_not_off_at_once() -> None:
    lab = await started(rate=300.0, traffic={"canaryTimeout": "250ms"})
    await lab.run(seconds=60, until=lambda: looks(lab) >= 2)
    before = looks(lab)
    lab.arms.slow[digest("b")] = 1.0
    await lab.run(seconds=10, until=lambda: looks(lab) > before)
    del lab.arms.slow[digest("b")]
    await lab.run(seconds=20)
    assert lab.status["analysis"]["metrics"][0]["canary"]["events"] >= 8
    assert lab.status.get("rejected", []) == []


async def test_late_answers_are_no_evidence_where_pods_of_an_earlier_image_do_not_count_stables() -> None:
    lab = await started()
    lab.arms.earlier_image = True
    lab.arms.slow = {digest("a"): 0.5, digest("b"): 0.5}
    await lab.run(seconds=300, until=lambda: lab.serving == "b")
    assert (lab.serving, lab.status.get("rejected", [])) == ("b", [])
    assert lab.status["analysis"]["metrics"][0]["canary"]["events"] == 0


async def test_evidence_stored_by_an_earlier_operator_goes_on_with_its_pods() -> None:
    lab = await started()
    lab.arms.earlier_image = True
    lab.arms.slow[digest("b")] = 0.3
    lab.arms.failing[digest("b")] = 0.02
    await lab.run(seconds=12)
    begun = lab.evidence
    assert begun is not None
    state = json.loads(analysis.state_text(begun))
    # As the first release wrote it: every late answer an event, and none told apart.
    state["tallies"] = [tally[:8] for tally in state["tallies"]]
    state["recent"] = [look[:10] for look in state["recent"]]
    known = analysis.from_plain({"rollout": begun.rollout, "state": json.dumps(state)})
    assert known is not None
    assert [tally.unjudged for tally in known.tallies] == [None] * len(known.tallies)
    samples = lab.arms.latest(KEY)
    assert samples is not None
    before = known.evidence.canary
    assert analysis.is_consistent(known, samples)
    await lab.run(seconds=4)
    samples = lab.arms.latest(KEY)
    assert samples is not None
    after = analysis.fold(known, samples)
    rose = after.evidence.canary.n - before.n
    assert rose > 10
    assert after.evidence.canary.events - before.events <= rose // 4
    assert all(tally.unjudged is not None for tally in after.tallies)
    again = analysis.from_plain({"rollout": after.rollout, "state": analysis.state_text(after)})
    assert again is not None
    assert again.tallies == after.tallies
    assert [(look.look.late, look.unjudged) for look in again.recent] == [
        (look.look.late, look.unjudged) for look in after.recent
    ]


@pytest.mark.parametrize(("step", "reason"), [({"analysis": {}}, "CanaryInProgress"), ({"pause": {}}, "CanaryPaused")])
async def test_a_rollout_under_way_says_what_pods_of_which_image_do_not_export(step: Any, reason: str) -> None:
    lab = await started(rate=20, steps=[{"setWeight": 20}, step])
    lab.arms.earlier_image = True
    await lab.run(seconds=20, until=lambda: looks(lab) >= 3)
    assert lab.reason == reason
    assert message(lab).endswith(
        f"; stable's pods, of image {IMAGE}, do not export late answers of their own and the form of their answers:"
        " no evidence in this rollout"
    )


async def test_a_rollout_of_pods_that_export_everything_says_nothing_of_it() -> None:
    lab = await started()
    await lab.run(seconds=20, until=lambda: looks(lab) >= 3)
    assert "do not export" not in message(lab)


async def test_the_image_is_the_one_of_the_pods_and_not_of_the_settings_by_now() -> None:
    lab = await started()
    lab.arms.earlier_image = True
    lab.serving_image = "registry.example/serving:next"
    await lab.run(seconds=20, until=lambda: looks(lab) >= 3)
    assert f"of image {IMAGE}, do not export" in message(lab)
