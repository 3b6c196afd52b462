"""`inspect`: facts of the key and of the data, together with the first thing that is wrong."""

import json
from pathlib import Path

import pytest

from modelcycle_bundle import factlines, keys, layout
from modelcycle_bundle.contract import (
    ColumnNote,
    DataRef,
    Failure,
    FailureClass,
    FailureReason,
    InspectResult,
    InspectTask,
    from_json,
)
from modelcycle_bundle.store import Store, StoreError
from unit.training.conftest import Lab, Tables, write_csv


def task(lab: Lab, uri: str, target: str = "y", digest: str | None = None) -> InspectTask:
    return InspectTask(DataRef(uri=uri, digest=digest, target=target, task=None), lab.output_uri)


def test_key_and_data_are_told(lab: Lab, tables: Tables) -> None:
    pair = lab.make_key()
    outcome = lab.run(task(lab, tables.cancer))
    assert (outcome.exit_code, outcome.reason) == (0, None)
    result = outcome.result
    assert (result.rows, result.columns, result.labelled_rows) == (569, 31, 569)
    assert result.data_digest.startswith("sha256:")
    assert (result.key_present, result.public_key, result.key_hint) == (
        True,
        pair.public_pem,
        keys.hint(pair.public_pem),
    )


def test_private_key_is_never_told(lab: Lab, tables: Tables) -> None:
    pair = lab.make_key()
    outcome = lab.run(task(lab, tables.cancer))
    for line in pair.private_pem.decode().splitlines()[1:-1]:
        assert line not in outcome.log
        assert line.encode() not in outcome.message


def test_unlabelled_rows_are_counted(lab: Lab, tmp_path: Path) -> None:
    lab.make_key()
    uri = write_csv(tmp_path / "t.csv", ["a", "y"], [[1, ""], [2, 1], [3, 0]])
    result = lab.run(task(lab, uri)).result
    assert (result.rows, result.labelled_rows) == (3, 2)


def test_absent_key_is_told_with_the_command_and_the_data(lab: Lab, tables: Tables) -> None:
    outcome = lab.run(task(lab, tables.cancer))
    assert (outcome.exit_code, outcome.reason) == (1, "NoSigningKey")
    assert "kubectl modelcycle keygen -n <namespace>" in outcome.result.failure.message
    assert "modelcycle-signing-key" in outcome.result.failure.message
    assert not outcome.result.key_present
    assert outcome.result.rows == 569


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (layout.PRIVATE_KEY_FILE, b""),
        (layout.PRIVATE_KEY_FILE, b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"),
        (layout.PUBLIC_KEY_FILE, b"not a key"),
        (layout.PUBLIC_KEY_FILE, keys.generate().public_pem.encode()),
    ],
)
def test_malformed_or_mismatched_key_is_no_signing_key(lab: Lab, tables: Tables, name: str, content: bytes) -> None:
    lab.make_key()
    (lab.key_dir / name).write_bytes(content)
    outcome = lab.run(task(lab, tables.cancer))
    assert outcome.reason == "NoSigningKey"
    assert name in outcome.result.failure.message
    assert not outcome.result.key_present


def test_data_failure_leaves_the_key_facts(lab: Lab, tables: Tables) -> None:
    lab.make_key()
    for uri, target, reason in [
        ("file:///no/such.csv", "y", "DataNotFound"),
        (tables.cancer, "scrap", "TargetMissing"),
    ]:
        outcome = lab.run(task(lab, uri, target))
        assert (outcome.exit_code, outcome.reason) == (1, reason)
        assert outcome.result.key_present
        assert outcome.result.key_hint is not None
        assert outcome.result.rows is None


def test_changed_data_is_told_with_the_new_digest_experiment_44(lab: Lab, tables: Tables) -> None:
    lab.make_key()
    outcome = lab.run(task(lab, tables.cancer, digest="sha256:" + "1" * 64))
    assert outcome.reason == "DataChanged"
    assert outcome.result.data_digest is not None
    assert outcome.result.rows == 569


def test_a_fault_of_other_bytes_than_the_pinned_ones_is_told_as_changed_data(lab: Lab, tables: Tables) -> None:
    lab.make_key()
    outcome = lab.run(task(lab, tables.cancer, target="scrap", digest="sha256:" + "1" * 64))
    assert outcome.reason == "DataChanged"
    found = outcome.result.data_digest
    outcome = lab.run(task(lab, tables.cancer, target="scrap", digest=found))
    assert (outcome.reason, outcome.result.data_digest) == ("TargetMissing", found)


def test_output_of_an_unknown_scheme_is_told(lab: Lab, tables: Tables) -> None:
    lab.make_key()
    ref = DataRef(uri=tables.cancer, digest=None, target="y", task=None)
    outcome = lab.run(InspectTask(ref, "ftp://host/models"))
    assert outcome.result.failure is not None
    assert "output.uri ftp://host/models" in outcome.result.failure.message
    assert outcome.result.rows == 569


def test_columns_without_values_or_with_one_are_noted_in_the_log_and_in_the_store(lab: Lab, tmp_path: Path) -> None:
    lab.make_key()
    rows = [[1, 5, "", at, at % 2] for at in range(4)]
    rows[2][3] = ""
    uri = write_csv(tmp_path / "t.csv", ["same", "a", "empty", "gaps", "y"], rows)
    outcome = lab.run(task(lab, uri))
    document = factlines.read(outcome.log)
    assert document is not None
    report = from_json(InspectResult, document)
    assert report.column_notes == (
        ColumnNote("same", 0, constant=True),
        ColumnNote("a", 0, constant=True),
        ColumnNote("empty", 4, constant=True),
        ColumnNote("gaps", 1, constant=False),
    )
    message = json.loads(outcome.message)
    assert (message["more"], message.get("column_notes")) == ("log", None)
    (stored,) = Path(lab.output_uri.removeprefix("file://")).glob("inspections/*/*.json")
    assert stored.read_text() == document


def test_a_report_that_the_store_refuses_is_no_failure_of_the_data(
    lab: Lab, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise StoreError(Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_DENIED, "read only"))

    lab.make_key()
    monkeypatch.setattr(Store, "put_new", refused)
    outcome = lab.run(task(lab, tables.cancer))
    assert (outcome.exit_code, outcome.reason) == (0, None)
    assert "report not stored" in outcome.log
