"""Python environments beside our own, for software that others wrote: `python hack/environments.py NAME REQUIREMENTS` makes one.

Owns one folder below ~/.cache/modelcycle (MODELCYCLE_CACHE) for each content of a requirements file with hashes; made once, kept warm.
Standard library only.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

CACHE = Path(os.environ.get("MODELCYCLE_CACHE") or Path.home() / ".cache/modelcycle")


def made(name: str, requirements: Path) -> Path:
    """The environment's folder; makes it first where it is missing. One process makes it, others wait."""
    folder = CACHE / f"{name}-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    stamp = folder / ".installed"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            sys.stderr.write(f"==> Python environment {folder} (hash-pinned, a minute or more)\n")
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", str(requirements)], check=True)
            stamp.touch()
    return folder


if __name__ == "__main__":
    made(sys.argv[1], Path(sys.argv[2]))
