"""How the demo takes in a rollout, state by state: it believes neither an old rejection nor somebody else's evidence."""

import io
from typing import Any

import pytest
from rich.console import Console

from demo.evidence import Arm
from demo.findings import Outcome
from demo.following import BY_EVIDENCE, Followed, note, require, unix
from demo.scene import StageFailed
from demo.story import Story

NEW, OLD = "sha256:" + "b" * 64, "sha256:" + "a" * 64
ROLLOUT = "abcdef-00000002"
BEGAN = unix("2026-11-25T10:00:00Z")


def story() -> Story:
    return Story(console=Console(file=io.StringIO(), soft_wrap=True))


def followed() -> Followed:
    return Followed("screening", NEW, BEGAN)


def analysis(looks: int, rollout: str = ROLLOUT, bad: int = 0) -> dict[str, Any]:
    counts = {"canary": {"n": 60 * looks, "events": bad}, "stable": {"n": 240 * looks, "events": 0}}
    scores = {"rollback": "0.9", "rollbackAt": "100", "promote": f"{1.4**looks}", "promoteAt": "20"}
    last = {"lastLookAt": f"2026-11-25T10:00:{8 + 2 * looks}Z"} if looks else {}
    metric = {"name": "errors", "verdict": "Continue", **counts, "evidence": scores, "needed": 100, "eta": "9s"}
    return {"rollout": rollout, "looks": looks, "metrics": [metric], **last}


def state(stable: str = OLD, **status: Any) -> dict[str, Any]:
    return {"metadata": {"generation": 2}, "status": {"stable": {"digest": stable}, **status}}


CANARY = {"digest": NEW, "rollout": ROLLOUT, "weight": {"desired": "20", "applied": "20"}}


def test_looks_are_collected_over_states_and_the_end_is_a_promotion() -> None:
    seen = followed()
    for looks in (1, 2, 4):
        note(story(), seen, state(canary=CANARY, analysis=analysis(looks)))
    assert (len(seen.looks), seen.canary, seen.outcome) == (3, Arm(240, 0), None)
    assert seen.proven_after is None
    note(story(), seen, state(canary=CANARY, analysis=analysis(9)))
    assert seen.proven_after == 540
    promotion = {"from": OLD, "to": NEW, "at": "2026-11-25T10:00:30Z", "reason": "Evidence"}
    note(story(), seen, state(NEW, retiring={"digest": OLD}, analysis=analysis(9), history=[promotion]))
    assert seen.outcome is None  # the guard window goes on
    note(story(), seen, state(NEW, analysis=analysis(9), history=[promotion]))
    assert (str(seen.outcome), seen.reason) == ("promoted", "Evidence")
    require(seen, Outcome.PROMOTED, BY_EVIDENCE)
    assert [point.at for point in seen.points(BEGAN)] == [8.0 + 2 * looks for looks in (1, 2, 4, 9)]


def test_a_rejection_of_this_attempt_is_its_end_and_its_last_look_counts() -> None:
    seen = followed()
    note(story(), seen, state(canary=CANARY, analysis=analysis(1, bad=30)))
    rejected = [{"digest": NEW, "reason": "CanaryFailFast", "at": "2026-11-25T10:00:14Z"}]
    note(story(), seen, state(rejected=rejected, analysis=analysis(2, bad=57)))
    assert (seen.outcome, seen.reason, seen.canary) == (Outcome.TAKEN_BACK, "CanaryFailFast", Arm(120, 57))
    assert seen.decided_at == BEGAN + 14
    require(seen, Outcome.TAKEN_BACK, ("CanaryFailFast", "CanaryFailed"))


def test_an_older_rejection_of_the_same_digest_is_not_this_ones() -> None:
    seen = followed()
    note(story(), seen, state(rejected=[{"digest": NEW, "reason": "CanaryFailed", "at": "2026-11-25T09:59:00Z"}]))
    assert seen.outcome is None


def test_evidence_of_another_rollout_is_not_counted() -> None:
    seen = followed()
    note(story(), seen, state(analysis=analysis(9, "abcdef-00000001")))
    note(story(), seen, state(canary=CANARY, analysis=analysis(9, "abcdef-00000001")))
    assert (seen.looks, seen.last) == ({}, None)


@pytest.mark.parametrize(
    ("outcome", "reason", "answers"),
    [
        (Outcome.PROMOTED, "PromoteFull", 400),
        (Outcome.TAKEN_BACK, "CanaryFailed", 400),
        (Outcome.PROMOTED, "Evidence", 0),
    ],
)
def test_another_end_another_reason_or_no_answer_seen_fails_the_stage(
    outcome: Outcome, reason: str, answers: int
) -> None:
    seen = followed()
    note(story(), seen, state(canary=CANARY, analysis=analysis(1 if answers else 0)))
    seen.outcome, seen.reason = outcome, reason
    with pytest.raises(StageFailed):
        require(seen, Outcome.PROMOTED, BY_EVIDENCE)
