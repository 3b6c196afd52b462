"""The explaining process: rows in on stdin, explanations out on stdout, until stdin ends.

Owns what keeps it out of the server's way: the lowest priority, at most half of a core, one thread, and no more memory than the container
has left: where that ran out, Kubernetes would end the server as well. Logs nothing; what goes wrong is told
in the answer by the kind of error.
"""

import os

# Before numpy is imported: its library of linear algebra starts a thread a core otherwise.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from modelcycle_serving.explain import explainer, frames
from modelcycle_serving.explain.columns import Float32
from modelcycle_serving.explain.explainer import Explainer

NICE: Final = 19
LONGEST_PAUSE: Final = 0.25
CGROUP: Final = Path("/sys/fs/cgroup")
RESERVE: Final = 32 * 1024 * 1024
"""Bytes of the container's memory that stay free for the server."""


def main(arguments: Sequence[str], cgroup: Path = CGROUP) -> int:
    """`arguments`: the bundle's folder, the digest that the server has verified."""
    os.nice(NICE)
    _keep_within(memory_left(cgroup))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    bundle, digest = Path(arguments[0]), arguments[1]
    loaded: Explainer | None = None
    while (body := _read(sys.stdin.buffer)) is not None:
        try:
            loaded = loaded or explainer.load(bundle, digest)
            answer = frames.explained_to_bytes(explain(loaded, frames.rows_from_bytes(body), time.sleep))
        except Exception as error:  # the server decides what it is worth
            answer = frames.failure_to_bytes(type(error).__name__)
        sys.stdout.buffer.write(frames.frame(answer))
        sys.stdout.buffer.flush()
    return 0


def explain(loaded: Explainer, rows: Float32, sleep: Callable[[float], None]) -> frames.Explained:
    """Explain all rows; after each slice of work rest as long as it took."""
    parts = []
    begun = time.perf_counter()
    for part in loaded.explain(rows):
        parts.append(part)
        if sum(len(each.base) for each in parts) < len(rows):
            sleep(min(time.perf_counter() - begun, LONGEST_PAUSE))
            begun = time.perf_counter()
    return frames.Explained(
        loaded.method,
        loaded.space,
        np.concatenate([each.explained for each in parts]),
        np.concatenate([each.score for each in parts]),
        np.concatenate([each.base for each in parts]),
        np.concatenate([each.contributions for each in parts]),
    )


def memory_left(cgroup: Path) -> int | None:
    """Bytes that may still be taken before the kernel ends the whole container; None without a limit, or without cgroups v2."""
    try:
        most = int((cgroup / "memory.max").read_text())
        used = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())["anon"]
    except (OSError, ValueError, KeyError):
        return None
    return max(0, most - int(used) - RESERVE)


def _keep_within(left: int | None) -> None:
    """Beyond it an allocation fails, which is told in the answer."""
    if left is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (left if hard == resource.RLIM_INFINITY else min(left, hard), hard))


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(frames.LENGTH.size)
    if len(head) < frames.LENGTH.size:
        return None
    (size,) = frames.LENGTH.unpack(head)
    body = stream.read(size)
    return body if len(body) == size and size <= frames.MAX_FRAME else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
