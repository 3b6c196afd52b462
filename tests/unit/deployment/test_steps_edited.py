"""Whether the steps of a canary in flight were edited: told by a hash that neither an upgrade nor a renaming in code changes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import released
from fakes.canary_lab import STEPS, canary_spec, started
from fakes.deployment_lab import Lab
from modelcycle.api import rollout
from modelcycle.api.rollout import DEFAULT_STEPS, Step
from modelcycle.api.steps_identity import canonical, first_release_hash, is_hash_of, steps_hash

ALL: Final[tuple[Step, ...]] = (
    rollout.SetWeight(2000),
    rollout.Pause(None),
    rollout.Pause(timedelta(seconds=90)),
    rollout.Shadow(500, timedelta(hours=1)),
    rollout.Analysis(),
)
durations = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400))
shares = st.integers(0, 10_000)
lists = st.lists(
    st.builds(rollout.SetWeight, shares)
    | st.builds(rollout.Pause, st.none() | durations)
    | st.just(rollout.Analysis())
    | st.builds(rollout.Shadow, shares, durations),
    max_size=6,
)


# The classes as the first release had them: their repr is what it hashed.


@dataclass(frozen=True, slots=True)
class SetWeight:
    share: int


@dataclass(frozen=True, slots=True)
class Pause:
    duration: timedelta | None


@dataclass(frozen=True, slots=True)
class Analysis:
    pass


@dataclass(frozen=True, slots=True)
class Shadow:
    share: int
    duration: timedelta


def as_first_released(step: Step) -> SetWeight | Pause | Analysis | Shadow:
    match step:
        case rollout.SetWeight():
            return SetWeight(step.share)
        case rollout.Pause():
            return Pause(step.duration)
        case rollout.Shadow():
            return Shadow(step.share, step.duration)
        case _:
            return Analysis()


def restarts(lab: Lab) -> list[str]:
    return [event.note for event in lab.recorder.events if event.reason == "StepsRestarted"]


@pytest.mark.parametrize(
    ("steps", "today", "first"),
    [(DEFAULT_STEPS, "2-8af6a048", "c65d67ac"), (ALL, "2-894056e7", None), ((), "2-b6bda5df", None)],
)
def test_hashes_stay_what_they_are(steps: Sequence[Step], today: str, first: str | None) -> None:
    assert steps_hash(steps) == today
    assert first is None or first_release_hash(steps) == first


def test_text_that_is_hashed_is_declared() -> None:
    pauses = '{"pause":{}},{"pause":{"duration":90000000}}'
    shadow = '{"shadow":{"duration":3600000000,"weight":500}}'
    assert canonical(ALL) == f'{{"steps":[{{"setWeight":2000}},{pauses},{shadow},{{"analysis":{{}}}}],"v":2}}'


@given(lists)
def test_hash_of_the_first_release_is_reproduced_to_the_letter(steps: list[Step]) -> None:
    shown = repr(tuple(as_first_released(step) for step in steps))
    assert first_release_hash(steps) == hashlib.sha256(shown.encode()).hexdigest()[:8]


@given(lists, lists)
def test_only_the_same_steps_are_the_same(one: list[Step], other: list[Step]) -> None:
    for stored in (steps_hash(one), first_release_hash(one)):
        assert is_hash_of(stored, one)
        assert is_hash_of(stored, other) is (one == other)


@pytest.mark.parametrize("name", ["mid-canary", "mid-pause"])
@pytest.mark.parametrize("release", released.RELEASES)
async def test_an_upgrade_restarts_no_steps(release: str, name: str) -> None:
    lab = released.deployment(release, name)
    before = lab.status["canary"]
    await lab.run(seconds=10)
    assert restarts(lab) == []
    assert lab.status["canary"]["step"] >= before["step"] > 0
    assert lab.status["canary"]["stepsHash"] == before["stepsHash"]


async def test_edited_steps_begin_again_and_are_known_by_todays_hash() -> None:
    lab = await started(steps=[{"setWeight": 20}, {"pause": {}}])
    await lab.run(seconds=30, until=lambda: lab.status.get("canary", {}).get("step") == 1)
    assert lab.status["canary"]["stepsHash"].startswith("2-")
    lab.apply(**canary_spec("b", steps=[{"setWeight": 10}, {"pause": {}}, *STEPS]))
    await lab.run(seconds=10)
    assert len(restarts(lab)) == 1
