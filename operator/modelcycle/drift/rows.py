"""What of a profile is judged, each with its counts: the rows of one judgement. Pure; owns which bins belong to which question.

A row compares reference and current counts of one thing. Missing values are a question of their own and no bin of a shift.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from modelcycle.metrics.port import Counts, Series
from modelcycle.stats.binned import rows_needed
from modelcycle_bundle import metric_names
from modelcycle_bundle.bins import NO_CONFIDENCE, ClassBins, Feature
from modelcycle_bundle.profile import Profile

CLASS: Final = "predicted class"
CONFIDENCE: Final = "confidence"
PREDICTION: Final = "prediction"


class Cause(StrEnum):
    """What an alarm is about. One alarm per cause."""

    MISSING_ANSWERS = "missing-answers"
    """The model answers NaN more often than it did on held-out data."""
    OUTPUT_DRIFT = "output-drift"
    """The model's answers have moved."""
    INPUT_DRIFT = "input-drift"
    """Inputs have moved."""
    MISSING_VALUES = "missing-values"
    """Inputs lack values more often than in training."""
    OUT_OF_RANGE = "out-of-range"
    """Inputs lie outside what training saw more often."""

    @property
    def is_missing(self) -> bool:
        """Whether something is not there that was."""
        return self in (Cause.MISSING_ANSWERS, Cause.MISSING_VALUES)


@dataclass(frozen=True, slots=True)
class Shift:
    """Counts in the same bins: has the distribution moved?"""

    cause: Cause
    name: str
    reference: tuple[int, ...]
    current: tuple[int, ...]
    edges: tuple[float, ...] = ()
    """Inclusive upper edges of all bins but the last, for bins with an order."""
    classes: tuple[str, ...] = ()
    """Names of the bins, for bins without one."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How often one thing happens, in reference and current rows: has it become more frequent?"""

    cause: Cause
    name: str
    reference_events: int
    reference_rows: int
    events: int
    rows: int


@dataclass(frozen=True, slots=True)
class Tables:
    """Current counts under one profile, by name."""

    features: Mapping[str, Mapping[str, int]]
    """Feature -> bin -> rows."""
    outputs: Mapping[str, Mapping[str, int]]
    """Output -> confidence bin -> rows."""

    @property
    def rows(self) -> int:
        """Rows counted: the sum of any feature's bins; the largest where a page was torn."""
        return max((sum(bins.values()) for bins in self.features.values()), default=0)


def tables(counts: Counts, profile: str) -> Tables:
    """The counts of one profile, sorted into tables."""
    features: dict[str, dict[str, int]] = {}
    outputs: dict[str, dict[str, int]] = {}
    for series, value in counts.items():
        into = {metric_names.FEATURE: features, metric_names.PREDICTION: outputs}.get(series.metric)
        if into is not None and series.labels[0] == profile:
            into.setdefault(series.labels[1], {})[series.labels[2]] = value
    return Tables(features, outputs)


def of_profile(counts: Counts, profile: str) -> dict[Series, int]:
    """The series that were counted under `profile`."""
    metrics = (metric_names.FEATURE, metric_names.PREDICTION)
    return {s: value for s, value in counts.items() if s.metric in metrics and s.labels[0] == profile}


def needed(profile: Profile, effect: float) -> int:
    """Rows that a judgement of shifts needs: enough for the row with the most bins."""
    widths = [len(feature.edges) + 1 for feature in profile.features]
    output = profile.output
    widths += [len(output.edges) + 1]
    if isinstance(output, ClassBins):
        widths += [len(output.classes)]
    return rows_needed(max(widths), effect)


def shifts(profile: Profile, current: Tables) -> Iterator[Shift]:
    """Rows that compare bins. What the pods do not count is left out."""
    for feature in profile.features:
        if feature.name in current.features:
            yield from _numeric(Cause.INPUT_DRIFT, feature.name, feature, current.features[feature.name])
    output = profile.output
    if isinstance(output, Feature):
        yield from _numeric(Cause.OUTPUT_DRIFT, PREDICTION, output, _prediction_bins(current))
    else:
        yield from _classes(output, current)


def rates(profile: Profile, current: Tables) -> Iterator[Rate]:
    """Rows that compare the share of one event."""
    for feature in profile.features:
        bins = current.features.get(feature.name)
        if bins is not None:
            counted = _counted(bins, feature.bins)
            yield _missing(Cause.MISSING_VALUES, feature.name, feature.counts, counted)
            yield _out_of_range(feature.name, feature.counts, counted)
    output = profile.output
    if isinstance(output, Feature):
        counted = _counted(_prediction_bins(current), output.bins)
        yield _missing(Cause.MISSING_ANSWERS, PREDICTION, output.counts, counted)
    else:
        counted = _counted(_confidence_bins(output, current), output.bins)
        yield _missing(Cause.MISSING_ANSWERS, CONFIDENCE, _pooled(output), counted)


def _counted(bins: Mapping[str, int], names: Sequence[str]) -> tuple[int, ...]:
    return tuple([bins.get(name, 0) for name in names])


def _numeric(cause: Cause, name: str, feature: Feature, bins: Mapping[str, int]) -> Iterator[Shift]:
    if feature.edges:
        counted = _counted(bins, feature.bins)
        yield Shift(cause, name, _in_order(feature.counts), _in_order(counted), edges=feature.edges)


def _in_order(counts: Sequence[int]) -> tuple[int, ...]:
    """Without the missing; what lies below and above joins the first and the last bin: a shift out of range is a shift."""
    below, first, *inner, last, above, _ = counts
    return (below + first, *inner, last + above)


def _missing(cause: Cause, name: str, reference: Sequence[int], counted: Sequence[int]) -> Rate:
    return Rate(cause, name, reference[-1], sum(reference), counted[-1], sum(counted))


def _out_of_range(name: str, reference: Sequence[int], counted: Sequence[int]) -> Rate:
    """Among the rows that have a value."""
    return Rate(
        Cause.OUT_OF_RANGE,
        name,
        reference[0] + reference[-2],
        sum(reference[:-1]),
        counted[0] + counted[-2],
        sum(counted[:-1]),
    )


def _pooled(output: ClassBins) -> tuple[int, ...]:
    """Reference rows by confidence bin, whatever the class."""
    return tuple(map(sum, zip(*output.counts, strict=True)))


def _classes(output: ClassBins, current: Tables) -> Iterator[Shift]:
    if len(output.classes) > 1:
        reference = tuple(map(sum, output.counts))
        counted = tuple(sum(current.outputs.get(label, {}).values()) for label in output.classes)
        yield Shift(Cause.OUTPUT_DRIFT, CLASS, reference, counted, classes=output.classes)
    if output.edges:
        counted = _counted(_confidence_bins(output, current), output.bins[:-1])
        yield Shift(Cause.OUTPUT_DRIFT, CONFIDENCE, _pooled(output)[:-1], counted, edges=output.edges)


def _confidence_bins(output: ClassBins, current: Tables) -> dict[str, int]:
    return {name: sum(bins.get(name, 0) for bins in current.outputs.values()) for name in output.bins}


def _prediction_bins(current: Tables) -> dict[str, int]:
    return {name: bins.get(NO_CONFIDENCE, 0) for name, bins in current.outputs.items()}
