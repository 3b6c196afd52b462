"""What a judgement of drift costs and finds, with a raw-data Kolmogorov-Smirnov test beside it. Prints figures; asserts nothing.

Cost: CPU milliseconds of one judgement of 50 features, from counts already summed and with the whole decision at the end of a window of 20
pods, by rows served. Power: share of windows in which a shift of one feature is found at 0.001, reference 20,000 rows.
"""

import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
from scipy import stats

from fakes.counting_pods import BASE, at, take
from fakes.judged_pods import Factory, Table
from modelcycle.api.driftmonitor import Effect, Monitor, MonitorSpec
from modelcycle.api.edition import Edition
from modelcycle.drift import judge, rows
from modelcycle.drift.decide import decide
from modelcycle.drift.ledger import Book
from modelcycle.drift.windows import Ledger, OpenWindow, Run, add
from modelcycle.drift.world import LedgerObject, MonitorWorld, TargetModel
from modelcycle.metrics.runs import fold
from modelcycle_bundle.grids import NumericGrid

RUNS: Final = 100
PODS: Final = 20
FEATURES: Final = tuple(f"feature-{number}" for number in range(50))
Shift = Callable[[np.random.Generator, int], np.ndarray[Any, np.dtype[np.float32]]]
SHIFTS: Final[dict[str, tuple[int, Shift]]] = {
    "nothing": (1000, lambda rng, n: rng.standard_normal(n).astype(np.float32)),
    "mean + 0.2 sd": (500, lambda rng, n: (rng.standard_normal(n) + 0.2).astype(np.float32)),
    "mean + 0.1 sd": (3000, lambda rng, n: (rng.standard_normal(n) + 0.1).astype(np.float32)),
    "sd x 1.2": (500, lambda rng, n: (rng.standard_normal(n) * 1.2).astype(np.float32)),
    "sd x 0.8": (500, lambda rng, n: (rng.standard_normal(n) * 0.8).astype(np.float32)),
    "5 % in one place": (
        3000,
        lambda rng, n: np.where(rng.random(n) < 0.05, 0.3, rng.standard_normal(n)).astype(np.float32),
    ),
    "2 % beyond 4 sd": (
        500,
        lambda rng, n: np.where(rng.random(n) < 0.02, 5.0, rng.standard_normal(n)).astype(np.float32),
    ),
}


def milliseconds(work: Callable[[], object]) -> list[float]:
    """CPU time of `work`, RUNS times, sorted."""
    taken = []
    for _ in range(RUNS):
        began = time.process_time_ns()
        work()
        taken.append((time.process_time_ns() - began) / 1e6)
    return sorted(taken)


def row(name: str, taken: list[float]) -> str:
    """One line of the table."""
    return f"| {name} | {statistics.median(taken):.2f} | {taken[int(0.95 * len(taken))]:.2f} |"


def cost() -> None:
    """Judging counts, the whole decision, and raw rows."""
    factory = Factory(0, names=FEATURES)
    profile, name = factory.profile, factory.profile.hash
    print("| 50 features | median ms | 95 % |\n|---|---|---|")
    for number in (1000, 100_000):
        pods = [factory.pod(str(pod), BASE - 1000) for pod in range(PODS)]
        before = fold(None, take(list(pods), 0.0))
        for pod in pods:
            part = factory.rows(number // PODS)
            pod.predict(part, factory.answers(part))
        after = fold(before, take(list(pods), 3600.0))
        counts = add(*(pod.counts for pod in pods))

        def judgement(counts: dict[Any, int] = counts) -> object:
            tables = rows.tables(counts, name)
            return judge.tests(profile, tables, tables, Effect(), 4.6e-4)

        bases = tuple(Run(run, r.counts, r.seen_at.timestamp()) for run, r in sorted(before.runs.items()))
        book = Book(Ledger(OpenWindow("scrap", at(0).timestamp(), bases)))
        world = MonitorWorld(
            monitor=Monitor("plant-7", "scrap", "uid", Edition("", 1), "1", MonitorSpec("scrap"), {}),
            now=after.taken_at,
            target=TargetModel("uid", "sha256:a"),
            stored=LedgerObject("uid", "1", None, book),
            samples=after,
            profiles={name: profile},
        )
        print(row(f"judge {number:,} rows from counts", milliseconds(judgement)))
        print(row(f"decide at the end of a window, {PODS} pods, {number:,} rows", milliseconds(partial(decide, world))))
        reference, current = factory.rows(20_000), factory.rows(number)

        def raw(reference: Table = reference, current: Table = current) -> None:
            for column in range(len(FEATURES)):
                stats.ks_2samp(reference[:, column], current[:, column], method="asymp")

        began = time.process_time_ns()
        raw()
        once = (time.process_time_ns() - began) / 1e6
        print(f"| peer: scipy ks_2samp on {number:,} raw rows, once | {once:.0f} | |")


def power() -> None:
    """Ours from bins against the raw rows."""
    rng = np.random.default_rng(1)
    factory = Factory(0, names=("t",))
    reference = factory.rows(20_000)
    (feature,) = factory.profile.features
    print(
        "\n| shift of one feature | rows | ours, shape | ours, with range and missing | raw KS |\n|---|---|---|---|---|"
    )
    for name, (number, shifted) in SHIFTS.items():
        found = np.zeros(3)
        for _ in range(400):
            values = shifted(rng, number)
            grid = NumericGrid((feature,))
            grid.add(values[:, None])
            bins = dict(zip(feature.bins, grid.counts.tolist(), strict=True))
            tables = rows.Tables({"t": bins}, {})
            tests = judge.tests(factory.profile, tables, tables, Effect(0.06, 0.25), 1e-3)
            shape = next((t.p for t in tests if t.cause is rows.Cause.INPUT_DRIFT), 1.0)
            whole = min((t.p for t in tests), default=1.0) * max(1, len(tests))
            peer = stats.ks_2samp(reference[:, 0], values, method="asymp").pvalue
            found += [shape <= 1e-3, whole <= 1e-3, peer <= 1e-3]
        ours, all_rows, peers = found / 400
        print(f"| {name} | {number:,} | {ours:.2f} | {all_rows:.2f} | {peers:.2f} |")


if __name__ == "__main__":
    print(f"{platform.machine()}, Python {platform.python_version()}, {RUNS} runs each\n")
    cost()
    power()
