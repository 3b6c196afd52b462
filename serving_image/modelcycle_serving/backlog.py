"""Rows that were answered and are not counted yet: counting many at once costs a fraction of counting each.

Owns when rows are counted: in slices of at most SLICE_SECONDS, as soon as there are enough for one, when the loop has been idle for a
moment, and all of them before a scrape, so that no scrape ever sees a row in one counter and not in another. Bounded in memory. Copies
no row: it keeps the arrays that the model was run with.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from modelcycle_serving.oip import Outputs, Rows

SLICE_SECONDS: Final = 0.0005
"""How long the event loop may be held up by counting at one time."""
MOST_ROWS: Final = 255
"""Of one slice: more at once is no cheaper."""
MAX_VALUES: Final = 1 << 22
"""Feature values waiting to be counted, 4 bytes each; above it slices are counted at once."""
IDLE_SECONDS: Final = 0.02
FIRST_ROWS: Final = 16
"""Of the first slice, whose cost nobody knows yet."""
_GROWTH: Final = 1.1
"""By how much the estimate of a row's cost may rise with one slice: a slice that other processes interrupted says little."""


@dataclass(slots=True)
class _Part:
    rows: Rows
    outputs: Outputs
    counted: int = 0
    """How many of the rows."""


class Backlog:
    """The rows of one process. `count` takes rows and answers of one slice."""

    def __init__(self, count: Callable[[Rows, Outputs], None], max_values: int = MAX_VALUES) -> None:
        self._max_values: Final = max_values
        self._count: Final = count
        self._parts: deque[_Part] = deque()
        self._rows = 0
        self._row_seconds = SLICE_SECONDS / FIRST_ROWS
        self.slice_rows = FIRST_ROWS
        """How many rows are thought to take SLICE_SECONDS."""
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Rows not yet counted."""
        return self._rows

    def add(self, rows: Rows, outputs: Outputs) -> None:
        """Rows [N, F] and the answers to them, N long. Neither may be changed afterwards."""
        self._parts.append(_Part(rows, outputs))
        self._rows += len(rows)
        if self._rows >= self.slice_rows:
            self._count_slice()
        while self._rows * rows.shape[1] > self._max_values:
            self._count_slice()
        if self._rows and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._idle)

    def flush(self) -> None:
        """Count everything."""
        while self._rows:
            self._count_slice()

    def close(self) -> None:
        """Count everything and set no timer any more."""
        self.flush()
        if self._timer is not None:
            self._timer.cancel()

    def _idle(self) -> None:
        self._timer = None
        if self._rows:
            self._count_slice()
        if self._rows:
            # One slice in a turn of the loop: requests come first.
            self._timer = asyncio.get_running_loop().call_later(0, self._idle)

    def _count_slice(self) -> None:
        rows, outputs = self._next_slice()
        # Not the thread's own time: asking for that is a system call.
        begun = time.perf_counter()
        self._count(rows, outputs)
        spent = (time.perf_counter() - begun) / len(rows)
        self._row_seconds = min(spent, self._row_seconds * _GROWTH)
        self.slice_rows = max(1, min(MOST_ROWS, int(SLICE_SECONDS / self._row_seconds)))

    def _next_slice(self) -> tuple[Rows, Outputs]:
        taken: list[tuple[Rows, Outputs]] = []
        room = self.slice_rows
        while room and self._parts:
            part = self._parts[0]
            size = len(part.rows)
            if not part.counted and size <= room:
                taken.append((part.rows, part.outputs))
                self._parts.popleft()
                room -= size
                continue
            end = min(part.counted + room, size)
            cut = slice(part.counted, end)
            taken.append((part.rows[cut], {name: values[cut] for name, values in part.outputs.items()}))
            room -= end - part.counted
            part.counted = end
            if end == size:
                self._parts.popleft()
        self._rows -= self.slice_rows - room
        if len(taken) == 1:
            return taken[0]
        names = taken[0][1]
        return (
            np.concatenate([rows for rows, _ in taken]),
            {name: np.concatenate([outputs[name] for _, outputs in taken]) for name in names},
        )
