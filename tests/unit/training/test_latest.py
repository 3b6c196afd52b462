"""`latest.json`: the small file by which a data team says which table is the newest."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from modelcycle_bundle import layout
from modelcycle_bundle.contract import DataRef, InspectTask, TrialResult
from unit.training.conftest import Lab, Outcome, Tables, write_csv


def digest_of(uri: str) -> str:
    return "sha256:" + hashlib.sha256(Path(uri.removeprefix("file://")).read_bytes()).hexdigest()


@pytest.fixture
def latest(tmp_path: Path) -> Path:
    """Where the data team writes it."""
    return tmp_path / layout.POINTER_FILE


def point(latest: Path, uri: str, digest: str | None = None, **more: Any) -> None:
    latest.write_text(json.dumps({"uri": uri, "digest": digest or digest_of(uri), **more}))


def look(lab: Lab, latest: Path, target: str = "y", digest: str | None = None) -> Outcome:
    """The inspection of a DriftMonitor: data alone, no key in the namespace's pod."""
    return lab.run(InspectTask(DataRef(f"file://{latest}", digest, target, None), None))


def test_names_the_table_behind_it_without_a_key_monitoring_36(lab: Lab, latest: Path, tables: Tables) -> None:
    point(latest, tables.cancer, writtenBy="line-3")
    outcome = look(lab, latest)
    assert (outcome.exit_code, outcome.reason) == (0, None)
    result = outcome.result
    assert (result.data_uri, result.data_digest) == (tables.cancer, digest_of(tables.cancer))
    assert (result.rows, result.columns, result.labelled_rows) == (569, 31, 569)
    assert (result.key_present, result.public_key) == (False, None)
    assert "no signing key" not in outcome.steps


def test_data_alone_needs_neither_key_nor_output(lab: Lab, tables: Tables) -> None:
    result = lab.run(InspectTask(DataRef(tables.cancer, None, "y", None), None)).result
    assert (result.failure, result.data_uri, result.rows) == (None, None, 569)


def test_labelled_rows_are_told_apart(lab: Lab, latest: Path, tmp_path: Path) -> None:
    point(latest, write_csv(tmp_path / "new.csv", ["a", "y"], [[1, ""], [2, 1], [3, 0]]))
    result = look(lab, latest).result
    assert (result.rows, result.labelled_rows) == (3, 2)


def test_a_trial_reads_the_same_table_whichever_name_it_is_given(lab: Lab, latest: Path, tables: Tables) -> None:
    point(latest, tables.iris)
    estimator = "sklearn.linear_model.LogisticRegression"
    direct: TrialResult = lab.run(lab.trial_task(tables.iris, estimator, {"max_iter": 500})).result
    through: TrialResult = lab.run(
        lab.trial_task(f"file://{latest}", estimator, {"max_iter": 500}, index=1, digest=digest_of(tables.iris))
    ).result
    assert through.failure is None
    assert (through.data_digest, through.candidate_digest) == (direct.data_digest, direct.candidate_digest)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"uri": "file:///t.csv"}',
        b'{"uri": 7, "digest": "sha256:00"}',
        b"\xff\xfe{",
        b"a,y\n1,2\n",
        b'{"uri": NaN, "digest": ""}',
    ],
)
def test_other_content_is_refused_with_the_shape_that_is_wanted(lab: Lab, latest: Path, content: bytes) -> None:
    latest.write_bytes(content)
    outcome = look(lab, latest)
    assert (outcome.exit_code, outcome.reason) == (1, "DataUnreadable")
    assert f'{latest}: it is not {{"uri": ' in outcome.result.failure.message
    assert outcome.result.data_digest is None


@pytest.mark.parametrize(
    ("uri", "digest", "told"),
    [
        ("s3://factory/other.csv", "a" * 64, "uri must begin with file://"),
        ("new.csv", "a" * 64, "absolute URI"),
        ("file:///a table.csv", "a" * 64, "absolute URI"),
        ("file:///" + "x" * 1024, "a" * 64, "absolute URI"),
        ("file:///t.csv", "A" * 64, "digest is not sha256: and 64 hex digits"),
        ("file:///t.csv", "a" * 63, "digest is not sha256: and 64 hex digits"),
        (f"file:///x/{layout.POINTER_FILE}", "a" * 64, "names another latest.json"),
    ],
)
def test_pointer_that_leads_astray_is_refused(lab: Lab, latest: Path, uri: str, digest: str, told: str) -> None:
    point(latest, uri, f"sha256:{digest}")
    outcome = look(lab, latest)
    assert outcome.reason == "DataUnreadable"
    assert told in outcome.result.failure.message


def test_endless_pointer_is_not_read_to_its_end(lab: Lab, latest: Path, tables: Tables) -> None:
    point(latest, tables.cancer, more="x" * 5000)
    outcome = look(lab, latest)
    assert outcome.reason == "DataUnreadable"
    assert "larger than 4096 bytes" in outcome.result.failure.message


def test_table_that_is_not_the_named_one_is_refused(lab: Lab, latest: Path, tables: Tables) -> None:
    point(latest, tables.cancer, "sha256:" + "1" * 64)
    outcome = look(lab, latest)
    assert (outcome.exit_code, outcome.reason) == (1, "DataChanged")
    assert f"{tables.cancer} has digest {digest_of(tables.cancer)}" in outcome.result.failure.message
    assert outcome.result.rows is None


def test_missing_pointer_and_missing_table_are_told_apart(lab: Lab, latest: Path, tmp_path: Path) -> None:
    outcome = look(lab, latest)
    assert outcome.reason == "DataNotFound"
    assert str(latest) in outcome.result.failure.message
    point(latest, f"file://{tmp_path}/gone.csv", "sha256:" + "1" * 64)
    outcome = look(lab, latest)
    assert outcome.reason == "DataNotFound"
    assert f"{tmp_path}/gone.csv" in outcome.result.failure.message


def test_pin_of_the_spec_holds_through_the_pointer(lab: Lab, latest: Path, tables: Tables) -> None:
    point(latest, tables.cancer)
    outcome = look(lab, latest, digest="sha256:" + "2" * 64)
    assert outcome.reason == "DataChanged"
    assert "data.digest pins" in outcome.result.failure.message


def test_longest_address_fits_into_a_termination_message(lab: Lab, latest: Path, tmp_path: Path) -> None:
    folder = tmp_path
    while len(str(folder)) < 1024 - 7 - 9 - 150:
        folder /= "d" * 140
    folder.mkdir(parents=True)
    uri = write_csv(folder / "t.csv", ["a", "y"], [[1, 0], [2, 1]])
    point(latest, uri)
    outcome = look(lab, latest)
    assert outcome.result.data_uri == uri
    assert len(outcome.message) <= layout.TERMINATION_MESSAGE_LIMIT
