"""`make clients`: the environment of the inference clients that others wrote, from hash-pinned requirements.

Owns one folder below ~/.cache/modelcycle (MODELCYCLE_CACHE) for each content of the requirements file; made once, kept
warm. Standard library only.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "tests/unit/serving/clients/requirements.txt"
CACHE = Path(os.environ.get("MODELCYCLE_CACHE") or Path.home() / ".cache/modelcycle")


def interpreter() -> Path:
    """The environment's Python; makes the environment first where it is missing. One process makes it, others wait."""
    content = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"clients-{content}"
    stamp, python = folder / ".installed", folder / "bin/python"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".clients.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            sys.stderr.write(f"==> Inference clients in {folder} (hash-pinned, about a minute)\n")
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", str(REQUIREMENTS)], check=True)
            stamp.touch()
    return python


if __name__ == "__main__":
    interpreter()
