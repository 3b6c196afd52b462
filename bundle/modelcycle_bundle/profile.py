"""The reference profile: where the training data and the held-out answers lay, as bins and integer counts.

Owns the bin edges and their serialisation, so that trainer, server and monitor put a value into the same bin to the bit:
edges are float32 and taken from the data by rank, never interpolated. Holds no row of the data.
"""

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelcycle_bundle.bins import (
    BINS,
    CONFIDENCE_BINS,
    KNOWN_VALUES,
    NO_CONFIDENCE,
    ClassBins,
    Feature,
    ProfileError,
    known_values,
    quantile_edges,
    ranked_value,
)
from modelcycle_bundle.grids import ClassGrid, NumericGrid, UnseenGrid
from modelcycle_bundle.outputs import ClassOutputs, Float32, Outputs, ValueOutputs

__all__ = ["BinCounter", "ClassBins", "Feature", "Profile", "ProfileError", "build"]

VERSION: Final = 2
"""Newest version that is read. Version 2 adds `values` to columns of codes."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Reference bins of a model. `output` is a Feature named `prediction` for a regression."""

    rows: int
    features: tuple[Feature, ...]
    output_rows: int
    output: ClassBins | Feature

    @property
    def hash(self) -> str:
        """First 12 hex of the SHA-256 of `to_json()`: the metric label `profile`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @property
    def version(self) -> int:
        """The oldest version that can say all of it: who knows no other goes on reading the profiles of models without codes."""
        return 2 if any(feature.values for feature in self.features) else 1

    def to_json(self) -> str:
        """Canonical JSON, one line: sorted keys, floats in their shortest form that reads back as the same double."""
        output = _output_to_plain(self.output)
        plain = {
            "version": self.version,
            "rows": self.rows,
            "features": [_feature_to_plain(feature) for feature in self.features],
            "outputRows": self.output_rows,
            "output": output,
        }
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"

    @staticmethod
    def parse(text: str) -> "Profile":
        """Raises ProfileError for anything that is not a well-formed profile."""
        try:
            plain = json.loads(text)
            version = plain["version"]
            if type(version) is not int or not 1 <= version <= VERSION:
                raise ProfileError(f"profile version {version!r} is none of 1 to {VERSION}")
            features = tuple(_feature_from_plain(each) for each in plain["features"])
            output = _output_from_plain(plain["output"])
            profile = Profile(_count(plain["rows"]), features, _count(plain["outputRows"]), output)
        except ProfileError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise ProfileError(f"not a profile: {type(error).__name__}") from error
        _check(profile)
        if profile.version != version:
            raise ProfileError(f"profile version {version} does not fit what it says: expected {profile.version}")
        return profile


def build(names: Sequence[str], inputs: Float32, outputs: Outputs, classes: Sequence[str] = ()) -> Profile:
    """The profile of a reference table [N, F] float32 and of answers on held-out rows (another number of rows).

    `classes`: every label the classifier can answer, as str in the model's order; empty: those among the answers. Raises
    ProfileError.
    """
    table = _table(inputs, len(names))
    features = tuple(_input(str(name), table[:, at]) for at, name in enumerate(names))
    output: ClassBins | Feature
    if isinstance(outputs, ValueOutputs):
        output = _feature("prediction", outputs.predictions)
    else:
        labels = tuple(str(each) for each in classes) or tuple(sorted({str(each) for each in outputs.labels}))
        output = _class_bins(labels, outputs)
    profile = Profile(len(table), features, len(outputs), output)
    _check(profile)
    return profile


class BinCounter:
    """Exact integer counts of served rows by bin. Not thread-safe; one numpy pass a call, no loop over rows.

    After any sequence of calls each feature's counts sum to the rows added by `add_inputs`, the output's to those of
    `add_outputs`, for every float32 value including NaN, infinities and -0.0.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile: Final = profile
        self._inputs = NumericGrid(profile.features)
        self._unseen = UnseenGrid(profile.features)
        self._output: NumericGrid | ClassGrid = (
            NumericGrid((profile.output,)) if isinstance(profile.output, Feature) else ClassGrid(profile.output)
        )
        self.input_series: Final = tuple((each.name, name) for each in profile.features for name in each.bins)
        """(feature, bin) of each element of `input_counts`."""
        self.unseen_series: Final = tuple(each.name for each in profile.features if each.values)
        """Feature of each element of `unseen_counts`."""
        self.output_series: Final = _output_series(profile.output)
        """(output, confidence) of each element of `output_counts`."""

    @property
    def input_counts(self) -> NDArray[np.int64]:
        """A copy of the counts, aligned with `input_series`."""
        return self._inputs.counts

    @property
    def unseen_counts(self) -> NDArray[np.int64]:
        """Rows whose number is no value of the reference, aligned with `unseen_series`. They are in the feature's bins as well."""
        return self._unseen.counts(self._inputs.missing)

    @property
    def output_counts(self) -> NDArray[np.int64]:
        """A copy of the counts, aligned with `output_series`."""
        return self._output.counts.copy()

    def add_inputs(self, inputs: Float32) -> None:
        """Count N rows [N, F] in the profile's feature order. Raises ProfileError for another shape or type."""
        table = _table(inputs, len(self.profile.features))
        self._inputs.add(table)
        self._unseen.add(table)

    def add_outputs(self, outputs: Outputs) -> None:
        """Count N answers. Raises ProfileError when they are of the other kind or hold an unknown class."""
        if isinstance(outputs, ValueOutputs) and isinstance(self._output, NumericGrid):
            self._output.add(outputs.predictions[:, None])
        elif isinstance(outputs, ClassOutputs) and isinstance(self._output, ClassGrid):
            self._output.add(outputs)
        else:
            raise ProfileError(f"the profile is of another kind of answers than {type(outputs).__name__}")

    def merge(self, other: "BinCounter") -> None:
        """Add another counter's counts. Raises ProfileError unless both count by the same profile."""
        if other.profile != self.profile:
            raise ProfileError(f"cannot add counts of profile {other.profile.hash} to those of {self.profile.hash}")
        self._inputs.merge(other._inputs)
        self._unseen.merge(other._unseen)
        if isinstance(self._output, NumericGrid) and isinstance(other._output, NumericGrid):  # noqa: SIM114 - two types
            self._output.merge(other._output)
        elif isinstance(self._output, ClassGrid) and isinstance(other._output, ClassGrid):
            self._output.merge(other._output)


