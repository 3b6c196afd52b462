"""Whether the sums of a window agree with each other, and how they are read. Pure; owns the meaning of the series, changes nothing."""

from collections.abc import Iterable
from typing import Final

from modelcycle.metrics.port import Counts, Series
from modelcycle_bundle import metric_names

ROWS: Final = Series(metric_names.ROWS)
TOLERANCE: Final = 0.005
"""Share of the rows by which sums may differ: a page is not always rendered between two requests."""


def requests(counts: Counts) -> tuple[Series, ...]:
    """The request counters, one per HTTP status."""
    return tuple(series for series in counts if series.metric == metric_names.REQUESTS)


def total_requests(counts: Counts) -> int:
    """Inference requests answered, whatever the answer."""
    return sum(counts[series] for series in requests(counts))


def feature_bins(counts: Counts) -> dict[str, dict[str, dict[str, int]]]:
    """Rows by profile, feature and bin."""
    table: dict[str, dict[str, dict[str, int]]] = {}
    for series, value in counts.items():
        if series.metric == metric_names.FEATURE:
            profile, feature, bin_name = series.labels
            table.setdefault(profile, {}).setdefault(feature, {})[bin_name] = value
    return table


def mismatches(counts: Counts) -> tuple[str, ...]:
    """Sentences about sums that should be equal and are not; empty when all agree."""
    rows = counts.get(ROWS, 0)
    by_profile: list[int] = []
    found: list[str] = []
    for profile, features in sorted(feature_bins(counts).items()):
        sums = {feature: sum(bins.values()) for feature, bins in features.items()}
        by_profile.append(max(sums.values()))
        low = min(sums, key=lambda feature: (sums[feature], feature))
        if _differ((sums[low], max(sums.values()))):
            found.append(
                f"profile {profile[:12]}: bins of one feature add up to {sums[low]} rows, of another to {max(sums.values())}"
            )
    if by_profile and _differ((sum(by_profile), rows)):
        found.append(f"{metric_names.ROWS} counts {rows} rows, the features' bins {sum(by_profile)}")
    return tuple(found[:4])


def _differ(values: Iterable[int]) -> bool:
    low, high = sorted(values)
    return high - low > max(1.0, TOLERANCE * high)
