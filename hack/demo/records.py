"""Real data for the demo: the breast cancer records that scikit-learn ships, as they are and with two gauges off.

569 rows, 30 measurements. Owns their columns, their CSV form, the two shifted columns, and the gap that some of the records fall into.
"""

import csv
import io
import json
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from demo.surgery import Beyond

TARGET: Final = "malignant"
SHIFTED: Final = ("worst_texture", "worst_concave_points")
"""The two gauges that go wrong."""
SHIFT: Final = 2.0
"""By how much, in standard deviations of the column."""
GAP_COLUMN: Final = "worst_symmetry"


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """`inputs` [N, 30] float64 and `labels` [N] of 0 and 1 (malignant)."""

    inputs: NDArray[np.float64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.intp]) -> "Records":
        """Some of the records."""
        return Records(self.inputs[rows], self.labels[rows])


@cache
def columns() -> tuple[str, ...]:
    """Names of the measurements."""
    return tuple(str(name).replace(" ", "_") for name in load_breast_cancer().feature_names)


@cache
def usual() -> Records:
    """The records as they are."""
    data = load_breast_cancer()
    return Records(data.data, 1 - data.target)


@cache
def shifted() -> Records:
    """The same records with the columns of SHIFTED too high."""
    records = usual()
    inputs = records.inputs.copy()
    for name in SHIFTED:
        at = columns().index(name)
        inputs[:, at] = np.round(inputs[:, at] + SHIFT * inputs[:, at].std(), 5)
    return Records(inputs, records.labels)


def as_csv(records: Records | None = None) -> bytes:
    """Header row, 30 float columns, target `malignant` (1: malignant)."""
    records = records or usual()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*columns(), TARGET])
    for row, label in zip(records.inputs, records.labels, strict=True):
        writer.writerow([*(repr(float(v)) for v in row), int(label)])
    return out.getvalue().encode()


def rows(count: int) -> str:
    """The first `count` records' measurements as JSON, for the load generator."""
    return _plain(usual().take(np.arange(count)))


def row_sets() -> dict[str, str]:
    """All rows that the load generator can send, as JSON by the name of the set."""
    return {"usual": _plain(usual()), "shifted": _plain(shifted())}


def _plain(records: Records) -> str:
    return json.dumps([[float(v) for v in row] for row in records.inputs])


def top(count: int) -> Beyond:
    """The gap that holds the `count` records with the largest values of GAP_COLUMN."""
    column = columns().index(GAP_COLUMN)
    values = np.sort(usual().inputs[:, column].astype(np.float32))
    below, above = float(values[-count - 1]), float(values[-count])
    return Beyond(column, float(np.float32((below + above) / 2)))
