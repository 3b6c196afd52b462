"""What a program gets from its surroundings, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelcycle_training.reporting import Log


@dataclass(frozen=True, slots=True)
class Context:
    """Environment of one run."""

    env: Mapping[str, str]
    """Environment variables: store credentials under their usual names."""
    key_dir: Path
    """Where the signing Secret is mounted, in `inspect` and `seal` only; the folder may be absent."""
    log: Log
