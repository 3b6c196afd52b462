"""The command line, log lines and the metric table."""

import json
import logging
import sys

import pytest

from modelcycle.__main__ import FLAGS, main, parse
from modelcycle.logs import JsonFormatter, TextFormatter
from modelcycle.settings import Settings, SettingsError
from modelcycle.telemetry import Telemetry

ENV = {"MODELCYCLE_TRAINING_IMAGE": "t@sha256:1", "MODELCYCLE_SERVING_IMAGE": "s@sha256:2"}


def test_flags_win_over_the_environment() -> None:
    settings = parse(
        ["--workers", "9", "--lease", "l"], {**ENV, "MODELCYCLE_WORKERS": "2", "MODELCYCLE_HTTP_PORT": "1"}
    )
    assert (settings.workers, settings.lease_name, settings.http_port) == (9, "l", 1)


def test_every_setting_has_a_flag() -> None:
    assert len(FLAGS) == len(Settings.__dataclass_fields__)


def test_a_missing_image_is_named() -> None:
    with pytest.raises(SettingsError, match="MODELCYCLE_SERVING_IMAGE"):
        parse([], {"MODELCYCLE_TRAINING_IMAGE": "t"})


def test_bad_settings_end_with_2_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELCYCLE_TRAINING_IMAGE", raising=False)
    assert main([]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def record(error: type[Exception] | None = None) -> logging.LogRecord:
    info = None
    if error:
        try:
            raise error("defect")
        except error:
            info = sys.exc_info()
    made = logging.LogRecord("modelcycle.engine", logging.WARNING, "f.py", 1, "will %s", ("retry",), info)
    made.key = "Experiment/ns/e"
    return made


def test_a_json_line_has_message_and_fields() -> None:
    line = json.loads(JsonFormatter().format(record()))
    assert (line["level"], line["message"], line["key"]) == ("warning", "will retry", "Experiment/ns/e")
    assert line["time"].endswith("+00:00")


def test_a_traceback_stays_within_its_line() -> None:
    text = JsonFormatter().format(record(ValueError))
    assert "\n" not in text
    assert "ValueError: defect" in json.loads(text)["traceback"]


def test_a_text_line_has_message_and_fields() -> None:
    assert TextFormatter().format(record()).endswith("W modelcycle.engine: will retry key=Experiment/ns/e")


def test_metrics_are_counted_under_their_names() -> None:
    telemetry = Telemetry()
    telemetry.reconciled("Experiment", "success", 0.01)
    telemetry.requested("GET", 200, 0.01)
    telemetry.queued(3)
    telemetry.retried()
    telemetry.leading(1)
    text = telemetry.exposition().decode()
    for line in (
        'modelcycle_operator_reconcile_total{kind="Experiment",result="success"} 1.0',
        'modelcycle_operator_api_requests_total{code="200",verb="GET"} 1.0',
        "modelcycle_operator_workqueue_depth 3.0",
        "modelcycle_operator_workqueue_adds_total 1.0",
        "modelcycle_operator_workqueue_retries_total 1.0",
        "modelcycle_operator_leader 1.0",
    ):
        assert line in text.splitlines()
