"""Removes the candidates of losing trials from the store, after the best one is published.

Removes nothing but what the task names, below `candidates/<uid>/`. A store that refuses does not undo a seal: it is told beside the result.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from modelcycle_bundle import layout
from modelcycle_bundle.contract import SealTask
from modelcycle_bundle.store import Store, StoreError
from modelcycle_training.candidate import RESULT_FILE
from modelcycle_training.context import Context

PATIENCE_SECONDS: Final = 120.0
"""The model waits for this to be told; what is left then goes with the next seal."""
AT_A_TIME: Final = 100
_ATTEMPT: Final = re.compile(r"([0-9]+)(?:-([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Removed:
    """How many candidates were removed, and why not all that were to be."""

    candidates: int
    problem: str | None = None


def remove_losing(store: Store, task: SealTask, context: Context) -> Removed:
    """Remove what the task names and is still there. Never raises StoreError; repeating it is a no-op."""
    until, done = time.monotonic() + PATIENCE_SECONDS, 0
    try:
        doomed = _found(store, task)
        for some in _batched(doomed, AT_A_TIME):
            if time.monotonic() > until:
                left = len(doomed) - done
                return Removed(done, f"{left} candidates of losing trials are left: the store was too slow")
            # Without its result a candidate is none: what is cut off here leaves no half of one that looks whole.
            store.remove_candidates([path for paths in some for path in paths if path.endswith(f"/{RESULT_FILE}")])
            store.remove_candidates([path for paths in some for path in paths if not path.endswith(f"/{RESULT_FILE}")])
            done += len(some)
    except StoreError as error:
        return Removed(done, f"candidates of losing trials are left in the store: {error.failure.message}")
    context.log("candidates removed", count=done)
    return Removed(done)


def _found(store: Store, task: SealTask) -> list[list[str]]:
    """The objects of each candidate that is to go."""
    if not task.remove:
        return []
    folder = f"{layout.CANDIDATES_DIR}/{task.experiment_uid}"
    found: dict[tuple[int, int], list[str]] = {}
    for entry in store.list(folder):
        name, _, inner = entry.path.removeprefix(f"{folder}/").partition("/")
        match = _ATTEMPT.fullmatch(name)
        trial = (int(match[1]), int(match[2] or 0)) if match and inner else None
        if trial is not None and trial != (task.index, task.attempt) and _is_named(task, *trial):
            found.setdefault(trial, []).append(entry.path)
    return [found[trial] for trial in sorted(found)]


def _is_named(task: SealTask, index: int, attempt: int) -> bool:
    return any(one.attempt == attempt and one.first <= index <= one.last for one in task.remove)


def _batched(items: Sequence[list[str]], size: int) -> list[Sequence[list[str]]]:
    return [items[at : at + size] for at in range(0, len(items), size)]
