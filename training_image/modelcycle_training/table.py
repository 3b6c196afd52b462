"""CSV bytes to a table of float32 features and a target column of text.

Owns the rules of what a readable table is: RFC 4180 with a header row, UTF-8, every column but the target numeric, an empty cell or
`nan` is a missing value. Never lets a cell value into a message: columns and row numbers only.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from modelcycle_bundle.contract import FailureReason
from modelcycle_training.failures import TaskFailed, data_failed

MAX_ROWS: Final = 20_000_000
MAX_COLUMNS: Final = 10_000
_CHUNK_ROWS: Final = 512
"""Small, so that cells die before the garbage collector counts them as old: a third of the time in large tables."""
_SHOWN_NAME: Final = 64
_MISSING: Final = frozenset({"", "nan"})

Float32Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Table:
    """One table as read: all rows, labelled or not, in file order."""

    features: tuple[str, ...]
    """Names of the feature columns, in file order: every column but the target."""
    values: Float32Matrix
    """[rows, features]; NaN is a missing value; never infinite."""
    target: tuple[str, ...]
    """The target's cells, stripped; an empty text is a row without label."""

    @property
    def rows(self) -> int:
        return len(self.target)

    @property
    def columns(self) -> int:
        return len(self.features) + 1

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """[rows]; True where the target is known."""
        return np.fromiter((cell != "" for cell in self.target), dtype=np.bool_, count=len(self.target))


def read_table(data: bytes, target: str | None) -> Table:
    """Parse a CSV table; without a target every column is a feature, and no row has a label.

    Raises TaskFailed with DataUnreadable, TargetMissing or FeatureNotNumeric.
    """
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""), strict=True)
    lines = _lines(reader)
    header = _header(next(lines, []))
    at = None if target is None else _target_position(header, target)
    features = tuple(name for position, name in enumerate(header) if position != at)
    blocks: list[Float32Matrix] = []
    labels: list[str] = []
    for chunk in _chunks(_rectangular(lines, len(header))):
        columns = list(zip(*chunk, strict=True))
        labels.extend([""] * len(chunk) if at is None else (_label(cell) for cell in columns.pop(at)))
        blocks.append(_numeric(features, columns))
        if len(labels) > MAX_ROWS:
            raise data_failed(FailureReason.DATA_UNREADABLE, f"the table has more than {MAX_ROWS} rows")
    if not blocks:
        raise data_failed(FailureReason.DATA_UNREADABLE, "the table has a header and no rows")
    return Table(features, np.concatenate(blocks), tuple(labels))


def shown(name: str) -> str:
    """A column name as it appears in messages: quoted, at most 64 characters."""
    return repr(name if len(name) <= _SHOWN_NAME else name[: _SHOWN_NAME - 3] + "...")


def _lines(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    row = 0
    try:
        for cells in reader:
            row += 1
            yield cells
    except UnicodeDecodeError as error:
        raise data_failed(
            FailureReason.DATA_UNREADABLE, f"not UTF-8 text after row {row}: save the table as UTF-8"
        ) from error
    except csv.Error as error:
        raise data_failed(
            FailureReason.DATA_UNREADABLE, f"row {row + 1} is not valid CSV (RFC 4180): {error}"
        ) from error


def _header(cells: list[str]) -> tuple[str, ...]:
    names = tuple(cell.strip() for cell in cells)
    if not names:
        raise data_failed(FailureReason.DATA_UNREADABLE, "the table is empty: expected a header row")
    if len(names) > MAX_COLUMNS:
        raise data_failed(FailureReason.DATA_UNREADABLE, f"the header has more than {MAX_COLUMNS} columns")
    seen: set[str] = set()
    for position, name in enumerate(names, start=1):
        if not name:
            raise data_failed(FailureReason.DATA_UNREADABLE, f"column {position} of the header has no name")
        if name in seen:
            raise data_failed(FailureReason.DATA_UNREADABLE, f"column name {shown(name)} appears twice in the header")
        seen.add(name)
    return names


def _target_position(header: Sequence[str], target: str) -> int:
    if target not in header:
        names = ", ".join(shown(name) for name in header[:10]) + (", ..." if len(header) > 10 else "")
        separator = "; is it comma-separated?" if len(header) == 1 and any(c in header[0] for c in ";\t|") else ""
        raise data_failed(
            FailureReason.TARGET_MISSING,
            f"data.target {shown(target)} is not a column; the table has {len(header)}: {names}{separator}",
        )
    if len(header) == 1:
        raise data_failed(FailureReason.DATA_UNREADABLE, f"the table has no column besides the target {shown(target)}")
    return header.index(target)


def _rectangular(lines: Iterable[list[str]], width: int) -> Iterator[list[str]]:
    for row, cells in enumerate(lines, start=2):
        if not cells:  # a blank line, as many writers leave at the end
            continue
        if len(cells) != width:
            raise data_failed(
                FailureReason.DATA_UNREADABLE,
                f"row {row} (the header is row 1) has {len(cells)} cells, the header has {width}",
            )
        yield cells


def _chunks(rows: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    while chunk := list(islice(rows, _CHUNK_ROWS)):
        yield chunk


def _label(cell: str) -> str:
    text = cell.strip()
    return "" if text.lower() in _MISSING else text


def _numeric(features: Sequence[str], columns: Sequence[Sequence[str]]) -> Float32Matrix:
    block = np.empty((len(columns[0]), len(columns)), dtype=np.float32)
    for position, (name, cells) in enumerate(zip(features, columns, strict=True)):
        try:
            column = np.array([float(cell) if cell else np.nan for cell in cells], dtype=np.float64)
        except ValueError:
            column = _numeric_slowly(name, cells)
        with np.errstate(over="ignore"):
            block[:, position] = column
        if np.isinf(block[:, position]).any():
            raise data_failed(
                FailureReason.FEATURE_NOT_NUMERIC,
                f"column {shown(name)} holds values that are infinite or beyond float32 (3.4e38): rescale or empty them",
            )
    return block


def _numeric_slowly(name: str, cells: Sequence[str]) -> npt.NDArray[np.float64]:
    """Cells of blanks alone are missing values too; they are too rare to look for in every column."""
    try:
        return np.array([float(cell) if cell.strip() else np.nan for cell in cells], dtype=np.float64)
    except ValueError:
        raise _not_numeric(name) from None


def _not_numeric(name: str) -> TaskFailed:
    return data_failed(
        FailureReason.FEATURE_NOT_NUMERIC,
        f"column {shown(name)} holds text: encode it as numbers or leave it out (an empty cell is a missing value)",
    )
