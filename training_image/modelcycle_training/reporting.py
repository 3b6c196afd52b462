"""How a program tells what it does: JSON log lines on stdout, and the result as the container's termination message.

Owns the size limit of that message. Decides nothing about tasks.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol, TextIO

from modelcycle_bundle import factlines, layout
from modelcycle_bundle.contract import (
    CompareResult,
    Failure,
    InspectResult,
    JsonValue,
    SealResult,
    TrialResult,
    to_json,
)

Result = TrialResult | InspectResult | SealResult | CompareResult

TERMINATION_LOG_ENV: Final = "MODELCYCLE_TERMINATION_LOG"
MORE: Final = "log"
_MESSAGE_LENGTHS: Final = (1000, 400, 120)


class Log(Protocol):
    """Writes one structured line. `fields` are names, counts and digests, never cells of the data."""

    def __call__(self, step: str, **fields: JsonValue) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True)
class JsonLines:
    """The log of a program: one JSON object a line, flushed at once."""

    program: str
    stream: TextIO = dataclasses.field(default_factory=lambda: sys.stdout)

    def __call__(self, step: str, **fields: JsonValue) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "program": self.program, "step": step, **fields}
        self.stream.write(json.dumps(line, separators=(",", ":")) + "\n")
        self.stream.flush()

    def facts(self, result: Result) -> None:
        """The whole result in lines of their own. Raises ValueError when it is too large; the termination message stands then."""
        # In one write, behind a line break: what user code prints at the same time must not get between.
        self.stream.write("".join(f"\n{line}" for line in factlines.lines(to_json(result))) + "\n")
        self.stream.flush()


def write_termination_message(result: Result, path: Path) -> None:
    """Raises OSError."""
    path.write_bytes(termination_message(result))


def termination_message(result: Result, limit: int = layout.TERMINATION_MESSAGE_LIMIT) -> bytes:
    """The result as JSON of at most `limit` bytes: shortens the failure's message first, drops metrics but the objective last."""
    encoded, whole = b"", to_json(result)
    for smaller in _ever_smaller(result):
        is_whole = to_json(smaller) == whole
        encoded = to_json(smaller if is_whole else dataclasses.replace(smaller, more=MORE)).encode()
        if len(encoded) <= limit:
            return encoded
    raise ValueError(f"a result of {len(encoded)} bytes cannot be told in {limit}")


def _ever_smaller(result: Result) -> Iterator[Result]:
    if isinstance(result, InspectResult):
        result = dataclasses.replace(result, column_notes=None)
    yield result
    for length in _MESSAGE_LENGTHS:
        if result.failure is not None:
            result = dataclasses.replace(result, failure=_shortened(result.failure, length))
            yield result
    if isinstance(result, TrialResult):
        kept = {name: value for name, value in result.metrics.items() if name == result.objective_metric}
        yield dataclasses.replace(result, metrics=kept)
        objective = None if result.objective_metric is None else result.objective_metric[:100]
        yield dataclasses.replace(result, metrics={}, objective_metric=objective)


def _shortened(failure: Failure, length: int) -> Failure:
    if len(failure.message) <= length:
        return failure
    return dataclasses.replace(failure, message=failure.message[: length - 3] + "...")
