"""Losses and predictions inside a fit are those of one process, on every rank: each row once, in its order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.ddp.exactness import LOADERS, UNSHUFFLED, by_one_process, numbered, same

SIZES = (2, 3)
Collected = Callable[[int], Any]


@pytest.fixture(scope="module")
def alone(exact: Collected) -> Callable[[int], dict[str, Any]]:
    """Return a function that evaluates in this process what so many others did."""
    results = {}

    def evaluated(processes: int) -> dict[str, Any]:
        if processes not in results:
            results[processes] = by_one_process(exact(processes)[0])
        return results[processes]

    return evaluated


@pytest.mark.parametrize("processes", SIZES)
@pytest.mark.parametrize("name", ["stored", *LOADERS])
def test_result_is_that_of_one_process(exact: Collected, alone: Collected, name: str, processes: int) -> None:
    wanted = alone(processes)[name]
    for rank, found in enumerate(exact(processes)):
        for part, value in wanted.items():
            assert same(found[name][part], value), f"rank {rank}, {part}: {found[name][part]} is not {value}"


@pytest.mark.parametrize("processes", SIZES)
def test_rows_come_once_and_in_their_order(exact: Collected, processes: int) -> None:
    for found in exact(processes):
        for name in UNSHUFFLED:
            rows = int(name.split()[0])
            predictions, targets, metadata = found[name]["predictions"]
            assert len(predictions) == rows
            assert torch.equal(targets, numbered(rows).tensors[1])
            assert metadata["names"] == [f"row {row}" for row in range(rows)]
            assert metadata["tensor"][:, 0].tolist() == list(range(rows))
            assert isinstance(metadata["array"], np.ndarray)
            assert metadata["array"].tolist() == [10 * row for row in range(rows)]
            shuffled = found[f"{name}, shuffled"]["predictions"][2]["names"]
            assert sorted(shuffled) == sorted(metadata["names"])


@pytest.mark.parametrize("processes", SIZES)
def test_model_goes_on_training_afterwards(exact: Collected, processes: int) -> None:
    assert all(found["mode"] is True for found in exact(processes))


def test_control_the_ranks_had_random_numbers_and_buffers_of_their_own(exact: Collected) -> None:
    one, two = exact(2)
    name = "17 rows, shuffled"
    assert not torch.equal(one[name]["states"]["loss"], two[name]["states"]["loss"])
    assert not torch.equal(one["weights"]["net.1.running_mean"], two["weights"]["net.1.running_mean"])
    order = [found[name]["predictions"][2]["names"] for found in exact(2)]
    assert order[0] != sorted(order[0])


def test_control_differences_are_seen() -> None:
    result = {"a": (torch.tensor([1.0]), [1, "x"], np.array([1]))}
    assert same(result, {"a": (torch.tensor([1.0]), [1, "x"], np.array([1]))})
    for other in (
        {"a": (torch.tensor([1.0]).nextafter(torch.tensor([2.0])), [1, "x"], np.array([1]))},
        {"a": (torch.tensor([1.0]).double(), [1, "x"], np.array([1]))},
        {"a": (torch.tensor([1.0]), (1, "x"), np.array([1]))},
        {"a": (torch.tensor([1.0]), [1, "y"], np.array([1]))},
        {"a": (torch.tensor([1.0]), [1, "x"], torch.tensor([1]))},
        {"b": result["a"]},
    ):
        assert not same(result, other)
