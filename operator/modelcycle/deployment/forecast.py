"""How long a rollout still takes, in canary requests and in words for people. Pure; promises nothing, decides nothing."""

import math
from functools import lru_cache

from modelcycle.deployment.analysis import AnalysisState
from modelcycle.stats.evidence import Design, Evidence
from modelcycle.stats.planner import MOST, requests_until_promotion


def remaining(analysis: AnalysisState) -> int | None:
    """About how many more canary requests promotion takes when they go as so far; None when it is not to be expected."""
    return _remaining(analysis.evidence, analysis.design)


@lru_cache(maxsize=64)
def _remaining(evidence: Evidence, design: Design) -> int | None:
    """Asked twice in each decision, for the message and for the numbers."""
    stable = evidence.stable
    rate = stable.events / stable.n if stable.n else 0.0
    needed = requests_until_promotion(evidence, design, rate)
    return None if needed >= MOST else needed


def duration(seconds: float) -> str:
    """`45 s`, `6 min`, `2 h`."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds))} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 5400 else f"{math.ceil(seconds / 3600)} h"


def rounded(requests: int) -> int:
    """Two digits: more would promise what nobody knows."""
    return int(float(f"{requests:.2g}"))
