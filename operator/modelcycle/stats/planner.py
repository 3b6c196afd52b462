"""How many more canary requests a verdict needs: the promise behind "about 310 more" and the ETA. Pure mathematics.

Owns the forecast only, never the verdict. It follows the path on which every look brings what the rates lead to expect: exact while no
event happens, otherwise an expectation: four of five simulated rollouts took 0.3 to 2.1 times of it (docs/evidence.md).
"""

import math
from collections.abc import Callable
from typing import Final

from modelcycle.stats.evidence import ODDS_RATIOS, Design, Evidence, log_absolute
from modelcycle.stats.special import log_mean_exp

MOST: Final = 10**9
"""The answer where the rates lead nowhere: read it as "not at these rates"."""
DEFAULT_SHARE: Final = 0.1


def requests_until_promotion(evidence: Evidence, design: Design, stable_rate: float, share: float | None = None) -> int:
    """Canary requests still missing until P reaches 1/beta, if the canary is as good as stable; 0 when it has, MOST at the most.

    `stable_rate` in [0, 1] is the rate of events expected of both arms. `share` in (0, 1) is the canary's part of the traffic from now on
    (default: what it was so far). The relative part grows by (rate/share) KL(Bern(share) || Bern(tilted share)) a request.
    """
    w = _share(evidence, share)
    psi = design.harm_ratio
    gain = stable_rate * (math.log1p(w * (psi - 1.0)) / w - math.log(psi))

    def log_p(more: int) -> float:
        answers = evidence.canary.n + more
        absolute = log_absolute(answers, evidence.canary.events + stable_rate * more, design.harm_floor)
        return log_mean_exp((evidence.log_p_relative + gain * more, absolute))

    return _first(log_p, design.log_promote_at)


def requests_until_rollback(
    evidence: Evidence,
    design: Design,
    canary_rate: float,
    stable_rate: float,
    share: float | None = None,
    phi: float = 1.0,
) -> int:
    """Canary requests still missing until E reaches 1/alpha at these rates, in [0, 1]; 0 when it has, MOST at the most.

    Each odds ratio psi grows by canary_rate log psi - (rate/share) log(1 + share (psi-1)), over phi, a request.
    """
    w = _share(evidence, share)
    rate = w * canary_rate + (1.0 - w) * stable_rate
    gains = [(canary_rate * math.log(odds) - rate / w * math.log1p(w * (odds - 1.0))) / phi for odds in ODDS_RATIOS]

    def log_e(more: int) -> float:
        return log_mean_exp([start + gain * more for start, gain in zip(evidence.log_e, gains, strict=True)])

    return _first(log_e, design.log_rollback_at)


def _share(evidence: Evidence, share: float | None) -> float:
    if share is None:
        total = evidence.canary.n + evidence.stable.n
        share = evidence.canary.n / total if evidence.canary.n and evidence.stable.n else DEFAULT_SHARE
    return min(max(share, 1e-6), 1.0 - 1e-6)


def _first(log_value: Callable[[int], float], bar: float) -> int:
    """The least count at which the value reaches the bar. The value is convex in the count, so from below it crosses the bar once."""
    if log_value(0) >= bar:
        return 0
    high = 1
    while log_value(high) < bar:
        if high >= MOST:
            return MOST
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if log_value(middle) >= bar else (middle, high)
    return min(high, MOST)
