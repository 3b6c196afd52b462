"""One Python environment for each server, from hash-pinned requirements.

Owns which there are, and how large each is. Ours is installed as the serving image does it: the requirements of the image, and the two
packages' sources on the path, byte-compiled.
"""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from environments import made

ROOT: Final = Path(__file__).parents[3]
HERE: Final = Path(__file__).parent
OUR_PACKAGES: Final = ("bundle/modelcycle_bundle", "serving_image/modelcycle_serving")
_INSTALLERS: Final = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
"""What `venv` puts there by itself."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An interpreter with its packages."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")

    def size_mib(self) -> float:
        """Packages with bytecode, without Python itself and what installs packages."""
        return (_bytes(_site(self.folder), _INSTALLERS) + _bytes(self.folder / "src", ())) / 2**20


def ours() -> Environment:
    """The serving image's packages, without what its Dockerfile removes."""
    environment = Environment(made("bench-modelcycle", ROOT / "serving_image/requirements.txt"))
    for pattern in removed((ROOT / "serving_image/Dockerfile").read_text()):
        for path in _site(environment.folder).glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    source = environment.folder / "src"
    shutil.rmtree(source, ignore_errors=True)
    for package in OUR_PACKAGES:
        shutil.copytree(ROOT / package, source / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([environment.python, "-m", "compileall", "-q", str(source)], check=True)
    return Environment(environment.folder, {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"})


def peer(name: str) -> Environment:
    """Of `fastapi`, `mlserver` or `tools`."""
    return Environment(made(f"bench-{name}", HERE / f"requirements-{name}.txt"))


def _site(folder: Path) -> Path:
    return next((folder / "lib").glob("python*/site-packages"))


def removed(dockerfile: str) -> list[str]:
    """Patterns below site-packages; raises ValueError when the Dockerfile removes nothing any more."""
    joined = dockerfile.replace("\\\n", " ")
    [command] = (line for line in joined.splitlines() if "site-packages" in line and "rm -rf" in line)
    return command.partition("rm -rf ")[2].split()


def _bytes(folder: Path, left_out: tuple[str, ...]) -> int:
    if not folder.is_dir():
        return 0
    entries = (each for each in folder.iterdir() if not each.name.startswith(left_out))
    files = (file for entry in entries for file in ([entry] if entry.is_file() else entry.rglob("*")))
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())
