"""Every native part in a TrainLoop and in the user's own Trainer, with one optimizer and two, accumulating and not."""

import pytest

from tests.both_worlds.matrix import CELLS, Cell, missing, outcome


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_native_part_has_its_effect_or_is_refused_with_its_reason(cell: Cell) -> None:
    if lacking := missing(cell.native):
        pytest.skip(f"needs {lacking}")
    assert outcome(cell).is_refused == (cell.native.verdict_in(cell.world) == "refused")
