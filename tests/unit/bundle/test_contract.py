"""The wire form of tasks and results: what is left out, what is refused, and what is named."""

import json

import pytest

from modelcycle_bundle import contract
from modelcycle_bundle.contract import ContractError, DataRef, FetchTask, InspectTask, TrialResult

DATA = DataRef(uri="s3://factory/scrap.csv", digest=None, target="is_scrap", task=None)


def test_absent_optional_fields_read_as_none_even_without_a_default() -> None:
    text = contract.to_json(InspectTask(DATA, "s3://models"))
    assert "digest" not in text
    assert contract.from_json(InspectTask, text).data.digest is None


def test_defaults_apply_to_a_shorter_text() -> None:
    assert contract.from_json(FetchTask, '{"uri":"u","digest":"d"}') == FetchTask("u", "d")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "not JSON"),
        ("[]", "FetchTask: expected an object"),
        ("{}", "missing"),
        ('{"uri":1,"digest":"d"}', "FetchTask.uri: expected str"),
        ('{"uri":"u","digest":"d","max_bytes":true}', "FetchTask.max_bytes: expected int"),
        ('{"uri":"u","digest":"d","max_bytes":1.5}', "FetchTask.max_bytes: expected int"),
        ('{"uri":"u","digest":"d","max_bytes":NaN}', "NaN is not JSON"),
        ('{"uri":"u","digest":"d","x":1e999}', "out of range"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_text_that_is_not_a_task_says_where(text: str, named: str) -> None:
    with pytest.raises(ContractError, match=named):
        contract.from_json(FetchTask, text)


def test_a_nested_field_is_named_with_its_path() -> None:
    text = json.dumps({"data": {"uri": "u", "target": "t", "split": {"holdout_fraction": "0.2"}}, "output_uri": "o"})
    with pytest.raises(ContractError, match=r"InspectTask\.data\.split\.holdout_fraction: expected float"):
        contract.from_json(InspectTask, text)


def test_an_unknown_failure_reason_lists_the_known_ones() -> None:
    failure = {"failure_class": "Data", "reason": "Gremlins", "message": "m"}
    with pytest.raises(ContractError, match="'Gremlins' is not one of"):
        contract.from_json(TrialResult, json.dumps({"index": 1, "failure": failure}))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_no_json_is_not_written(number: float) -> None:
    with pytest.raises(ValueError):
        contract.to_json(contract.Split(holdout_fraction=number))


def test_whole_numbers_are_accepted_for_fractions() -> None:
    assert contract.from_json(contract.Split, '{"holdout_fraction":1}').holdout_fraction == 1.0


def test_a_number_too_large_for_a_fraction_is_refused() -> None:
    with pytest.raises(ContractError, match="out of range"):
        contract.from_json(contract.Split, '{"holdout_fraction":1' + "0" * 400 + "}")
