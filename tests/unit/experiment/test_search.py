"""What a search draws never changes, and one decision about the largest search costs no more than about a small one."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from fakes.experiment_lab import Lab, search
from modelcycle.api.experiment import MOST_TRIALS, parse
from modelcycle.experiment import search as searching
from modelcycle.experiment.search import REDRAWS, assignment, assignments
from unit.experiment.search_golden import PARAMETERS, POINTS, SPECS, poisoned, shown

GOLDEN: Final[Mapping[str, Any]] = json.loads((Path(__file__).parent / "golden" / "search.json").read_text())
CRD: Final = Path(__file__).parents[3] / "crds" / "experiments.yaml"


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Calls of the two functions that every point is made with; nothing is remembered from other tests."""
    calls: Counter[str] = Counter()
    searching._search.cache_clear()
    for name in ("_uniform", "_draw", "_value"):
        original = getattr(searching, name)

        def counted(*args: Any, name: str = name, original: Any = original) -> Any:
            calls[name] += 1
            return original(*args)

        monkeypatch.setattr(searching, name, counted)
    return calls


@pytest.mark.parametrize("name", SPECS)
def test_sequences_are_what_they_have_been_since_the_first_release(name: str) -> None:
    assert shown(assignments(SPECS[name])) == GOLDEN[name]


def test_a_point_asked_for_alone_is_the_one_of_the_whole_sequence() -> None:
    spec = SPECS["mixed"]
    alone = {}
    for index in (250, 3, 299, 0):
        searching._search.cache_clear()
        alone[index] = assignment(spec, index)
    assert alone == {index: assignments(spec)[index] for index in alone}


def test_a_decision_draws_the_trials_that_it_starts_and_no_others(work: Counter[str]) -> None:
    lab = Lab()
    lab.apply(search(parameters=poisoned(), maxTrialCount=POINTS, parallelTrialCount=2))
    lab.reconcile()
    assert len(lab.job_names()) == 3
    assert sum(work.values()) <= 2 * 2 * REDRAWS * PARAMETERS
    before = sum(work.values())
    lab.reconcile()
    assert sum(work.values()) == before


def test_all_points_of_a_full_space_cost_a_bounded_number_of_draws(work: Counter[str]) -> None:
    spec = SPECS["5000 of 5000 points of 32 parameters"]
    assert len(set(assignments(spec))) == POINTS
    searched = 4  # the parameters with more than one value
    assert work["_uniform"] <= POINTS * (REDRAWS * searched + 1)
    assert work["_value"] + work["_draw"] <= 3 * PARAMETERS + 10 + 10 + 10 + 5
    done = Counter(work)
    assert assignment(spec, POINTS - 1) == assignments(spec)[-1]
    assert work == done


def test_a_trial_number_that_no_search_has_costs_nothing(work: Counter[str]) -> None:
    spec = parse({"spec": search()})
    assert assignment(spec, 10**12) == ()
    assert sum(work.values()) == 0


def test_the_schema_allows_as_many_trials_as_are_ever_drawn() -> None:
    schema = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["properties"]["spec"]["properties"]["maxTrialCount"]["maximum"] == MOST_TRIALS
