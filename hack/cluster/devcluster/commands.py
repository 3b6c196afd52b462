"""Runs other programs and turns their failures into one readable error. Owns no policy about what is run."""

import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class ClusterError(Exception):
    """Something the user can act on; the text says what and how. Printed without a traceback."""


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> str:
    """Run to the end and return standard output. Raises ClusterError with the last lines of standard error."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{words[0]} gave no answer within {timeout:.0f} s: {' '.join(words[:6])}") from error
    if done.returncode != 0:
        tail = "\n    ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-15:])
        raise ClusterError(f"{' '.join(words[:8])} failed with code {done.returncode}:\n    {tail}")
    return done.stdout


def attempt(argv: Sequence[str | Path]) -> bool:
    """Run and tell whether it succeeded; for steps whose failure means that there is nothing to do."""
    words = [str(word) for word in argv]
    try:
        return subprocess.run(words, capture_output=True, timeout=60).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def wait_for(what: str, check: Callable[[], bool], *, seconds: float, hint: str = "") -> None:
    """Poll `check` until it holds. Raises ClusterError after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = 0.05
    while not check():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {seconds:.0f} s. {hint}".rstrip())
        time.sleep(pause)
        pause = min(0.3, pause * 1.5)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel drops it when the holder dies, so a crash leaves no stale lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file in one step, so that a crash leaves the old content or the new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(scratch, path)
