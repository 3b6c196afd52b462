"""The frame around the programs: command line, exit codes, termination message, signals."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcycle_bundle import layout
from modelcycle_bundle.contract import Failure, FailureClass, FailureReason, TaskKind, TrialResult, from_json
from modelcycle_training.fitting import without_values
from modelcycle_training.program import exit_code, run
from modelcycle_training.reporting import TERMINATION_LOG_ENV, JsonLines, termination_message


def call(tmp_path: Path, task: str | None, kind: TaskKind = TaskKind.TRIAL) -> tuple[int, dict[str, object]]:
    message = tmp_path / "message"
    env = {TERMINATION_LOG_ENV: str(message)} | ({} if task is None else {layout.TASK_ENV: task})
    code = run(kind, env, tmp_path, JsonLines(kind.value, io.StringIO()))
    return code, json.loads(message.read_text())


@pytest.mark.parametrize("kind", list(TaskKind))
@pytest.mark.parametrize("task", [None, "", "{", "[]", '{"index": "x"}'])
def test_unusable_task_is_task_invalid(tmp_path: Path, kind: TaskKind, task: str | None) -> None:
    code, told = call(tmp_path, task, kind)
    assert code == 1
    assert told["failure"]["reason"] == "TaskInvalid"  # type: ignore[index]


def test_defect_tells_the_exceptions_type_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelcycle_training import collecting

    def broken(*_: object) -> None:
        raise KeyError("a cell of the data")

    monkeypatch.setattr(collecting, "collect", broken)
    code, told = call(tmp_path, '{"experiment_uid":"u","index":3,"output_uri":"file:///tmp"}', TaskKind.COLLECT)
    assert code == 1
    assert told["index"] == 3
    assert told["failure"]["reason"] == "InternalError"  # type: ignore[index]
    assert "KeyError" in told["failure"]["message"]  # type: ignore[index]
    assert "a cell" not in json.dumps(told)


def test_a_program_that_finds_no_memory_names_the_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelcycle_training import collecting

    def starved(*_: object) -> None:
        raise MemoryError("Unable to allocate 50. GiB")

    monkeypatch.setattr(collecting, "collect", starved)
    code, told = call(tmp_path, '{"experiment_uid":"u","index":3,"output_uri":"file:///tmp"}', TaskKind.COLLECT)
    assert code == 1
    assert told["failure"] == {
        "failure_class": "Trainer",
        "reason": "OutOfMemory",
        "message": "spec.trainer.resources.limits.memory: the program asked for more memory than there is: raise it",
    }


def test_unwritable_termination_log_does_not_change_the_exit_code(tmp_path: Path) -> None:
    log = io.StringIO()
    code = run(TaskKind.TRIAL, {TERMINATION_LOG_ENV: str(tmp_path / "no" / "such")}, tmp_path, JsonLines("trial", log))
    assert code == 1
    assert "termination message not written" in log.getvalue()


@pytest.mark.parametrize("failure_class", list(FailureClass))
def test_exit_codes_by_failure_class_experiment_32(failure_class: FailureClass) -> None:
    expected = {FailureClass.METRICS: 0, FailureClass.INFRASTRUCTURE: 75}.get(failure_class, 1)
    assert exit_code(Failure(failure_class, FailureReason.INTERNAL, "")) == expected
    assert exit_code(None) == 0


def test_refused_credentials_are_not_tried_again_by_the_job() -> None:
    assert exit_code(Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_DENIED, "")) == 1


NAMES = st.text(min_size=1, max_size=60)


@given(
    message=st.text(max_size=6000),
    metrics=st.dictionaries(NAMES, st.text(alphabet="0123456789.e-", max_size=30), max_size=120),
    objective=st.none() | st.text(max_size=300),
)
def test_termination_message_is_always_small_and_readable(
    message: str, metrics: dict[str, str], objective: str | None
) -> None:
    failure = Failure(FailureClass.TRAINER, FailureReason.TRAINER_RAISED, message)
    result = TrialResult(3, objective, metrics, "sha256:" + "a" * 64, "sha256:" + "b" * 64, 10**9, failure)
    encoded = termination_message(result)
    assert len(encoded) <= layout.TERMINATION_MESSAGE_LIMIT
    read = from_json(TrialResult, encoded.decode())
    assert (read.index, read.candidate_digest) == (3, result.candidate_digest)
    assert read.failure is not None
    assert read.failure.reason is FailureReason.TRAINER_RAISED


def test_metrics_are_dropped_after_messages_and_the_objective_last() -> None:
    metrics = {f"metric_{at:03d}": "0.12345678901234567" for at in range(90)} | {"roc_auc": "0.5"}
    failure = Failure(FailureClass.TRAINER, FailureReason.TRAINER_RAISED, "x" * 2000)
    kept = from_json(TrialResult, termination_message(TrialResult(0, "roc_auc", metrics, failure=failure)).decode())
    assert dict(kept.metrics) == {"roc_auc": "0.5"}
    few = from_json(TrialResult, termination_message(TrialResult(0, "roc_auc", {"a": "1"}, failure=failure)).decode())
    assert dict(few.metrics) == {"a": "1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Negative value -3.5e+7 in row 12 of X", "Negative value # in row # of X"),
        ("unknown label 'Miller' or Smith", "unknown label '#' or #"),
        ("Solver lbfgs supports only 'l2' penalties", "Solver lbfgs supports only 'l2' penalties"),
        ("a\nb", "a b"),
    ],
)
def test_numbers_and_labels_are_blanked_experiment_48(text: str, expected: str) -> None:
    assert without_values(text, ["Miller", "Smith"]) == expected


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("Negative values in data passed to X", ["e", "a", "x"], "Negative values in data passed to X"),
        ("unknown label 'e': ['a' 'e']", ["a", "e"], "unknown label '#': ['#' '#']"),
        ("Expected 2D array, got 1D array instead, 3 rows.", [], "Expected 2D array, got 1D array instead, # rows."),
        ("values 1.5, 2e-3, [5. -1.e+05] and 12,000.", [], "values #, #, [# #] and #"),
        ("got <5 and x<5, label <5", ["<5"], "got # and x#, label #"),
        ('label "it\'s\\n" is new', ["it's\n"], 'label "#" is new'),
        ("値不良です: 不良", ["不良"], "値#です: #"),
        ("the good one, not good_one nor goods", ["good", "good one"], "the #, not good_one nor goods"),
        ("row 7 of #7", ["#"], "row # of ##"),
        ("a label", ["", "label"], "a #"),
    ],
)
def test_words_that_hold_a_label_or_a_number_stay_readable(text: str, labels: list[str], expected: str) -> None:
    assert without_values(text, labels) == expected


@given(labels=st.lists(st.text(min_size=1, max_size=8), max_size=5), words=st.lists(st.text(max_size=8), max_size=5))
def test_no_label_that_stands_by_itself_is_told(labels: list[str], words: list[str]) -> None:
    marked = [f"L{label.strip()}" for label in labels]
    text = " ".join(f"{word} '{label}'" for word, label in zip(words, marked, strict=False))
    told = without_values(text, marked)
    assert not any(f"'{' '.join(label.split())}'" in told for label in marked[: len(words)])


def test_help_names_every_program() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "modelcycle_training", "--help"], check=True, capture_output=True, text=True
    )
    for kind in TaskKind:
        assert kind.value in told.stdout
    assert layout.TASK_ENV in told.stdout


def test_unknown_program_is_refused_with_the_list() -> None:
    told = subprocess.run([sys.executable, "-m", "modelcycle_training", "serve"], capture_output=True, text=True)
    assert told.returncode == 2
    assert "inspect" in told.stderr


def test_sigterm_ends_a_fit_at_once_and_is_to_be_tried_again(tmp_path: Path) -> None:
    """Signals reach a process that is inside of a computation and does not return to Python's own loop."""
    program = (
        "from modelcycle_training.__main__ import _leave_on_sigterm; import hashlib, sys;"
        "_leave_on_sigterm(); print('ready', flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=dict(os.environ)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 75
