"""How long the property tests search: once per change, many times over in a campaign (`make campaign`)."""

import os
from typing import Final

FACTOR: Final = int(os.environ.get("MODELCYCLE_CAMPAIGN", "1"))


def examples(count: int) -> int:
    """Hypothesis examples for one run of a property."""
    return count * FACTOR
