"""What the demo reads of a rollout's status and how it draws it."""

from typing import Any

import pytest

from demo import evidence, traffic
from demo.evidence import Arm
from demo.traffic import Sighting, moments, witnessed
from demo.watch import Arms, Page

STATUS: dict[str, Any] = {
    "canary": {"digest": "sha256:aa", "rollout": "abcdef-01234567", "weight": {"desired": "20", "applied": "20"}},
    "analysis": {
        "rollout": "abcdef-01234567",
        "looks": 3,
        "metrics": [
            {
                "name": "errors",
                "verdict": "Continue",
                "canary": {"n": 180, "events": 1},
                "stable": {"n": 720, "events": 2},
                "evidence": {"rollback": "0.41", "rollbackAt": "100", "promote": "2.3", "promoteAt": "20"},
                "needed": 240,
                "eta": "8s",
            }
        ],
        "lastLookAt": "2026-11-25T10:00:00Z",
    },
}


def test_status_becomes_one_line_with_counts_bars_and_what_is_missing() -> None:
    seen = evidence.read({"status": STATUS})
    assert seen is not None
    assert (seen.canary, seen.stable, seen.needed) == (Arm(180, 1), Arm(720, 2), 240)
    assert seen.look == evidence.Look("2026-11-25T10:00:00Z", Arm(180, 1), Arm(720, 2), 0.41, 2.3)
    line = evidence.line(seen)
    for part in (" 20 %", "new  180, 1 bad", "old   720, 2 bad", "0.4/100", "2.3/20", "240 more, 8s"):
        assert part in line
    assert len(line) <= 110


@pytest.mark.parametrize("status", [{}, {"analysis": {}}, {"analysis": {"metrics": [{"name": "errors"}]}}])
def test_before_the_first_look_there_is_no_evidence(status: dict[str, Any]) -> None:
    assert evidence.read({"status": status}) is None


@pytest.mark.parametrize(
    ("value", "full", "filled"),
    [
        (0.0, 100, 0),
        (0.4, 100, 0),
        (1, 100, 0),
        (10, 100, 5),
        (99.9, 100, 9),
        (100, 100, 10),
        (1e9, 100, 10),
        (5, 20, 5),
    ],
)
def test_a_bar_is_logarithmic_and_full_only_at_its_threshold(value: float, full: float, filled: int) -> None:
    assert evidence.bar(value, full) == "|" + "#" * filled + "." * (10 - filled) + "|"


def sighting(at: float, *pages: tuple[str, float, int]) -> Sighting:
    """Pods by the rollout they apply, their share, and bad answers of the canary of that rollout; all have seen one of r0 before."""
    old = {"r0": Arms(canary=5, canary_bad=5)}
    return Sighting(
        at, tuple(Page(name, share, old | {name: Arms(canary=bad, canary_bad=bad)}) for name, share, bad in pages)
    )


SEEN = [
    sighting(2.0, ("r1", 0.2, 0), ("r1", 0.2, 0)),
    sighting(2.3, ("r1", 0.2, 0), ("r1", 0.2, 1)),
    sighting(3.9, ("r1", 0.2, 9), ("r1", 0.0, 8)),
    sighting(4.0, ("r1", 0.0, 10)),  # one pod did not answer: not yet proven
    sighting(4.1, ("r1", 0.0, 10), ("r1", 0.0, 8)),
    sighting(9.0, ("r2", 0.0, 0), ("r2", 0.0, 0)),
]


def test_moments_are_the_first_bad_answer_and_the_first_sight_of_no_share_at_all() -> None:
    assert moments(SEEN, "r1") == traffic.Moments(first_bad=2.3, share_zero=4.1)


@pytest.mark.parametrize("rollout", ["r1", "r3"])
def test_without_a_bad_answer_or_without_share_zero_there_are_no_moments(rollout: str) -> None:
    assert moments(SEEN[:3], rollout) is None


def test_the_counts_of_a_rollout_are_the_most_that_was_seen_of_it() -> None:
    assert witnessed(SEEN, "r1") == Arms(canary=18, canary_bad=18)
    assert witnessed(SEEN, "r3") == Arms()
