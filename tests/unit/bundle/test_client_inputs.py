"""Names of inputs as text: they come back as they were, in an environment and on a page, or are not said at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcycle_bundle.client_inputs import MAX_BYTES, parse, to_text


@given(st.lists(st.text(), min_size=1, max_size=8, unique=True))
def test_names_of_any_text_come_back(names: list[str]) -> None:
    text = to_text(names)
    assert parse(text) == tuple(names)
    assert text.isascii()
    assert text.isprintable()
    assert "$" not in text, "Kubernetes would take $(NAME) for a reference"


def test_list_that_is_too_long_is_not_said() -> None:
    assert len(to_text(["x" * (MAX_BYTES - 4)])) == MAX_BYTES
    assert to_text(["x" * (MAX_BYTES - 3)]) == ""
    assert parse("") == ()


@pytest.mark.parametrize("text", ["x", "[]", "[1]", '["a","a"]', "{}", "null", '"a"'])
def test_text_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)
