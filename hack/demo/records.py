"""Real data for the demo: the breast cancer records that scikit-learn ships (569 rows, 30 measurements). Owns their CSV form."""

import csv
import io
import json

from sklearn.datasets import load_breast_cancer


def as_csv() -> bytes:
    """Header row, 30 float columns, target `malignant` (1: malignant)."""
    data = load_breast_cancer()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*(name.replace(" ", "_") for name in data.feature_names), "malignant"])
    for row, target in zip(data.data, data.target, strict=True):
        writer.writerow([*(repr(float(v)) for v in row), 1 - int(target)])
    return out.getvalue().encode()


def rows(count: int) -> str:
    """The first `count` records' measurements as JSON, for the load generator."""
    return json.dumps([[float(v) for v in row] for row in load_breast_cancer().data[:count]])
