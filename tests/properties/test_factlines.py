"""Facts in the lines of a log: a whole document or none, whatever happens to the log."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcycle_bundle import factlines

documents = st.dictionaries(st.text(max_size=20), st.text(max_size=3000), max_size=12).map(json.dumps)
noise = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from(
            ["modelcycle-fact", "modelcycle-fact 1/1 0123456789abcdef {}", "modelcycle-fact 0/0 x y", "\0", "\r"]
        ),
    ).map(lambda text: text.replace("\n", " ")),
    max_size=6,
)


def written(document: str) -> list[str]:
    return list(factlines.lines(document))


@given(documents, noise, noise)
def test_what_was_written_is_read_among_the_prints_of_others(
    document: str, before: list[str], after: list[str]
) -> None:
    assert factlines.read("\n".join([*before, *written(document), *after])) == document


@given(documents, st.data())
def test_lines_of_others_in_between_do_no_harm(document: str, data: st.DataObject) -> None:
    lines = written(document)
    for line in data.draw(noise):
        lines.insert(data.draw(st.integers(0, len(lines))), line)
    assert factlines.read("\n".join(lines)) == document


@given(documents, st.data())
def test_a_cut_log_holds_the_document_or_none(document: str, data: st.DataObject) -> None:
    text = "\n".join(written(document))
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, len(text)))
    assert factlines.read(text[begin:end]) in (None, document)


@given(documents.filter(lambda d: len(d) > 10), st.data())
def test_a_changed_character_is_found(document: str, data: st.DataObject) -> None:
    lines = written(document)
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = lines[at][:-1] + ("x" if lines[at][-1] != "x" else "y")
    assert factlines.read("\n".join(lines)) is None


@given(st.lists(documents, min_size=1, max_size=3))
def test_after_restarts_the_last_whole_document_counts(found: list[str]) -> None:
    lines = [line for document in found for line in written(document)]
    assert factlines.read("\n".join(lines)) == found[-1]
    half = written("x" * 9000)[:2]
    assert factlines.read("\n".join([*lines, *half])) == found[-1]


@given(st.text())
def test_no_log_breaks_the_reader(text: str) -> None:
    assert factlines.read(text) is None


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 999), st.text(max_size=8)), max_size=40))
def test_made_up_lines_do_not_break_the_reader(made_up: list[tuple[int, int, str]]) -> None:
    lines = [f"modelcycle-fact {number}/{total} 0123456789abcdef {text}" for number, total, text in made_up]
    assert factlines.read("\n".join(lines)) is None


def test_the_largest_document_fits_what_is_read_of_a_log() -> None:
    document = "x" * factlines.MAX_BYTES
    lines = written(document)
    assert len(lines) * 2 <= factlines.TAIL_LINES
    assert factlines.read("\n".join(lines)) == document
    assert sum(map(len, lines)) * 2 < factlines.LOG_BYTES


@pytest.mark.parametrize("document", ["x" * (factlines.MAX_BYTES + 1), "two\nlines", "ü"])
def test_what_is_no_line_of_ascii_or_too_large_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match="facts are one line"):
        written(document)
