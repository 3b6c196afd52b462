"""Whether an event has become more frequent, exactly and at any number of rows: Fisher's one-sided test. Pure mathematics."""

import math
from typing import Final

from modelcycle.stats.special import log_choose

_NEGLIGIBLE: Final = 1e-17


def excess(reference_events: int, reference_rows: int, events: int, rows: int) -> float:
    """P(at least `events` of the events fall into the `rows`) when all rows are alike: the hypergeometric upper tail.

    All counts >= 0, events <= rows. 1.0 when there is nothing to compare.
    """
    total, all_events = reference_rows + rows, reference_events + events
    lowest, highest = max(0, all_events - reference_rows), min(all_events, rows)
    if events <= lowest:
        return 1.0
    if events * total > rows * all_events:
        return min(1.0, _run(total, all_events, rows, events, highest))
    # Below the mean the other side is the short one.
    return max(0.0, 1.0 - _run(total, all_events, rows, events - 1, lowest))


def _run(total: int, all_events: int, rows: int, first: int, last: int) -> float:
    """Sum of probabilities from `first`, away from the mean, towards `last`; ends when they no longer matter."""
    step = 1 if last >= first else -1
    term = _probability(total, all_events, rows, first)
    summed, k = term, first
    while k != last and term > _NEGLIGIBLE * summed:
        up = max(k, k + step)
        ratio = (all_events - up + 1) * (rows - up + 1) / (up * (total - all_events - rows + up))
        term *= ratio if step > 0 else 1 / ratio
        summed += term
        k += step
    return summed


def _probability(total: int, all_events: int, rows: int, k: int) -> float:
    return math.exp(log_choose(all_events, k) + log_choose(total - all_events, rows - k) - log_choose(total, rows))
