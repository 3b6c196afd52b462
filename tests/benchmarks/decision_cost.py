"""What one look at the evidence and one whole decision about a canary cost, in time of one core. Prints figures; asserts nothing.

The budget of a whole decision is 5 ms.
"""

import platform
import statistics
import time
from dataclasses import replace
from datetime import timedelta
from typing import Final

import numpy as np

from campaigns.deciding import DecidePolicy, waiting_world
from campaigns.rollouts import Traffic
from modelcycle.deployment.decide import decide
from modelcycle.stats.dispersion import Dispersion, accumulate
from modelcycle.stats.evidence import Counts, Design, Evidence, Look, log_promote, observe, verdict
from modelcycle.stats.planner import requests_until_promotion

RUNS: Final = 2000
DESIGN: Final = Design()
LOOKS: Final = {
    "no event": Look(Counts(20, 0), Counts(180, 0)),
    "200 answers, 3 events": Look(Counts(20, 1), Counts(180, 2)),
    "20,000 answers, 500 events": Look(Counts(2_000, 80), Counts(18_000, 420)),
    "an outage: 1e6 answers, half of them events": Look(Counts(10**5, 5 * 10**4), Counts(9 * 10**5, 45 * 10**4)),
    "2e9 answers, 1e9 events": Look(Counts(10**9, 5 * 10**8), Counts(10**9, 5 * 10**8)),
}


def microseconds(look: Look, pods: int = 10) -> list[float]:
    """Observe, dispersion over `pods` pods, verdict and forecast, as one decision does them."""
    share = [Counts(look.stable.n // pods, look.stable.events // pods)] * pods
    before, spread = observe(Evidence(), LOOKS["200 answers, 3 events"], DESIGN), Dispersion(50.0, 20)
    taken = []
    for _ in range(RUNS):
        began = time.process_time_ns()
        after = observe(before, look, DESIGN, spread.phi)
        accumulate(spread, share)
        verdict(after, DESIGN)
        log_promote(after, DESIGN)
        requests_until_promotion(after, DESIGN, 0.01)
        taken.append((time.process_time_ns() - began) / 1000)
    return taken


def decisions() -> list[float]:
    """Whole decisions in mid-canary, three stable pods, 30 looks behind: status parsed, look folded, plan made."""
    policy, world = DecidePolicy(), waiting_world(3)
    looks = Traffic(0.01, 0.01).looks(np.random.default_rng(1))
    taken = []
    for at in range(1, 31):
        policy.look(2.0 * at, next(looks))
    later = policy.reading(world, world.now + timedelta(seconds=62), next(looks))
    for _ in range(RUNS // 4):
        began = time.process_time_ns()
        decide(replace(later, state=policy.state(later.raw_status)))
        taken.append((time.process_time_ns() - began) / 1000)
    return taken


def row(name: str, taken: list[float]) -> str:
    """One line of the table."""
    ordered = sorted(taken)
    return (
        f"| {name} | {statistics.median(ordered):.0f} | {ordered[int(0.99 * len(ordered))]:.0f} | {ordered[-1]:.0f} |"
    )


def main() -> None:
    """Print a Markdown table."""
    print(f"{platform.machine()}, Python {platform.python_version()}; microseconds of one core\n")
    print("| what | median | 99 % | max |\n|---|---|---|---|")
    for name, look in LOOKS.items():
        print(row(f"evidence of one look: {name}", microseconds(look)))
    print(row("whole decision in mid-canary", decisions()))


if __name__ == "__main__":
    main()
