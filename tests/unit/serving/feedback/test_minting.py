"""The tokens of one run of the model: each has the rows of its own answer, as they were counted."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from modelcycle_bundle.bins import ClassBins
from modelcycle_bundle.profile import Profile
from modelcycle_serving.feedback.minting import Mint
from modelcycle_serving.feedback.tokens import Key, PredictedClasses, PredictedValues, opened
from unit.serving.feedback import desk

KEY = Key(desk.KEY.encode())
SIZES = [3, 1, 4, 1, 5]
TOTAL = sum(SIZES)


def minted(profile: Profile, outputs: dict[str, np.ndarray]) -> list[PredictedClasses | PredictedValues]:
    mint = Mint(profile, "r1", lambda: desk.NOW, Random(1))
    tokens = mint.tokens(KEY, outputs, [(size, f"aabbcc-0000000{at}") for at, size in enumerate(SIZES)])
    read = [opened(token, (KEY,)) for token in tokens if token is not None]
    assert [token.rollout for token in read] == [f"aabbcc-0000000{at}" for at in range(len(SIZES))]
    assert {token.profile for token in read} == {profile.hash}
    assert {token.minute for token in read} == {int(desk.NOW) // 60}
    assert len({token.identity for token in read}) == len(SIZES)
    return [token.answers for token in read]


def cut(values: list[Any]) -> list[list[Any]]:
    starts = np.cumsum([0, *SIZES[:-1]])
    return [values[start : start + size] for start, size in zip(starts, SIZES, strict=True)]


@pytest.mark.parametrize("names", [("0", "1", "2"), ("no", "yes", "ü")])
def test_tokens_of_a_classifier_have_their_own_rows(names: tuple[str, ...]) -> None:
    random = np.random.default_rng(3)
    profile = desk.classes(*names)
    assert isinstance(profile.output, ClassBins)
    places = random.integers(0, 3, size=TOTAL)
    probabilities = random.dirichlet([1, 1, 1], size=TOTAL).astype(np.float32)
    labels = places if names[0] == "0" else np.array(names, dtype=object)[places]
    bins = np.searchsorted(np.array(profile.output.edges, np.float32), probabilities.max(axis=1)).tolist()
    answers = minted(profile, {"label": labels, "probabilities": probabilities})
    found = [
        ([each.classes[row] for row in each.rows], list(each.confidence))
        for each in answers
        if isinstance(each, PredictedClasses)
    ]
    assert found == list(zip(cut([names[place] for place in places]), cut(bins), strict=True))


def test_tokens_of_a_regression_have_their_own_rows() -> None:
    values = np.random.default_rng(3).normal(size=(TOTAL, 1)).astype(np.float32)
    answers = minted(desk.values(), {"prediction": values})
    found = [list(each.values) for each in answers if isinstance(each, PredictedValues)]
    assert found == cut(values.ravel().tolist())


def test_a_regression_of_very_many_rows_has_no_token_and_shifts_no_other(key_file: Path) -> None:
    at = desk.Desk(desk.values(), key_file)
    outputs = {"prediction": np.arange(5000, dtype=np.float32)}
    given = at.feedback.parameters(outputs, [(4097, ""), (903, "")])
    assert given[0] == {}
    answers = opened(given[1]["feedback_token"], at.keys.accepted).answers
    assert isinstance(answers, PredictedValues)
    assert answers.values == tuple(float(value) for value in range(4097, 5000))
