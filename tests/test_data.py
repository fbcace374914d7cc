"""Data sets, and the functions that join predictions."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from compat.data import (
    BasicDataset,
    ListDataset,
    append_concat_predictions,
    append_predictions,
    keep_list_transf,
    torch_cat_transf,
)
from compat.exceptions import CompatError


def test_basic_dataset_is_the_sequence() -> None:
    data = ["a", "b"]
    dataset = BasicDataset(data)
    assert dataset.data is data
    assert len(dataset) == 2
    assert dataset[1] == "b"


def test_list_dataset_makes_tuples() -> None:
    dataset = ListDataset([1, 2, 3], "abc")
    assert len(dataset) == 3
    assert dataset[0] == (1, "a")
    assert dataset[-1] == (3, "c")
    assert dataset.data_lists == ([1, 2, 3], "abc")


def test_list_dataset_works_in_a_loader() -> None:
    inputs, targets = next(iter(DataLoader(ListDataset(torch.arange(4.0), torch.arange(4)), batch_size=4)))
    assert torch.equal(inputs, torch.arange(4.0))
    assert torch.equal(targets, torch.arange(4))


def test_list_dataset_refuses_unequal_lengths() -> None:
    with pytest.raises(
        AssertionError, match=r"ListDataset got 3 lists of lengths 2, 1, 2\. All lists have to be of one"
    ):
        ListDataset([1, 2], [1], [1, 2])


def test_list_dataset_refuses_unequal_lengths_without_assertions() -> None:
    program = (
        "from compat.data import ListDataset\ntry:\n ListDataset([1], [])\nexcept AssertionError:\n print('refused')"
    )
    done = subprocess.run([sys.executable, "-O", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"


def test_list_dataset_of_nothing() -> None:
    dataset = ListDataset()
    assert dataset[0] == ()
    with pytest.raises(IndexError):
        len(dataset)


@pytest.mark.parametrize(
    ("batch", "collected"),
    [
        pytest.param([1, 2], [0, [1, 2]], id="a list"),
        pytest.param((1, 2), [0, (1, 2)], id="a tuple"),
    ],
)
def test_append_predictions(batch: Any, collected: list[Any]) -> None:
    accumulator = [0]
    assert append_predictions(batch, accumulator) is accumulator
    assert accumulator == collected


@pytest.mark.parametrize(
    ("batch", "collected"),
    [
        pytest.param([1, 2], [0, 1, 2], id="a list element by element"),
        pytest.param((1, 2), [0, (1, 2)], id="a tuple as it is"),
    ],
)
def test_append_concat_predictions(batch: Any, collected: list[Any]) -> None:
    accumulator = [0]
    assert append_concat_predictions(batch, accumulator) is accumulator
    assert accumulator == collected


def test_cat_joins_the_first_dimension() -> None:
    joined = torch_cat_transf([torch.ones(2, 3), torch.zeros(1, 3)])
    assert joined.shape == (3, 3)
    assert joined[:, 0].tolist() == [1.0, 1.0, 0.0]


def test_cat_of_nothing() -> None:
    with pytest.raises((ValueError, RuntimeError), match="non-empty list"):
        torch_cat_transf([])


@pytest.mark.parametrize("one", [torch.ones(2), {"a": torch.ones(1)}])
def test_cat_of_one_thing_is_refused_by_the_type_of_the_old_error(one: Any) -> None:
    with pytest.raises(TypeError, match="It joins batches") as caught:
        torch_cat_transf(one)
    assert isinstance(caught.value, CompatError)


def test_keep_list_is_the_identity() -> None:
    collected = [1]
    assert keep_list_transf(collected) is collected
