"""The benchmark's fits with native parts have the cadence that their rows speak of, and train the same weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

from compat import _console
from tests.bench.cadences import CADENCES, available, with_parts
from tests.bench.tasks import make_task

# Which of them make each batch a step of its own, and which only end some steps early.
CADENCE = {
    "whole epochs": "whole epochs",
    "TQDMProgressBar": "cut",
    "ModelCheckpoint, 50": "cut",
    "the same, no file": "cut",
    "idle, every batch": "every batch",
    "EMAWeightAveraging": "cut",
    "CSVLogger, epochs": "whole epochs",
    "CSVLogger, steps": "cut",
}


def trained(name: str, folder: Path) -> Any:
    _console.verbose(False)
    seconds, loop = with_parts(name, make_task("tiny MLP", 60), 2, folder)
    assert seconds > 0
    return loop


def test_every_row_is_looked_at() -> None:
    assert set(CADENCE) == set(CADENCES)
    assert set(CADENCES) - set(available()) <= {"EMAWeightAveraging"}


@pytest.mark.parametrize("name", available())
def test_a_row_has_the_cadence_that_it_speaks_of(name: str, tmp_path: Path) -> None:
    loop = trained(name, tmp_path)
    assert str(loop.lightning_module.cadence).startswith(CADENCE[name])
    assert loop.total_iteration_idx == 119
    if name != "EMAWeightAveraging":
        plain = trained("whole epochs", tmp_path)
        pairs = zip(loop.model.parameters(), plain.model.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
