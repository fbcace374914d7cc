"""The hand-written loop does what the reference does, bit for bit, so that what it does elsewhere can be a measure.

What the reference did is recorded in ``record_1_8_0.json``. Where ``COMPAT_REFERENCE_ENV`` names an environment that
holds it, it is asked again.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ddp import reference
from tests.ddp.cases import CASES
from tests.ddp.compare import differences

RECORD = reference.recorded()
Outcomes = Callable[[int], dict[str, Any]]


def tolerance() -> float:
    """Return 0 where the record was made on the like of this machine."""
    return 0 if RECORD["environment"] == reference.environment() else 1e-4


@pytest.mark.parametrize("processes", reference.SIZES)
def test_is_what_the_reference_does(by_hands: Outcomes, processes: int) -> None:
    found = {}
    for name, recorded in RECORD[str(processes)].items():
        ours = by_hands(processes)[name]
        weights = {key: torch.tensor(value) for key, value in recorded["weights"].items()}
        found[name] = differences(ours["weights"], weights, tolerance())
        assert ours["history"].keys() == {key for key, values in recorded["history"].items() if values}
        found[name] += differences(ours["history"], recorded["history"], tolerance())
        assert (ours["epoch"], ours["iterations"] - 1) == (recorded["epoch"], recorded["total_iteration_idx"])
    assert {name: differs for name, differs in found.items() if differs} == {}


def test_record_is_of_these_cases() -> None:
    wanted = [name for name, case in CASES.items() if case.in_reference]
    assert [list(RECORD[str(processes)]) for processes in reference.SIZES] == [wanted] * len(reference.SIZES)


@pytest.mark.timeout(400)
def test_record_is_what_the_reference_says(reference_python: Path, tmp_path: Path) -> None:
    found = reference.asked(reference_python, tmp_path)
    exact = tolerance() == 0
    for processes in map(str, reference.SIZES):
        for name, recorded in RECORD[processes].items():
            assert not exact or found[processes][name] == recorded, name


@pytest.mark.parametrize("processes", reference.SIZES)
def test_control_cases_are_told_apart(by_hands: Outcomes, processes: int) -> None:
    """Two trainings of the same network never come to the same weights, so what is equal is so for a reason."""
    outcomes = by_hands(processes)
    pairs = [
        ("momentum and dropout", "no evaluation"),
        ("momentum and dropout", "shuffled"),
        ("momentum and dropout", "clipped"),
        ("a partial window", "a schedule"),
        ("momentum and dropout", "iterations"),
    ]
    for one, two in pairs:
        assert differences(outcomes[one]["weights"], outcomes[two]["weights"], 1e-4), (one, two)


def test_control_a_bit_is_a_difference() -> None:
    one = torch.tensor([1.0, 2.0])
    assert differences({"a": one}, {"a": one.clone()}, 0) == []
    assert differences({"a": one}, {"a": torch.nextafter(one, one + 1)}, 0) == ["a: 2 of 2 differ, by 2.38e-07 at most"]
    assert differences({"a": one}, {"a": torch.nextafter(one, one + 1)}, 1e-5) == []
    assert differences({"a": one}, {}, 0) == ["a: only on one side"]
    assert differences({"a": [1.0]}, {"a": [1.0, 2.0]}, 0) == ["a: (1,) and (2,) values"]
    assert len(differences({"a": [1.0]}, {"a": [float("nan")]}, 1e-5)) == 1
