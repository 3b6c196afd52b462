"""Which rows have their label: each answer's are counted at most once by this process.

Owns the memory of that and its bound. When it is full the oldest answers are forgotten, and from then on nothing as old is taken: what
cannot be told from a replay is refused as one.
"""

import heapq
from typing import Final


class Forgotten(ValueError):
    """The answer is as old as those that were forgotten."""


class Replays:
    """At most `limit` answers by their minute (Unix time / 60) and identity; of each the labelled rows as bits."""

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self._rows: dict[int, dict[int, int]] = {}
        """Minute -> identity -> rows."""
        self._minutes: list[int] = []
        """A heap."""
        self._size = 0
        self._forgotten = -1
        """All of this minute and those before may have been counted."""

    def __len__(self) -> int:
        return self._size

    def labelled(self, minute: int, identity: int) -> int:
        """The rows of an answer that have their label. Raises Forgotten."""
        if minute <= self._forgotten:
            raise Forgotten
        return self._rows.get(minute, {}).get(identity, 0)

    def add(self, minute: int, identity: int, rows: int) -> None:
        """These rows have their label now."""
        if minute not in self._rows:
            self._rows[minute] = {}
            heapq.heappush(self._minutes, minute)
        answers = self._rows[minute]
        self._size += identity not in answers
        answers[identity] = answers.get(identity, 0) | rows
        while self._size > self._limit:
            self._drop()

    def expire(self, minute: int) -> None:
        """Nothing of before `minute` is asked about again."""
        while self._minutes and self._minutes[0] < minute:
            self._drop()

    def _drop(self) -> None:
        oldest = heapq.heappop(self._minutes)
        self._size -= len(self._rows.pop(oldest))
        self._forgotten = max(self._forgotten, oldest)
