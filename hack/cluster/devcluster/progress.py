"""What the user sees while things happen: one line per step, with its duration. Never decides anything."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Progress:
    """Writes to standard error, so that standard output stays for answers (paths, JSON)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def cached(self, title: str) -> None:
        self.say(f"==> {title}: cached")

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step, then tell how long it took, in seconds."""
        self.say(f"==> {title} ...")
        begun = time.monotonic()
        try:
            yield
        except BaseException:
            self.say(f"    {title}: failed after {time.monotonic() - begun:.1f} s")
            raise
        self.say(f"    {title}: {time.monotonic() - begun:.1f} s")
