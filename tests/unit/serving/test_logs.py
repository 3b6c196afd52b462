"""What the server says, to programs and to people."""

import json
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelcycle_serving import logs
from unit.serving import rig


def record(message: str, **extra: object) -> logging.LogRecord:
    return logging.getLogger("t").makeRecord("t", logging.INFO, "f", 1, message, (), None, extra=extra)


def test_text_keeps_what_has_to_be_copied_on_a_line_of_its_own() -> None:
    text = logs.Text().format(record("ready", features=3, outputs=["label"], curl="curl -d '{}' http://h/x"))
    first, *rest = text.splitlines()
    assert first.endswith("""info    ready  features=3 outputs="[\\"label\\"]\"""")
    assert rest == ["", "Send a first request:", "", "    curl -d '{}' http://h/x"]


def test_text_of_a_plain_record_is_one_line() -> None:
    text = logs.Text().format(record("not serving", detail="a b", reason="GoldenMismatch"))
    assert text.endswith('not serving  detail="a b" reason=GoldenMismatch')


def error(created: float, message: str = "the model's answer is not a finite number", name: str = logs.log.name) -> Any:
    made = logging.getLogger(name).makeRecord(name, logging.ERROR, "f", 1, message, (), None)
    made.created = created
    return made


def test_one_error_of_a_kind_is_told_in_a_second_with_the_number_of_others() -> None:
    seldom = logs.Seldom()
    assert [seldom.filter(error(at / 10)) for at in range(10)] == [True] + [False] * 9
    assert seldom.filter(error(0.5, "rows were not counted"))
    assert all(seldom.filter(record("traffic", seq=at)) for at in range(3))
    assert seldom.filter(later := error(1.0))
    assert json.loads(logs.JsonLines().format(later))["others"] == 9
    assert seldom.filter(again := error(2.5))
    assert "others" not in json.loads(logs.JsonLines().format(again))
    assert seldom.filter(error(0.0)), "the clock was put back"


def test_texts_of_other_libraries_take_no_memory() -> None:
    seldom = logs.Seldom()
    assert sum(seldom.filter(error(0.0, f"callback {at:x}", "asyncio")) for at in range(100)) == 1


def test_clients_cannot_fill_the_log(bundles: dict[str, Path]) -> None:
    no_answer = rig.matrix([[3e38, -3e38, 3e38]])
    with rig.serving(bundles["classes"]) as server, server.client() as client:
        # Nobody reads the log meanwhile: lines of all would fill the pipe and stop the process.
        assert {client.infer(no_answer).status for _ in range(1500)} == {500}
    server.end()
    assert 1 <= sum(line["level"] == "error" for line in server.log) < 100


def on_terminal(bundle: Path, *flags: str) -> str:
    """What the server writes to a terminal until it is ready and told to stop."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "modelcycle_serving", "--bundle", str(bundle), "--host", "127.0.0.1"]
    command += ["--http-port", "0", "--metrics-port", "0", *flags]
    process = subprocess.Popen(command, stdout=theirs)
    os.close(theirs)
    said = b""
    try:
        while b"curl" not in said:
            said += os.read(ours, 4096)
        process.terminate()
        while True:
            said += os.read(ours, 4096)
    except OSError:  # a terminal whose last writer has gone is an error to read
        return said.decode().replace("\r\n", "\n")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("flags", [("--drain-settle", "0"), ("--drain-settle", "0", "--log-format", "json")])
def test_a_terminal_gets_text_unless_json_is_asked_for(bundles: dict[str, Path], flags: tuple[str, ...]) -> None:
    said = on_terminal(bundles["classes"], *flags)
    if "json" in flags:
        assert json.loads(said.splitlines()[0])["message"] == "listening"
    else:
        assert "\nSend a first request:\n\n    curl -s" in said
        assert "info    listening  " in said