def _input(name: str, column: Float32) -> Feature:
    finite = np.sort(column[np.isfinite(column)]) + np.float32(0.0)
    return dataclasses.replace(_feature(name, column), values=known_values(finite))


def _feature(name: str, column: Float32) -> Feature:
    finite = np.sort(column[np.isfinite(column)]) + np.float32(0.0)  # -0.0 becomes 0.0, so that one value has one text
    if not finite.size:
        shell = Feature(name, None, None, (), (), None, None)
    else:
        low, high = ranked_value(finite, 1, 1000), ranked_value(finite, 999, 1000)
        edges = tuple(edge for edge in quantile_edges(finite, BINS) if low <= edge < high)
        exact = finite.astype(np.float64)
        mean = math.fsum(exact) / len(exact)
        sd = math.sqrt(math.fsum((exact - mean) ** 2) / len(exact))
        shell = Feature(name, low, high, edges, (), mean, sd)
    grid = NumericGrid((shell,))
    grid.add(column[:, None])
    return dataclasses.replace(shell, counts=tuple(int(count) for count in grid.counts))


def _class_bins(classes: tuple[str, ...], outputs: ClassOutputs) -> ClassBins:
    confidence = outputs.probabilities.max(axis=1)
    finite = np.sort(confidence[np.isfinite(confidence)])
    edges = (
        tuple(edge for edge in quantile_edges(finite, CONFIDENCE_BINS) if edge < float(finite[-1]))
        if finite.size
        else ()
    )
    grid = ClassGrid(shell := ClassBins(classes, edges, ()))
    grid.add(outputs)
    counts = grid.counts.reshape(len(classes), -1)
    return dataclasses.replace(shell, counts=tuple(tuple(int(each) for each in row) for row in counts))


def _table(inputs: Float32, columns: int) -> Float32:
    table = np.asarray(inputs)
    if table.dtype != np.float32 or table.ndim != 2 or table.shape[1] != columns:
        raise ProfileError(f"expected float32 [N, {columns}], got {table.dtype} {list(table.shape)}")
    return table


