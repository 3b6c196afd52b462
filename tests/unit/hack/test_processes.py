"""A process is known by id and start time; only the recorded one is ever signalled."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.commands import wait_for
from devcluster.processes import (
    Command,
    Identity,
    Record,
    Supervisor,
    identity_of,
    is_running,
    parse_record,
    parse_stat,
    send,
    stop_all,
)

ENV = {"PATH": os.environ["PATH"]}
SLEEP = Command("sleeper", ("sleep", "600"))


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "run", tmp_path / "log")
    yield made
    for name in made.names():
        made.stop(name)


def started(supervisor: Supervisor, command: Command) -> Record:
    supervisor.ensure(command, ENV)
    record = supervisor.record(command.name)
    assert record is not None
    return record


@pytest.mark.parametrize("name", ["sh", "a b", "((sd-pam)", "x) R 1 (y"])
def test_start_time_is_read_whatever_the_program_is_called(name: str) -> None:
    fields = " ".join(str(n) for n in range(4, 22))
    assert parse_stat(f"42 ({name}) S {fields} 987654 0 0") == ("S", 987654)


@pytest.mark.parametrize("text", ["", "12", "12 13", "x 13 f", "12 -3 f", "12 13 f more"])
def test_a_damaged_record_is_no_record(text: str) -> None:
    assert parse_record(text) is None


def test_a_recycled_id_is_not_our_process() -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        real = identity_of(bystander.pid)
        assert real is not None
        former = Identity(bystander.pid, real.started - 1)
        assert not is_running(former)
        send(former, signal.SIGKILL)
        stop_all([former], grace_seconds=0.1)
        assert bystander.poll() is None
        assert is_running(real)
    finally:
        bystander.kill()
        bystander.wait()


def test_a_process_that_ended_but_was_not_collected_counts_as_gone() -> None:
    child = subprocess.Popen(["true"])
    wait_for("child ended", lambda: identity_of(child.pid) is None, seconds=10)
    assert Path(f"/proc/{child.pid}").exists()
    child.wait()


def test_starting_twice_keeps_the_first(supervisor: Supervisor) -> None:
    first = started(supervisor, SLEEP)
    assert supervisor.ensure(SLEEP, ENV) is False
    assert supervisor.record("sleeper") == first


def test_other_words_restart_the_program(supervisor: Supervisor) -> None:
    first = started(supervisor, SLEEP)
    second = started(supervisor, Command("sleeper", ("sleep", "601")))
    assert not is_running(first.identity)
    assert second.identity != first.identity


def test_a_changed_configuration_file_restarts_the_program(supervisor: Supervisor, tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_text("a")
    command = Command("sleeper", ("sleep", "600"), (file,))
    first = started(supervisor, command)
    file.write_text("b")
    assert started(supervisor, command).identity != first.identity


def test_a_killed_program_is_started_again(supervisor: Supervisor) -> None:
    first = started(supervisor, SLEEP)
    os.kill(first.identity.pid, signal.SIGKILL)
    wait_for("it died", lambda: supervisor.record("sleeper") is None, seconds=10)
    assert supervisor.ensure(SLEEP, ENV) is True


def test_one_that_ignores_the_request_is_forced(supervisor: Supervisor) -> None:
    stubborn = Command("stubborn", ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"))
    record = started(supervisor, stubborn)
    wait_for("trap set", lambda: "ready" in supervisor.log_tail("stubborn"), seconds=10)
    supervisor.stop("stubborn", grace_seconds=0.2)
    assert not is_running(record.identity)
    assert supervisor.names() == []
