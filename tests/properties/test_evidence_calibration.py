"""The promises of docs/evidence.md at 200 rollouts a cell; `make campaign` checks them at 2,000 and far more looks."""

from dataclasses import replace

import pytest

from campaigns.calibration import CELLS, Cell, measure

ROLLOUTS = 200
LIMIT = 2280
SMALL = [cell for cell in CELLS if cell.promise is not None and cell.limit <= 5000]


@pytest.mark.parametrize("cell", SMALL, ids=lambda cell: cell.name.replace(" ", "_") + "_monitoring_23_24_26_28")
def test_promise(cell: Cell) -> None:
    result = measure(replace(cell, rollouts=min(cell.rollouts, ROLLOUTS), limit=min(cell.limit, LIMIT)))
    assert result.kept, f"{result.count} of {result.cell.rollouts}, promised {cell.promise}"
