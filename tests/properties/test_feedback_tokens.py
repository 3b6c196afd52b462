"""A token says what was put into it, and any other text is refused: every bit of it is signed."""

import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from modelcycle_serving.feedback.tokens import (
    SIGNATURE,
    Forged,
    Key,
    PredictedClasses,
    PredictedValues,
    Token,
    class_fields,
    class_name,
    named,
    opened,
    sealed,
    value_fields,
)

KEY, OTHER = Key(b"k" * 32), Key(b"o" * 32)
ALPHABET = string.ascii_letters + string.digits + "-_"
NAMES = st.text(max_size=20).filter(lambda text: len(text.encode(errors="replace")) <= 255 and text.isprintable())
FLOATS = st.floats(width=32, allow_nan=False)


@st.composite
def tokens(draw: st.DrawFn, max_rows: int = 40) -> Token:
    answers: PredictedClasses | PredictedValues
    rows = draw(st.integers(1, max_rows))
    if draw(st.booleans()):
        answers = PredictedValues(tuple(draw(st.lists(FLOATS, min_size=rows, max_size=rows))))
    else:
        classes = tuple(draw(st.lists(NAMES, min_size=1, max_size=5, unique=True)))
        places = st.lists(st.integers(0, len(classes) - 1), min_size=rows, max_size=rows)
        bins = st.binary(min_size=rows, max_size=rows)
        answers = PredictedClasses(classes, tuple(draw(places)), draw(bins))
    return Token(
        minute=draw(st.integers(0, 2**32 - 1)),
        identity=draw(st.integers(0, 2**64 - 1)),
        profile=draw(st.binary(min_size=6, max_size=6)).hex(),
        revision=draw(NAMES),
        rollout=draw(NAMES),
        answers=answers,
    )


def text_of(token: Token, key: Key = KEY) -> str:
    about = named(token.revision) + named(token.rollout)
    profile = bytes.fromhex(token.profile)
    answers = token.answers
    if isinstance(answers, PredictedValues):
        return sealed(value_fields(token.minute, token.identity, profile, about, answers.values), key)
    classes = [class_name(each) for each in answers.classes]
    bins = bytes(answers.confidence)
    return sealed(class_fields(token.minute, token.identity, profile, about, classes, answers.rows, bins), key)


@settings(max_examples=examples(100))
@given(tokens())
def test_what_a_token_says_is_what_was_put_into_it(token: Token) -> None:
    text = text_of(token)
    assert set(text) <= set(ALPHABET), "fit for an URL, a header, a column of a table"
    assert opened(text, (OTHER, KEY)) == token
    assert len(token) == len(opened(text, (KEY,)))


@settings(max_examples=examples(100))
@given(tokens(max_rows=3), st.data())
def test_a_changed_character_is_refused(token: Token, data: st.DataObject) -> None:
    """Each character is six bits: changing any of them in any way covers every bit, the idle ones at the end as well."""
    text = text_of(token)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(ALPHABET + "+/= \n").filter(lambda character: character != text[at]))
    with pytest.raises(Forged):
        opened(text[:at] + other + text[at + 1 :], (KEY, OTHER))


@given(tokens(max_rows=3))
def test_one_token_has_one_text(token: Token) -> None:
    """Base64 has idle bits at its end, a second alphabet and padding: each would let the same bytes be posted as another text."""
    text = text_of(token)
    others = {text[:-1] + character for character in ALPHABET}
    others |= {text.replace("-", "+"), text.replace("_", "/"), text + "=", text + "==", text + "\n", f" {text}"}
    for other in others - {text}:
        with pytest.raises(Forged):
            opened(other, (KEY,))


@settings(max_examples=examples(50))
@given(tokens(max_rows=3), st.data())
def test_a_longer_or_shorter_text_is_refused(token: Token, data: st.DataObject) -> None:
    text = text_of(token)
    cut = data.draw(st.integers(0, len(text) - 1))
    more = data.draw(st.text(alphabet=ALPHABET + "=", min_size=1, max_size=4))
    for changed in (text[:cut], text[cut + 1 :], text + more, more + text, text + text):
        with pytest.raises(Forged):
            opened(changed, (KEY,))


@settings(max_examples=examples(100))
@given(st.text(max_size=200) | st.text(alphabet=ALPHABET, max_size=300))
def test_no_other_text_is_a_token(text: str) -> None:
    with pytest.raises(Forged):
        opened(text, (KEY, OTHER))


@given(tokens(max_rows=3))
def test_the_parts_of_two_tokens_make_no_third(token: Token) -> None:
    other = text_of(
        Token(token.minute ^ 1, token.identity, token.profile, token.revision, token.rollout, token.answers)
    )
    signature = -(SIGNATURE * 4 // 3)
    with pytest.raises(Forged):
        opened(text_of(token)[:signature] + other[signature:], (KEY,))
    with pytest.raises(Forged):
        opened(text_of(token, OTHER), (KEY,))


@pytest.mark.parametrize("classes", [256, 257, 400])
def test_an_answer_of_very_many_classes_reads_back(classes: int) -> None:
    names = tuple(f"class {number}" for number in range(classes))
    rows = tuple(np.random.default_rng(1).permutation(classes).tolist())
    token = Token(1, 2, "00" * 6, "r", "", PredictedClasses(names, rows, bytes(classes)))
    assert opened(text_of(token), (KEY,)) == token
