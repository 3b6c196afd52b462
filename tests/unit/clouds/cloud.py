"""One cloud's object store as a namespace sees it: URIs, the keys of its store Secret, and keys that are refused. Holds no assertion."""

import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ENOUGH_SECONDS = 120


@dataclass(frozen=True)
class Cloud:
    """A running emulator."""

    scheme: str
    secret: Mapping[str, str]
    """Keys of a store Secret that works."""
    foreign: Mapping[str, str]
    """The same with a well-formed credential that this account did not give out."""
    address_key: str
    """The key that says where the store is."""
    names_in_denial: str
    """What a message about refused credentials tells a person to look at."""
    new_bucket: Callable[[str], None]
    made: list[str] = field(default_factory=list)

    def bucket(self) -> str:
        """URI of a new bucket."""
        self.made.append(f"bucket{len(self.made)}")
        self.new_bucket(self.made[-1])
        return f"{self.scheme}://{self.made[-1]}"


@contextmanager
def started(words: Sequence[str | Path], ready: re.Pattern[str], folder: Path) -> Iterator[int]:
    """Run a program until the end of the block; the port that it says it listens on, as group 1 of `ready`."""
    process = subprocess.Popen(
        [str(word) for word in words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    overdue = threading.Timer(ENOUGH_SECONDS, process.kill)
    overdue.start()
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if found := ready.search(line):
                break
        else:
            raise AssertionError(f"{words[0]} ended before it listened:\n{''.join(said)}")
        overdue.cancel()
        drain = threading.Thread(target=process.stdout.read, daemon=True)  # a full pipe would stop it
        drain.start()
        yield int(found[1])
    finally:
        overdue.cancel()
        process.terminate()
        process.wait()
