"""The section "Use it alone" of docs/serving.md, run as it stands there."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.serving import rig

DOCS = Path(__file__).parents[3] / "docs" / "serving.md"


def blocks() -> tuple[str, ...]:
    section = DOCS.read_text().split("\n## Use it alone\n")[1].split("\n## ")[0]
    return tuple(re.findall(r"```bash\n(.*?)```", section, re.DOTALL))


def shell(script: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After the model was made and imported."""
    made = tmp_path_factory.mktemp("alone")
    make, bring_in, *_ = blocks()
    shell(make, made)
    said = shell(bring_in, made)
    assert "classes setosa, versicolor, virginica" in said
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[rig.Server]:
    """The documented command; free ports are the only thing added."""
    command = blocks()[2].split()
    assert command[0] == "python"
    process = subprocess.Popen(
        [sys.executable, *command[1:], "--host", "127.0.0.1", "--http-port", "0", "--metrics-port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    with rig.Server(process) as running:
        listening = running.wait_for("listening")
        running.http_port, running.metrics_port = listening["http_port"], listening["metrics_port"]
        yield running


def test_the_printed_curl_line_and_the_documented_one_work(server: rig.Server, folder: Path) -> None:
    ready = server.wait_for("ready")
    first = json.loads(shell(ready["curl"], folder))
    assert [each["name"] for each in first["outputs"]] == ["label", "probabilities"]
    documented = blocks()[3].replace(":8080/", f":{server.http_port}/")
    answer = json.loads(shell(documented, folder))
    outputs = {each["name"]: each for each in answer["outputs"]}
    assert outputs["label"]["data"] == ["setosa"]
    assert outputs["contributions"]["shape"] == [1, 4]
    assert answer["parameters"] == {"method": "trees", "space": "probability"}
    total = outputs["base_value"]["data"][0] + sum(outputs["contributions"]["data"])
    assert total == pytest.approx(outputs["score"]["data"][0])


def test_the_help_of_every_documented_command_works(folder: Path) -> None:
    for command in blocks()[1:3]:
        program = re.match(r"python -m \w+(?: bundle import)?", command)
        assert program is not None
        assert "usage:" in shell(f"{program[0]} --help", folder)
