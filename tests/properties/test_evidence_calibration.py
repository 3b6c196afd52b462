"""The promises of docs/evidence.md at 200 rollouts a cell; `make campaign` checks them at 2,000 and far more looks.

The cells are judged by the evidence alone, which is fast; beside it the operator's whole `decide` is shown to end each rollout alike. So
few rollouts show evidence that is wrong, not evidence that is a little off: the margin for chance is wide here.
"""

from dataclasses import replace

import pytest

from campaigns.calibration import CELLS, DECIDED, AtMost, Cell, compare, measure

ROLLOUTS = 200
LIMIT = 1200
"""Canary requests up to which what must be rare is watched."""
SMALL = [cell for cell in CELLS if cell.promise is not None and cell.limit <= 5000]


def small(cell: Cell) -> Cell:
    """The cell with fewer rollouts and, where more looks only make a promise harder to keep, fewer looks."""
    limit = min(cell.limit, LIMIT) if isinstance(cell.promise, AtMost) else cell.limit
    return replace(cell, rollouts=min(cell.rollouts, ROLLOUTS), limit=limit)


@pytest.mark.parametrize("cell", SMALL, ids=lambda cell: cell.name.replace(" ", "_") + "_monitoring_23_24_26_28")
def test_promise(cell: Cell) -> None:
    result = measure(small(cell))
    assert result.kept, f"{result.count} of {result.cell.rollouts}, promised {cell.promise}"


@pytest.mark.parametrize("cell", DECIDED, ids=lambda cell: cell.name.replace(" ", "_"))
def test_the_whole_decide_ends_a_rollout_as_its_evidence_does_monitoring_18(cell: Cell) -> None:
    pair = compare(replace(cell, rollouts=3))
    assert pair.decided == pair.alone
