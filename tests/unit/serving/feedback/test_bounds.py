"""Whatever arrives, memory and series stay bounded, and nothing is counted twice for it."""

from pathlib import Path

import pytest

from modelcycle_bundle import cardinality, metric_names
from modelcycle_serving.feedback.cohorts import KEPT_COHORTS, Cohorts
from modelcycle_serving.feedback.replays import Forgotten, Replays
from unit.serving.feedback import desk
from unit.serving.feedback.desk import ROLLOUT, Desk


def test_the_oldest_are_forgotten_and_from_then_on_nothing_as_old_is_taken() -> None:
    replays = Replays(3)
    for minute, identity in ((10, 1), (11, 2), (12, 3)):
        replays.add(minute, identity, 1)
    assert replays.labelled(10, 1) == 1
    replays.add(9, 4, 1)
    assert len(replays) == 3
    with pytest.raises(Forgotten):
        replays.labelled(9, 4)
    with pytest.raises(Forgotten):
        replays.labelled(8, 99)
    assert (replays.labelled(10, 1), replays.labelled(10, 99)) == (1, 0)


def test_a_full_minute_is_forgotten_as_a_whole() -> None:
    replays = Replays(2)
    for identity in range(3):
        replays.add(10, identity, 1)
    assert len(replays) == 0
    with pytest.raises(Forgotten):
        replays.labelled(10, 0)
    assert replays.labelled(11, 0) == 0


def test_what_nobody_can_ask_about_takes_no_room() -> None:
    replays = Replays(100)
    for minute in range(50):
        replays.add(minute, minute, 1)
    replays.expire(40)
    assert len(replays) == 10


def test_a_forgotten_answer_is_refused_by_name(key_file: Path) -> None:
    at = Desk(desk.classes("no", "yes"), key_file, remembered=2)
    tokens = []
    for _ in range(4):
        tokens.append(at.token("no"))
        at.now += 60
    assert at.post(*[(token, ["no"]) for token in tokens])[0] == 200
    status, body = at.post((tokens[0], ["no"]))
    assert (status, body["refused"][0]["reason"]) == (409, "forgotten")
    assert at.post((tokens[3], ["no"]))[1]["refused"][0]["reason"] == "replayed"
    assert sum(at.series(metric_names.LABELS).values()) == 4


def blocks(cohorts: Cohorts) -> dict[str, int]:
    return {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in cohorts.samples()}


def test_revisions_beyond_the_last_few_are_folded_into_other() -> None:
    cohorts = Cohorts("m", [{"c": "1"}], ("home", ""))
    for number in range(20):
        cohorts.of((f"r{number}", ""), "")[0] += number
    found = blocks(cohorts)
    assert len(found) == KEPT_COHORTS + 1
    assert sum(found.values()) == sum(range(20)), "nothing is lost"
    assert {'m{revision="home",rollout="",c="1"}', 'm{revision="r19",rollout="",c="1"}'} < set(found)
    assert found['m{revision="other",rollout="other",c="1"}'] == sum(range(15))


def test_both_arms_of_the_rollout_keep_their_series() -> None:
    cohorts = Cohorts("m", [{"c": "1"}], ("home", ""))
    for revision in ("home", "next"):
        cohorts.of((revision, ROLLOUT), ROLLOUT)[0] += 5
    for number in range(20):
        cohorts.of((f"r{number}", ""), ROLLOUT)[0] += 1
    found = blocks(cohorts)
    for revision in ("home", "next"):
        assert found[f'm{{revision="{revision}",rollout="{ROLLOUT}",c="1"}}'] == 5


def test_more_arms_than_there_is_room_for_share_other() -> None:
    cohorts = Cohorts("m", [{"c": "1"}], ("home", ""))
    for number in range(20):
        cohorts.of((f"r{number}", ROLLOUT), ROLLOUT)[0] += 1
    found = blocks(cohorts)
    assert len(found) == KEPT_COHORTS + 1
    assert found['m{revision="other",rollout="other",c="1"}'] == 20 - (KEPT_COHORTS - 1)


def test_rollouts_of_before_are_other(at: Desk) -> None:
    tokens = []
    for number in range(5):
        at.apply(f"aabbcc-0000000{number}")
        tokens.append(at.token("no"))
    at.post(*[(token, ["no"]) for token in tokens])
    assert {labels[1] for labels in at.series(metric_names.LABELS)} == {
        "other",
        "aabbcc-00000002",
        "aabbcc-00000003",
        "aabbcc-00000004",
    }


def exported(at: Desk) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in at.feedback.endpoint.exposition().decode().splitlines():
        if not line.startswith("#"):
            name = line.partition("{")[0]
            counts[name] = counts.get(name, 0) + 1
    return counts


@pytest.mark.parametrize("classes", [1, 2, 10, 11, 40])
def test_the_number_of_series_of_a_classifier_is_foretold(key_file: Path, classes: int) -> None:
    profile = (
        desk.classes(*(f"c{number:02d}" for number in range(classes))) if classes > 1 else desk.classes("only", "b")
    )
    at = Desk(profile, key_file)
    assert exported(at) == cardinality.feedback(profile, 1), "from the beginning, at 0"
    assert at.outcomes() == {}
    for number in range(20):
        other = Desk(profile, key_file, revision=f"r{number}")
        label = profile.output.classes[0]  # type: ignore[union-attr]
        at.post((other.token(label), [label]))
    assert exported(at) == cardinality.feedback(profile, KEPT_COHORTS + 1), "and never more"


def test_the_number_of_series_of_a_regression_is_foretold(key_file: Path) -> None:
    at = Desk(desk.values(), key_file)
    assert exported(at) == cardinality.feedback(at.profile, 1)
