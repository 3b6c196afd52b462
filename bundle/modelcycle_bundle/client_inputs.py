"""The names of inputs as text: what serving pods say of theirs, and what they are told of those that clients send.

Owns the form, on the metrics page and in a pod's environment, and its bound. A list that is too long is said and told nowhere: then only
the same inputs in the same order go together.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Final

ENVIRONMENT: Final = "MODELCYCLE_INPUTS"
"""Of the server: all inputs that clients send, in the order of their single tensor; absent: the model's own."""
MAX_BYTES: Final = 16 * 1024
PART_LENGTH: Final = 1000
"""Of a label on the metrics page: many a Prometheus refuses a whole page for one longer label, 2,048 characters being a usual limit."""


def to_text(names: Sequence[str]) -> str:
    """ASCII JSON; "" where it would be longer than MAX_BYTES. No `$`, which Kubernetes would take for a reference."""
    text = json.dumps(list(names), separators=(",", ":")).replace("$", "\\u0024")
    return text if len(text) <= MAX_BYTES else ""


def hash_of(names: Sequence[str]) -> str:
    """First 12 hex of the SHA-256 of the names in their order, as canonical JSON: whether all parts of a text were joined."""
    plain = json.dumps(list(names), separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()[:12]


def parts(text: str) -> tuple[str, ...]:
    """The text cut for the metrics page, at least one part; joined they are it again."""
    return tuple(text[at : at + PART_LENGTH] for at in range(0, max(len(text), 1), PART_LENGTH))


def parse(text: str) -> tuple[str, ...]:
    """The names of `to_text`; () of "". Raises ValueError."""
    if not text:
        return ()
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("expected a JSON list of names")
    if not names or len(set(names)) != len(names):
        raise ValueError("expected at least one name, and none twice")
    return tuple(names)