def _output_series(output: ClassBins | Feature) -> tuple[tuple[str, str], ...]:
    if isinstance(output, Feature):
        return tuple((name, NO_CONFIDENCE) for name in output.bins)
    return tuple((label, name) for label in output.classes for name in output.bins)


def _feature_to_plain(feature: Feature) -> dict[str, Any]:
    return {
        "name": feature.name,
        "low": feature.low,
        "high": feature.high,
        "edges": list(feature.edges),
        "counts": list(feature.counts),
        "mean": feature.mean,
        "sd": feature.sd,
        **({"values": list(feature.values)} if feature.values else {}),
    }


def _feature_from_plain(plain: Any) -> Feature:
    return Feature(
        name=_text(plain["name"]),
        low=_number_or_none(plain["low"]),
        high=_number_or_none(plain["high"]),
        edges=tuple(_number(edge) for edge in plain["edges"]),
        counts=tuple(_count(each) for each in plain["counts"]),
        mean=_number_or_none(plain["mean"]),
        sd=_number_or_none(plain["sd"]),
        values=tuple(_number(value) for value in plain.get("values", [])),
    )


def _output_to_plain(output: ClassBins | Feature) -> dict[str, Any]:
    if isinstance(output, Feature):
        return {"kind": "regression", **_feature_to_plain(output)}
    counts = [list(row) for row in output.counts]
    return {"kind": "classification", "classes": list(output.classes), "edges": list(output.edges), "counts": counts}


def _output_from_plain(plain: Any) -> ClassBins | Feature:
    if plain["kind"] == "regression":
        return _feature_from_plain(plain)
    if plain["kind"] != "classification":
        raise ProfileError("the output is neither a classification nor a regression")
    return ClassBins(
        classes=tuple(_text(each) for each in plain["classes"]),
        edges=tuple(_number(edge) for edge in plain["edges"]),
        counts=tuple(tuple(_count(each) for each in row) for row in plain["counts"]),
    )


def _check(profile: Profile) -> None:
    _check_unique([feature.name for feature in profile.features], "features")
    for feature in profile.features:
        _check_feature(feature, profile.rows)
    output = profile.output
    if isinstance(output, Feature):
        _check_feature(output, profile.output_rows)
        if output.values:
            raise ProfileError("the output is no column of codes")
        return
    _check_unique(output.classes, "classes")
    _check_edges("confidence", output.edges)
    if len(output.counts) != len(output.classes) or any(len(row) != len(output.bins) for row in output.counts):
        raise ProfileError("the output's counts do not match its classes and bins")
    if sum(map(sum, output.counts)) != profile.output_rows:
        raise ProfileError("the output's counts do not add up to outputRows")


def _check_feature(feature: Feature, rows: int) -> None:
    low, high = feature.low, feature.high
    if (low is None) != (high is None) or (low is None and feature.edges):
        raise ProfileError(f"feature {feature.name!r}: low and high must both be numbers, or both null without edges")
    if low is not None and high is not None:
        _check_edges(feature.name, (low,))
        _check_edges(feature.name, (*feature.edges, high))
        if low > min((*feature.edges, high)):
            raise ProfileError(f"feature {feature.name!r}: an edge lies below low")
    _check_edges(feature.name, feature.values)
    if len(feature.values) > KNOWN_VALUES:
        raise ProfileError(f"feature {feature.name!r}: more than {KNOWN_VALUES} values")
    if len(feature.counts) != len(feature.bins) or sum(feature.counts) != rows:
        raise ProfileError(f"feature {feature.name!r}: the counts do not match its bins or do not add up to the rows")


def _check_edges(name: str, edges: Sequence[float]) -> None:
    if any(float(np.float32(edge)) != edge for edge in edges):
        raise ProfileError(f"{name!r}: an edge is not a float32 number")
    if any(left >= right for left, right in itertools.pairwise(edges)):
        raise ProfileError(f"{name!r}: the edges do not rise")


def _check_unique(names: Sequence[str], what: str) -> None:
    if not names or len(set(names)) != len(names):
        raise ProfileError(f"{what}: none, or two of one name")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ProfileError("expected a string")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ProfileError("expected a finite number")
    return float(value)


def _number_or_none(value: Any) -> float | None:
    return None if value is None else _number(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ProfileError("expected a count of zero or more")
    return value
