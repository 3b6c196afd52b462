"""What one look at the evidence costs: microseconds of one core, by size of the look. Prints figures; asserts nothing.

The budget of a whole decision is 5 ms.
"""

import platform
import statistics
import time
from typing import Final

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


def main() -> None:
    """Print a Markdown table."""
    print(f"{platform.machine()}, Python {platform.python_version()}, {RUNS} runs each; microseconds\n")
    print("| one look | median | 99 % | max |\n|---|---|---|---|")
    for name, look in LOOKS.items():
        taken = sorted(microseconds(look))
        print(f"| {name} | {statistics.median(taken):.0f} | {taken[int(0.99 * RUNS)]:.0f} | {taken[-1]:.0f} |")


if __name__ == "__main__":
    main()
