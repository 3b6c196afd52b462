"""Log records on stdout: JSON lines for programs, plain text for a person at a terminal.

Owns both forms, and how often one error is told. Fields go into `extra`; payloads never do.
"""

import json
import logging
import math
import sys
from datetime import UTC, datetime
from typing import Final

log: Final = logging.getLogger("modelcycle_serving")
SELDOM_SECONDS: Final = 1.0
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a record: time (UTC, RFC 3339), level, message, then the extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line, default=str)


class Text(logging.Formatter):
    """Time of day, level, message and fields on one line; a `curl` field on lines of its own, ready to be copied."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        curl = fields.pop("curl", None)
        told = " ".join(f"{key}={_plain(value)}" for key, value in fields.items())
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        line = f"{time} {record.levelname.lower():<7} {record.getMessage()}  {told}".rstrip()
        return line if curl is None else f"{line}\n\nSend a first request:\n\n    {curl}\n"


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if text and not set(text) & set(' ="') else json.dumps(text)


class Seldom(logging.Filter):
    """Lets through one error of a kind in SELDOM_SECONDS, with the number of `others` since the last: clients can cause many, such as by
    numbers that a model has no finite answer to, and a log that nobody reads fast enough holds up the process."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}
        """When each was last told, and how many have been left out since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this record is told."""
        if record.levelno < logging.ERROR:
            return True
        # The texts of others may hold anything; their places in the source are few.
        kind = (f"{record.pathname}:{record.lineno}", record.getMessage() if record.name == log.name else "")
        last, others = self._kinds.get(kind, (-math.inf, 0))
        if 0 <= record.created - last < SELDOM_SECONDS:  # a clock that was put back keeps nobody silent
            self._kinds[kind] = (last, others + 1)
            return False
        self._kinds[kind] = (record.created, 0)
        if others:
            record.others = others
        return True


FORMATS: Final = {"json": JsonLines, "text": Text}
AUTO: Final = "auto"
"""Text where stdout is a terminal, else JSON."""


def to_stdout(level: str, form: str = AUTO) -> None:
    """Send every record of this process to stdout. `level` is a name that `logging` knows, `form` one of FORMATS or AUTO."""
    handler = logging.StreamHandler(sys.stdout)
    chosen = ("text" if sys.stdout.isatty() else "json") if form == AUTO else form
    handler.setFormatter(FORMATS[chosen]())
    handler.addFilter(Seldom())
    logging.basicConfig(level=level, handlers=[handler], force=True)
