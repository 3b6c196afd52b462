"""Tasks and results survive the trip through JSON, and no text makes the parser fail in another way than its own."""

import dataclasses
import json
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcycle_bundle import contract

texts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(texts, json_values, max_size=4)
failures = st.builds(
    contract.Failure, st.sampled_from(contract.FailureClass), st.sampled_from(contract.FailureReason), texts
)
fractions = st.floats(0.01, 0.99)
data_refs = st.builds(
    contract.DataRef,
    uri=texts,
    digest=st.none() | texts,
    target=texts,
    task=st.none() | texts,
    format=texts,
    split=st.builds(contract.Split, fractions, st.integers()),
)
steps = st.builds(contract.PipelineStep, texts, texts, mappings)
trainers = st.builds(contract.Trainer, st.lists(steps, max_size=3).map(tuple), st.lists(texts, max_size=2).map(tuple))
known: dict[type, st.SearchStrategy[Any]] = {
    contract.DataRef: data_refs,
    contract.Trainer: trainers,
    contract.Failure: failures,
    contract.ColumnNote: st.builds(contract.ColumnNote, texts, st.integers(), constant=st.booleans()),
    contract.AttemptRange: st.builds(contract.AttemptRange, st.integers(), st.integers(), st.integers()),
}
KINDS = (
    contract.InspectTask,
    contract.InspectResult,
    contract.TrialTask,
    contract.TrialResult,
    contract.SealTask,
    contract.SealResult,
    contract.CollectTask,
    contract.CompareTask,
    contract.CompareResult,
    contract.FetchTask,
    contract.FetchResult,
)


def strategy_of(kind: type) -> st.SearchStrategy[Any]:
    """Every field filled, also those with a default and those that may be None."""
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{each.name: field_strategy(hints[each.name]) for each in dataclasses.fields(kind)})


def field_strategy(hint: Any) -> st.SearchStrategy[Any]:
    plain = {str: texts, int: st.integers(), bool: st.booleans(), float: fractions, **known}
    if hint in plain:
        return plain[hint]
    arguments = typing.get_args(hint)
    if type(None) in arguments:
        return st.none() | field_strategy(next(each for each in arguments if each is not type(None)))
    if typing.get_origin(hint) is tuple:
        return st.lists(field_strategy(arguments[0]), max_size=3).map(tuple)
    return st.dictionaries(texts, texts, max_size=3) if arguments[1] is str else mappings


@given(st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind), strategy_of(kind))))
def test_every_task_and_result_reads_back_equal(case: tuple[type, Any]) -> None:
    kind, value = case
    text = contract.to_json(value)
    assert "\n" not in text
    assert contract.from_json(kind, text) == value
    assert contract.to_json(contract.from_json(kind, text)) == text


@given(strategy_of(contract.TrialTask), mappings)
def test_fields_of_a_newer_writer_are_ignored(task: contract.TrialTask, more: dict[str, Any]) -> None:
    plain = json.loads(contract.to_json(task))
    assert (
        contract.from_json(contract.TrialTask, json.dumps({f"new-{name}": more[name] for name in more} | plain)) == task
    )


@given(
    st.sampled_from(KINDS),
    json_values.map(json.dumps) | st.text() | st.binary().map(lambda data: data.decode("latin-1")),
)
def test_any_text_parses_or_is_a_contract_error(kind: type, text: str) -> None:
    try:
        value: object = contract.from_json(kind, text)
    except contract.ContractError:
        return
    assert isinstance(value, kind)


@given(strategy_of(contract.TrialTask), st.data())
def test_a_field_of_the_wrong_type_is_named(task: contract.TrialTask, data: st.DataObject) -> None:
    plain = json.loads(contract.to_json(task))
    name = data.draw(st.sampled_from(["experiment", "index", "seed", "data", "trainer", "parameters"]))
    plain[name] = data.draw(st.sampled_from([[1], True]))
    with pytest.raises(contract.ContractError, match=rf"TrialTask\.{name}"):
        contract.from_json(contract.TrialTask, json.dumps(plain))
