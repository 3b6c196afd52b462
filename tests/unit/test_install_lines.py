"""What README and docs tell people to install can be installed, from this checkout and what an index has: no package of ours is in one.

The environment is fresh but for links to the locked packages of others, so that nothing is downloaded and nothing of ours is there before.
"""

import re
import shlex
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Collection
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINES = sorted(
    {found.strip() for page in PAGES for found in re.findall(r"\bpip install ([^\n`#)]+)", page.read_text())}
)
OURS = [line for line in LINES if line.startswith(".")]
HEAVY = {"kopf", "kubernetes", "aiohttp", "numpy"}
"""What no workstation needs for the plugin."""
EVERYTHING = (
    "import importlib, pkgutil, modelcycle.cli as c;"
    "[importlib.import_module(m.name) for m in pkgutil.walk_packages(c.__path__, 'modelcycle.cli.')]"
)
"""Imports all of the plugin."""
CHECKS = {
    ".": "import modelcycle.cli",
    "./bundle": "import modelcycle_bundle.layout",
    "./serving_image": "import modelcycle_serving",
    "./training_image": "import modelcycle_training",
}


def environment(folder: Path, without: Collection[str] = ()) -> Path:
    """The Python of a new environment with the packages of others that are here."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for found in distributions(path=[sysconfig.get_path("purelib")]):
        name = found.metadata["Name"].lower()
        if name.startswith("modelcycle") or name in without:
            continue
        tops = {Path(file).parts[0] for file in found.files or () if ".." not in Path(file).parts}
        for top in tops - {"__pycache__"}:
            target = Path(str(found.locate_file(top)))
            if target.exists() and not (site / top).exists():
                (site / top).symlink_to(target)
    return folder / "bin" / "python"


def install(python: Path, line: str) -> subprocess.CompletedProcess[str]:
    options = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-build-isolation")
    command = [str(python), "-m", "pip", "install", *options, *shlex.split(line)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_there_are_lines_and_those_of_others_are_locked() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert "." in OURS
    assert set(LINES) - set(OURS) <= set(groups["clients"])


@pytest.mark.parametrize("line", OURS)
def test_a_line_of_the_documentation_installs(line: str, tmp_path: Path) -> None:
    python = environment(tmp_path / "fresh")
    done = install(python, line)
    assert done.returncode == 0, done.stderr
    for part in shlex.split(line):
        subprocess.run([python, "-c", CHECKS[part]], cwd=tmp_path, check=True)


def test_the_plugin_needs_nothing_of_the_operators(tmp_path: Path) -> None:
    python = environment(tmp_path / "fresh", HEAVY)
    for name in HEAVY:
        assert subprocess.run([python, "-c", f"import {name}"], capture_output=True, check=False).returncode == 1
    done = install(python, ".")
    assert done.returncode == 0, done.stderr
    plugin = str(python.with_name("kubectl-modelcycle"))
    for words, said in (
        (["version"], "modelcycle "),
        (["keygen", "-n", "plant-7", "--print"], "BEGIN PUBLIC KEY"),
        (["explain", "--help"], "Say why an object is what it is"),
    ):
        out = subprocess.run([plugin, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert said in out
    subprocess.run([python, "-c", EVERYTHING], cwd=tmp_path, check=True)


@pytest.mark.parametrize("gone", ["modelcycle", "modelcycle-bundle"])
@pytest.mark.parametrize(
    "lines",
    [(".", "./bundle"), ("./bundle", "."), ("-e .", "./bundle"), ("./bundle", "-e ."), ("-e .", "-e ./bundle")],
    ids=" then ".join,
)
def test_the_plugin_and_the_bundle_package_come_and_go_side_by_side(
    lines: tuple[str, str], gone: str, tmp_path: Path
) -> None:
    python = environment(tmp_path / "fresh", HEAVY)
    for line in lines:
        done = install(python, line)
        assert done.returncode == 0, done.stderr
    uses = {"modelcycle": EVERYTHING, "modelcycle-bundle": "import modelcycle_bundle.layout"}
    for use in uses.values():
        subprocess.run([python, "-c", use], cwd=tmp_path, check=True)
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", gone], cwd=tmp_path, check=True)
    (kept,) = uses.keys() - {gone}
    subprocess.run([python, "-c", uses[kept]], cwd=tmp_path, check=True)
