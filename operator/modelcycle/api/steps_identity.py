"""Tells whether the steps of a rollout were edited: a hash of declared fields, written as versioned canonical JSON. Pure.

Owns the field list. The names of classes and their fields in code are not in it, so that renaming one restarts no canary in flight; a new
field of a step is to be left out of the text while it has its default, for the same reason. Golden tests pin the hashes.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from modelcycle.api.rollout import Analysis, Pause, SetWeight, Shadow, Step

VERSION: Final = 2
"""Of the text. Stored before the hash, so that one of a later form is not taken for another list of steps."""


def steps_hash(steps: Sequence[Step]) -> str:
    """`2-<8 hex>`."""
    return f"{VERSION}-{_digest(canonical(steps))}"


def is_hash_of(stored: str, steps: Sequence[Step]) -> bool:
    """Whether `stored` stands for these steps, in today's form or in that of the first release."""
    return stored in (steps_hash(steps), first_release_hash(steps))


def canonical(steps: Sequence[Step]) -> str:
    """The text that is hashed: sorted keys, no spaces, absent fields left out. Shares as they are, times in microseconds."""
    return json.dumps({"v": VERSION, "steps": [_plain(step) for step in steps]}, sort_keys=True, separators=(",", ":"))


def first_release_hash(steps: Sequence[Step]) -> str:
    """The hash that the first release stored, over how Python showed its classes. Never change its text: canaries in flight carry it."""
    shown = [_first_release(step) for step in steps]
    return _digest(f"({', '.join(shown)}{',' if len(shown) == 1 else ''})")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _plain(step: Step) -> dict[str, Any]:
    match step:
        case SetWeight():
            return {"setWeight": step.share}
        case Pause():
            return {"pause": {} if step.duration is None else {"duration": _microseconds(step.duration)}}
        case Analysis():
            return {"analysis": {}}
        case Shadow():
            return {"shadow": {"weight": step.share, "duration": _microseconds(step.duration)}}


def _microseconds(time: timedelta) -> int:
    return time // timedelta(microseconds=1)


def _first_release(step: Step) -> str:
    match step:
        case SetWeight():
            return f"SetWeight(share={step.share})"
        case Pause():
            return f"Pause(duration={'None' if step.duration is None else _first_release_time(step.duration)})"
        case Analysis():
            return "Analysis()"
        case Shadow():
            return f"Shadow(share={step.share}, duration={_first_release_time(step.duration)})"


def _first_release_time(time: timedelta) -> str:
    parts = (("days", time.days), ("seconds", time.seconds), ("microseconds", time.microseconds))
    return f"datetime.timedelta({', '.join(f'{name}={value}' for name, value in parts if value) or '0'})"
