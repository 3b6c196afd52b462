"""How long the property tests search: once per change, many times over in a campaign (`make campaign`)."""

import os
from typing import Final

FACTOR: Final = int(os.environ.get("MODELCYCLE_CAMPAIGN", "1"))


def positions(count: int, offset: int, stride: int) -> range:
    """Which of `count` places a sieve tries: all in a campaign, else each `stride`-th, so that offsets 0 to stride - 1 together try all."""
    return range(count) if FACTOR > 1 else range(offset % stride, count, stride)


def examples(count: int) -> int:
    """Hypothesis examples for one run of a property."""
    return count * FACTOR
