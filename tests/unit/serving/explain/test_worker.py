"""The explaining process and the memory of its container."""

import subprocess
import sys
from pathlib import Path

import pytest

from modelcycle_serving.explain import frames, worker
from unit.serving.explain import cases

MIB = 1024 * 1024
PROGRAM = """
import sys
from pathlib import Path
from modelcycle_serving.explain import worker
sys.exit(worker.main(sys.argv[1:3], Path(sys.argv[3])))
"""


def cgroup(folder: Path, most: str, anon: int) -> Path:
    folder.mkdir()
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.stat").write_text(f"anon {anon}\nfile 123\n")
    return folder


@pytest.mark.parametrize(
    ("most", "anon", "left"), [(str(512 * MIB), 100 * MIB, 380 * MIB), (str(64 * MIB), 60 * MIB, 0), ("max", 0, None)]
)
def test_memory_left_is_the_containers_less_what_is_used_and_a_reserve(
    most: str, anon: int, left: int | None, tmp_path: Path
) -> None:
    assert worker.memory_left(cgroup(tmp_path / "cgroup", most, anon)) == left


def test_no_limit_where_there_are_no_cgroups(tmp_path: Path) -> None:
    assert worker.memory_left(tmp_path) is None


@pytest.mark.parametrize(("megabytes", "told"), [(512, None), (40, "MemoryError")])
def test_an_explanation_without_room_fails_and_takes_nothing_with_it(
    megabytes: int, told: str | None, tmp_path: Path
) -> None:
    digest = cases.write_bundle(tmp_path / "bundle", "tree")
    folder = cgroup(tmp_path / "cgroup", str(megabytes * MIB), 0)
    jobs = frames.frame(frames.rows_to_bytes(cases.fitted("tree").table[:2])) * 2
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "bundle"), digest, str(folder)]
    done = subprocess.run(command, input=jobs, stdout=subprocess.PIPE, check=True, timeout=60)
    answers = done.stdout
    for _ in range(2):
        (size,) = frames.LENGTH.unpack_from(answers)
        body, answers = answers[4 : 4 + size], answers[4 + size :]
        if told is None:
            assert len(frames.explained_from_bytes(body).score) == 2
        else:
            with pytest.raises(frames.Failed, match=told):
                frames.explained_from_bytes(body)
    assert answers == b""
